//! Gives services of type LoadBalancer their virtual IPs.

mod sharing;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::core::v1::Service;
use viaduct_api::v1alpha1::VIPPoolSpec;
use viaduct_net::{Family, Prefix};
use vrouter_ipam::next_free_block;

pub use self::sharing::VIP_SHARING_KEY_ANNOTATION;
use self::{
    sharing::{Claim, Holders},
    status::Wanted,
};
use crate::{
    kinds::Key,
    operation::{Now, Outcome},
    selector,
    world::World,
};

/// Names the VIPPool a service wants its addresses from.
pub const VIP_POOL_ANNOTATION: &str = "viaduct.dev/vip-pool";
/// The addresses a service wants, one of a family, with commas between them; as
/// `spec.loadBalancerIP`, which has room for one.
pub const VIP_ADDRESSES_ANNOTATION: &str = "viaduct.dev/vip-addresses";

/// All services at once, because an address is given to one of them only, or to those who agree.
pub(crate) fn reconcile(world: &World, now: Now) -> Outcome {
    let mut outcome = Outcome::default();
    let mut claims: Vec<(Claim<'_>, &Arc<Service>)> = world
        .objects
        .services
        .iter()
        .map(|(key, service)| (Claim::of(key, service), service))
        .collect();
    // Of two that have the same address the older keeps it.
    claims.sort_by_key(|(claim, service)| {
        (service.metadata.creation_timestamp.clone().map(|time| time.0), claim.service)
    });
    let mut holders = Holders::default();
    let mut kept: BTreeMap<&Key, Vec<IpAddr>> = BTreeMap::new();
    // Who has changed what others agreed to comes after them, old or not.
    for unchanged in [true, false] {
        for (claim, service) in &claims {
            if (claim.terms().as_deref() == status::terms(service)) == unchanged {
                let mut addresses = assigned(service);
                addresses.retain(|address| {
                    wants_vips(service)
                        && may_have(world, service, *address)
                        && holders.try_give(*address, claim)
                });
                kept.insert(claim.service, addresses);
            }
        }
    }
    for (claim, service) in &claims {
        let mut wanted = Wanted {
            addresses: kept.remove(claim.service).unwrap_or_default(),
            ..Wanted::default()
        };
        if wants_vips(service) {
            wanted.terms = claim.terms();
            complete(world, service, claim, &mut holders, &mut wanted);
        }
        status::settle(service, wanted, now, &mut outcome);
    }
    outcome
}

/// An address of each family that the service has none of yet.
fn complete<'a>(
    world: &World,
    service: &Service,
    claim: &'a Claim<'a>,
    holders: &mut Holders<'a>,
    wanted: &mut Wanted,
) {
    for family in families(service) {
        if wanted.addresses.iter().any(|address| Family::of(*address) == family) {
            continue;
        }
        match choose(world, service, claim, family, holders) {
            Ok((address, remark)) => {
                let others = holders.others(address, claim.service);
                if !others.is_empty() {
                    wanted.remarks.push(format!("{address} is shared with {}", others.join(", ")));
                }
                wanted.remarks.extend(remark);
                holders.give(address, claim);
                wanted.addresses.push(address);
            }
            Err(why) => wanted.failures.push(why),
        }
    }
}

fn wants_vips(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    service.metadata.deletion_timestamp.is_none()
        && spec.is_some_and(|spec| {
            spec.type_.as_deref() == Some("LoadBalancer")
                // Someone else's balancer.
                && spec.load_balancer_class.as_deref().is_none_or(|c| c == "viaduct.dev/vip")
        })
}

/// What the service has, in the order of its status.
fn assigned(service: &Service) -> Vec<IpAddr> {
    let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()?.ingress.as_ref());
    ingress.into_iter().flatten().filter_map(|one| one.ip.as_ref()?.parse().ok()).collect()
}

fn families(service: &Service) -> Vec<Family> {
    let named = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    named
        .into_iter()
        .flatten()
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        })
        .collect()
}

