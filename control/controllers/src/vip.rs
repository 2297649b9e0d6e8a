//! Gives services of type LoadBalancer their virtual IPs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use viaduct_api::v1alpha1::VIPPoolSpec;
use viaduct_net::{Family, Prefix};
use vrouter_ipam::next_free_block;

use crate::{
    kinds::{Key, Object},
    operation::{Note, Outcome, Step, patch},
    selector,
    world::World,
};

const COMPONENT: &str = "vip-controller";
/// Names the VIPPool a service wants its addresses from.
pub const VIP_POOL_ANNOTATION: &str = "viaduct.dev/vip-pool";

/// All services at once, because an address is given to one of them only.
pub(crate) fn reconcile(world: &World) -> Outcome {
    let mut outcome = Outcome::default();
    let mut services: Vec<(&Key, &Arc<Service>)> = world.objects.services.iter().collect();
    // Of two that have the same address the older keeps it.
    services.sort_by_key(|(key, service)| {
        (service.metadata.creation_timestamp.clone().map(|time| time.0), *key)
    });
    let mut taken: BTreeSet<IpAddr> = BTreeSet::new();
    let mut kept: BTreeMap<&Key, Vec<IpAddr>> = BTreeMap::new();
    for (key, service) in &services {
        let addresses = assigned(service)
            .into_iter()
            .filter(|a| wants_vips(service) && may_have(world, service, *a) && taken.insert(*a))
            .collect();
        kept.insert(key, addresses);
    }
    for (key, service) in services {
        let mut addresses = kept.remove(key).unwrap_or_default();
        let mut failures = Vec::new();
        if wants_vips(service) {
            for family in families(service) {
                if addresses.iter().any(|address| Family::of(*address) == family) {
                    continue;
                }
                match choose(world, service, family, &taken) {
                    Ok(address) => {
                        taken.insert(address);
                        addresses.push(address);
                    }
                    Err(why) => failures.push(why),
                }
            }
        }
        settle(service, &addresses, failures, &mut outcome);
    }
    outcome
}

fn settle(
    service: &Arc<Service>,
    addresses: &[IpAddr],
    failures: Vec<String>,
    outcome: &mut Outcome,
) {
    let object = Object::Service(service.clone());
    for why in failures {
        outcome.notes.push(Note::warning(COMPONENT, &object, "AllocationFailed", why));
    }
    if assigned(service) == addresses {
        return;
    }
    let ingress: Vec<Value> =
        addresses.iter().map(|address| json!({"ip": address, "ipMode": "VIP"})).collect();
    let ingress = if ingress.is_empty() { Value::Null } else { json!(ingress) };
    let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let note = match text.is_empty() {
        true => Note::normal(COMPONENT, &object, "IPReleased", "Released the virtual IPs"),
        false => {
            let message = format!("Assigned IP {}", text.join(", "));
            Note::normal(COMPONENT, &object, "IPAllocated", message)
        }
    };
    outcome.push(Step {
        operation: patch(
            &object,
            Some("status"),
            json!({"status": {"loadBalancer": {"ingress": ingress}}}),
        ),
        done: Some(note),
        failed: None,
    });
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

fn requested(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref()?;
    spec.load_balancer_ip.as_deref().filter(|address| !address.is_empty())
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
    let asked = requested(service).and_then(|text| text.parse::<IpAddr>().ok());
    let same_family = asked.filter(|asked| Family::of(*asked) == Family::of(address));
    families(service).contains(&Family::of(address))
        && same_family.is_none_or(|asked| asked == address)
        && pools(world, service, same_family.is_some())
            .any(|pool| pool.cidrs.iter().any(|cidr| cidr.contains(address)))
}

fn choose(
    world: &World,
    service: &Service,
    family: Family,
    taken: &BTreeSet<IpAddr>,
) -> Result<IpAddr, String> {
    if let Some(text) = requested(service) {
        let asked: IpAddr =
            text.parse().map_err(|_e| format!("spec.loadBalancerIP is no address: {text:?}"))?;
        if Family::of(asked) == family {
            return match () {
                () if taken.contains(&asked) => {
                    Err(format!("{asked} is the virtual IP of another service"))
                }
                () if !may_have(world, service, asked) => Err(format!(
                    "no VIPPool that serves this service contains {asked}: \
                     see kubectl get vippools"
                )),
                () => Ok(asked),
            };
        }
    }
    let mut any = false;
    for cidr in pools(world, service, false).flat_map(|pool| &pool.cidrs) {
        if cidr.family() != family {
            continue;
        }
        any = true;
        let mut full: BTreeSet<Prefix> = taken.iter().copied().map(Prefix::host).collect();
        if !cidr.is_host() {
            // Taken by some for the address of the network itself, as in blocks for pods.
            full.insert(Prefix::host(cidr.address()));
        }
        if let Ok(free) = next_free_block(*cidr, family.bits(), &full) {
            return Ok(free.address());
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
