//! Which services may have one address together.
//!
//! Both sides have to want it, which the key says; their ports must be different ones. A node draws
//! the traffic of an address and not of a port: with `externalTrafficPolicy: Local` it does so where
//! it has pods of the service, so that those who share it must have the same pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use k8s_openapi::api::core::v1::Service;

use crate::kinds::Key;

/// Services that have the same value here may share their virtual IPs.
pub const VIP_SHARING_KEY_ANNOTATION: &str = "viaduct.dev/vip-sharing-key";
/// The same for who comes from MetalLB.
const METALLB: [&str; 2] = ["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"];
/// And from Cilium, where a key says nothing to other namespaces.
const CILIUM: [&str; 2] = ["lbipam.cilium.io/sharing-key", "io.cilium/lb-ipam-sharing-key"];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SharingKey {
    text: String,
    /// The one it is good for; all where not given.
    namespace: Option<String>,
}

impl SharingKey {
    fn of(service: &Service) -> Option<Self> {
        let annotations = service.metadata.annotations.as_ref()?;
        let first = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| annotations.get(*name));
            values.find(|text| !text.is_empty()).cloned()
        };
        let ours = first(&[VIP_SHARING_KEY_ANNOTATION]).or_else(|| first(&METALLB));
        match ours {
            Some(text) => Some(Self { text, namespace: None }),
            None => Some(Self {
                text: first(&CILIUM)?,
                namespace: Some(service.metadata.namespace.clone().unwrap_or_default()),
            }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    number: i32,
    protocol: String,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// What a service asks of an address.
#[derive(Clone, Debug)]
pub(super) struct Claim<'a> {
    pub(super) service: &'a Key,
    sharing: Option<SharingKey>,
    ports: BTreeSet<Port>,
    local: bool,
    selector: BTreeMap<String, String>,
}

/// Why a service cannot have an address that others have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    #[error(
        "is the virtual IP of another service, {0}: to share it both need the annotation \
         {VIP_SHARING_KEY_ANNOTATION}, with one value"
    )]
    NotShared(Key),
    #[error("is the virtual IP of {0}, too, and port {1} is taken by that")]
    Port(Key, Port),
    #[error(
        "is the virtual IP of {0}, too, which has other pods: with externalTrafficPolicy Local \
         those who share an address must have the same namespace and selector"
    )]
    Pods(Key),
}

impl<'a> Claim<'a> {
    pub(super) fn of(key: &'a Key, service: &Service) -> Self {
        let spec = service.spec.clone().unwrap_or_default();
        let ports = spec.ports.into_iter().flatten().map(|port| Port {
            number: port.port,
            protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
        });
        Self {
            service: key,
            sharing: SharingKey::of(service),
            ports: ports.collect(),
            local: spec.external_traffic_policy.as_deref() == Some("Local"),
            selector: spec.selector.unwrap_or_default(),
        }
    }

    /// On which terms the service has its addresses, where it would share them. Who changes them and
    /// comes into the way of another is the one that has to go.
    pub(super) fn terms(&self) -> Option<String> {
        let key = self.sharing.as_ref()?;
        let ports: Vec<String> = self.ports.iter().map(Port::to_string).collect();
        let pods: Vec<String> =
            self.selector.iter().map(|(label, value)| format!("{label}={value}")).collect();
        Some(format!(
            "key {}{}, ports {}, externalTrafficPolicy {}, selector {}",
            key.text,
            key.namespace.as_deref().map(|name| format!(" in {name}")).unwrap_or_default(),
            ports.join(" "),
            if self.local { "Local" } else { "Cluster" },
            if pods.is_empty() { "none".to_owned() } else { pods.join(",") },
        ))
    }

    fn obstacle(&self, held: &Self) -> Option<Obstacle> {
        let other = held.service.clone();
        if self.sharing.is_none() || self.sharing != held.sharing {
            return Some(Obstacle::NotShared(other));
        }
        if let Some(port) = self.ports.intersection(&held.ports).next() {
            return Some(Obstacle::Port(other, port.clone()));
        }
        // Of a service without a selector nobody knows which pods it will have.
        let same_pods = !self.selector.is_empty()
            && self.selector == held.selector
            && self.service.namespace == held.service.namespace;
        ((self.local || held.local) && !same_pods).then_some(Obstacle::Pods(other))
    }
}

/// Who has which address.
#[derive(Debug, Default)]
pub(super) struct Holders<'a> {
    by_address: BTreeMap<IpAddr, BTreeMap<&'a Key, &'a Claim<'a>>>,
    by_key: BTreeMap<&'a SharingKey, BTreeSet<IpAddr>>,
}

impl<'a> Holders<'a> {
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.by_address.keys().copied()
    }

    pub(super) fn obstacle(&self, address: IpAddr, claim: &Claim<'_>) -> Option<Obstacle> {
        self.by_address.get(&address)?.values().find_map(|held| claim.obstacle(held))
    }

    pub(super) fn give(&mut self, address: IpAddr, claim: &'a Claim<'a>) {
        self.by_address.entry(address).or_default().insert(claim.service, claim);
        if let Some(key) = &claim.sharing {
            self.by_key.entry(key).or_default().insert(address);
        }
    }

    /// Gives the address if nobody stands in the way.
    pub(super) fn try_give(&mut self, address: IpAddr, claim: &'a Claim<'a>) -> bool {
        let free = self.obstacle(address, claim).is_none();
        if free {
            self.give(address, claim);
        }
        free
    }

    /// What others with the same key have.
    pub(super) fn of_same_key(&self, claim: &Claim<'_>) -> impl Iterator<Item = IpAddr> {
        let key = claim.sharing.as_ref();
        key.and_then(|key| self.by_key.get(key)).into_iter().flatten().copied()
    }

    /// Who else has the address, for people to read.
    pub(super) fn others(&self, address: IpAddr, service: &Key) -> Vec<String> {
        let held = self.by_address.get(&address).into_iter().flat_map(BTreeMap::keys);
        held.filter(|held| **held != service).map(ToString::to_string).collect()
    }
}