/// The address of the family that the service asks for.
fn requested(service: &Service, family: Family) -> Result<Option<IpAddr>, String> {
    let annotations = service.metadata.annotations.as_ref();
    let list = annotations.and_then(|all| all.get(VIP_ADDRESSES_ANNOTATION));
    let list = list.iter().flat_map(|list| list.split(',')).map(str::trim);
    let named = service.spec.as_ref().and_then(|spec| spec.load_balancer_ip.as_deref());
    let texts = list
        .map(|text| (VIP_ADDRESSES_ANNOTATION, text))
        .chain(named.map(|text| ("spec.loadBalancerIP", text)));
    let mut found = None;
    for (field, text) in texts.filter(|(_, text)| !text.is_empty()) {
        let asked: IpAddr =
            text.parse().map_err(|_e| format!("{field} is no address: {text:?}"))?;
        if Family::of(asked) == family {
            found = found.or(Some(asked));
        }
    }
    Ok(found)
}

/// The pools the service may have addresses from, by name.
fn pools<'a>(
    world: &'a World,
    service: &'a Service,
    asked_for_address: bool,
) -> impl Iterator<Item = &'a VIPPoolSpec> {
    let annotations = service.metadata.annotations.as_ref();
    let by_name = annotations.and_then(|all| all.get(VIP_POOL_ANNOTATION));
    world
        .objects
        .vip_pools
        .iter()
        .filter(move |(key, pool)| {
            let selected = selector::matches_all(
                &pool.spec.service_selector,
                service.metadata.labels.as_ref(),
            );
            let meant = match by_name {
                Some(name) => key.name == *name,
                None => pool.spec.auto_assign || asked_for_address,
            };
            selected && meant && pool.metadata.deletion_timestamp.is_none()
        })
        .map(|(_, pool)| &pool.spec)
}

/// Whether an address the service has is still one it may have.
fn may_have(world: &World, service: &Service, address: IpAddr) -> bool {
    let asked = requested(service, Family::of(address)).ok().flatten();
    families(service).contains(&Family::of(address))
        && asked.is_none_or(|asked| asked == address)
        && pools(world, service, asked.is_some())
            .any(|pool| pool.cidrs.iter().any(|cidr| cidr.contains(address)))
}

/// An address, and what there is to say of the choice.
fn choose(
    world: &World,
    service: &Service,
    claim: &Claim<'_>,
    family: Family,
    holders: &Holders<'_>,
) -> Result<(IpAddr, Option<String>), String> {
    if let Some(asked) = requested(service, family)? {
        if let Some(obstacle) = holders.obstacle(asked, claim) {
            return Err(format!("{asked} {obstacle}"));
        }
        return match may_have(world, service, asked) {
            true => Ok((asked, None)),
            false => Err(format!(
                "no VIPPool that serves this service contains {asked}: see kubectl get vippools"
            )),
        };
    }
    let mut remark = None;
    for address in holders.of_same_key(claim) {
        if Family::of(address) == family && may_have(world, service, address) {
            match holders.obstacle(address, claim) {
                None => return Ok((address, None)),
                Some(obstacle) => {
                    remark.get_or_insert_with(|| format!("{address} {obstacle}"));
                }
            }
        }
    }
    let mut any = false;
    for cidr in pools(world, service, false).flat_map(|pool| &pool.cidrs) {
        if cidr.family() != family {
            continue;
        }
        any = true;
        let mut full: BTreeSet<Prefix> = holders.addresses().map(Prefix::host).collect();
        if !cidr.is_host() {
            // Taken by some for the address of the network itself, as in blocks for pods.
            full.insert(Prefix::host(cidr.address()));
        }
        if let Ok(free) = next_free_block(*cidr, family.bits(), &full) {
            return Ok((free.address(), remark));
        }
    }
    Err(match any {
        true => format!(
            "every {family} address of the VIPPools that serve this service is taken: \
             add a cidr to one of them or another VIPPool"
        ),
        false => format!(
            "no VIPPool has {family} addresses for this service: create one, or check its \
             serviceSelector and autoAssign"
        ),
    })
}

#[cfg(test)]
mod tests;
