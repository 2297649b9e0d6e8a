use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ebpf_abi::{
    ADDRESS_NODE, ADDRESS_SERVICE, ADDRESS_VIP, Address, SCOPE_EXTERNAL, SCOPE_INTERNAL,
    SERVICE_DROP_WHEN_EMPTY, ServiceKey,
};

use crate::{
    Endpoint, Masks, Node, Service, ServiceName, ServicePort, Share, Snapshot, TrafficPolicy,
};

/// What tells backends apart: the endpoint's address and port. TCP and UDP of one port share it.
pub type BackendKey = SocketAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontendKind {
    ClusterIp,
    NodePort,
    LoadBalancer,
}

impl FrontendKind {
    /// The service type of Kubernetes that brings it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// An address and port of a service, for clients of one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    pub kind: FrontendKind,
    pub service: ServiceName,
    /// The service's port.
    pub port_name: String,
    /// That new flows go to; sorted, of the frontend's family, empty where there is none.
    pub backends: Arc<[BackendKey]>,
    /// Of [`ebpf_abi::ServiceValue`].
    pub flags: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendState {
    Active,
    /// Finishes what it has; new flows only where no active one is left.
    Terminating,
    Unready,
}

impl BackendState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Terminating => "terminating",
            Self::Unready => "unready",
        }
    }

    pub const fn of(endpoint: &Endpoint) -> Self {
        match (endpoint.ready, endpoint.terminating) {
            (true, false) => Self::Active,
            (_, true) => Self::Terminating,
            (false, false) => Self::Unready,
        }
    }
}

/// How a backend is to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackendNeed {
    pub(crate) local: bool,
    /// In some frontend's list: flows may begin.
    pub(crate) takes_flows: bool,
}

/// Two services want one address and port; the first by name has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{loser} wants the address and port of {winner}")]
pub struct Conflict {
    pub key: ServiceKey,
    pub winner: ServiceName,
    pub loser: ServiceName,
}

/// What the maps should hold, without ids and places.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    pub frontends: BTreeMap<ServiceKey, Frontend>,
    /// Flags `ADDRESS_*`.
    pub addresses: BTreeMap<Address, u32>,
    /// VIPs that this node can serve and so may announce: with `externalTrafficPolicy: Cluster`
    /// there is a backend somewhere, with `Local` a ready one on this node. One that only
    /// terminates is no reason to draw traffic here from nodes that have a ready one.
    pub vips: BTreeSet<IpAddr>,
    pub conflicts: Vec<Conflict>,
    /// Those that new flows would go to if their nodes were not masked.
    pub masked: BTreeSet<BackendKey>,
    /// Services of which so many backends are on masked nodes that they get flows all the same.
    pub ignored: BTreeMap<ServiceName, Share>,
    pub(crate) backends: BTreeMap<BackendKey, BackendNeed>,
}

impl Desired {
    /// Whether some service has an endpoint at one of the addresses, whatever its state.
    pub fn has_endpoint(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        self.backends.keys().any(|key| addresses.contains(&key.ip()))
    }

    /// Whether new flows are to go to one of the addresses.
    pub fn sends_flows_to(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        self.backends.iter().any(|(key, need)| need.takes_flows && addresses.contains(&key.ip()))
    }

    /// Takes in the masks of these nodes as far as it cannot wait: where new flows go of the services
    /// that have backends there. Gives the frontends that it has changed, to be entered before
    /// everything is worked out by [`expand`].
    pub fn hasten(
        &mut self,
        snapshot: &Snapshot,
        node: &Node,
        masks: &Masks,
        nodes: &BTreeSet<String>,
    ) -> BTreeSet<ServiceKey> {
        let is_there =
            |endpoint: &Endpoint| endpoint.node.as_ref().is_some_and(|there| nodes.contains(there));
        let mut changed = BTreeSet::new();
        let concerned = |(_, service): &(_, &Arc<Service>)| service.endpoints.iter().any(is_there);
        for (name, service) in snapshot.services.iter().filter(concerned) {
            let mut alone = Self::default();
            for port in &service.ports {
                Expansion { name, service, port, node, masks, desired: &mut alone }.expand();
            }
            for (key, new) in alone.frontends {
                // Where two want one address this may be the other's.
                let held = self.frontends.get_mut(&key).filter(|held| {
                    (&held.service, &held.port_name) == (&new.service, &new.port_name)
                        && held.backends != new.backends
                });
                let Some(held) = held else { continue };
                for backend in new.backends.iter() {
                    if let Some(need) = self.backends.get_mut(backend) {
                        need.takes_flows = true;
                    }
                }
                *held = new;
                changed.insert(key);
            }
        }
        changed
    }
}

/// Works out the frontends of every service for one node.
///
/// Clients inside the cluster reach node ports and VIPs whatever `externalTrafficPolicy` says, as
/// in Kubernetes; `internalTrafficPolicy` rules ClusterIPs.
pub fn expand(snapshot: &Snapshot, node: &Node, masks: &Masks) -> Desired {
    let mut desired = Desired::default();
    for address in &node.addresses {
        *desired.addresses.entry((*address).into()).or_default() |= ADDRESS_NODE;
    }
    for (name, service) in &snapshot.services {
        for address in &service.cluster_ips {
            *desired.addresses.entry((*address).into()).or_default() |= ADDRESS_SERVICE;
        }
        for address in &service.vips {
            let flags = match service.external_ips.contains(address) {
                true => ADDRESS_VIP,
                false => ADDRESS_SERVICE | ADDRESS_VIP,
            };
            *desired.addresses.entry((*address).into()).or_default() |= flags;
        }
        for port in &service.ports {
            Expansion { name, service, port, node, masks, desired: &mut desired }.expand();
        }
    }
    desired
}

/// One port of one service.
struct Expansion<'a> {
    name: &'a ServiceName,
    service: &'a Service,
    port: &'a ServicePort,
    node: &'a Node,
    masks: &'a Masks,
    desired: &'a mut Desired,
}

impl Expansion<'_> {
    fn expand(mut self) {
        self.enter_backends();
        let internal = self.service.internal_traffic_policy;
        let external = self.service.external_traffic_policy;
        // The lists of a port are few, and shared by the frontends that use the same.
        let mut lists = BTreeMap::new();
        for v4 in [true, false] {
            for policy in [TrafficPolicy::Cluster, TrafficPolicy::Local] {
                lists.insert((v4, policy), self.chosen(v4, policy));
            }
        }
        let list = |address: IpAddr, policy| lists[&(address.is_ipv4(), policy)].clone();
        for address in &self.service.cluster_ips {
            let backends = list(*address, internal);
            self.add(
                FrontendKind::ClusterIp,
                *address,
                self.port.port,
                SCOPE_INTERNAL,
                backends,
                0,
            );
        }
        let flags = match external {
            TrafficPolicy::Cluster => 0,
            TrafficPolicy::Local => SERVICE_DROP_WHEN_EMPTY,
        };
        let families: BTreeSet<IpAddr> =
            self.service.cluster_ips.iter().map(|address| unspecified(*address)).collect();
        let node_port = self.port.node_port;
        let wildcards = families
            .into_iter()
            .filter_map(|address| Some((FrontendKind::NodePort, address, node_port?)));
        let vips = self
            .service
            .vips
            .iter()
            .map(|address| (FrontendKind::LoadBalancer, *address, self.port.port));
        let both: Vec<(FrontendKind, IpAddr, u16)> = wildcards.chain(vips).collect();
        for (kind, address, port) in both {
            let inside = list(address, TrafficPolicy::Cluster);
            self.add(kind, address, port, SCOPE_INTERNAL, inside, 0);
            let outside = list(address, external);
            if kind == FrontendKind::LoadBalancer && self.can_serve(&outside) {
                self.desired.vips.insert(address);
            }
            self.add(kind, address, port, SCOPE_EXTERNAL, outside, flags);
        }
    }

    fn add(
        &mut self,
        kind: FrontendKind,
        address: IpAddr,
        port: u16,
        scope: u8,
        backends: Arc<[BackendKey]>,
        flags: u32,
    ) {
        let protocol = self.port.protocol.number();
        let key = ServiceKey { address: address.into(), port_be: port.to_be(), protocol, scope };
        match self.desired.frontends.entry(key) {
            btree_map::Entry::Occupied(held) => self.desired.conflicts.push(Conflict {
                key,
                winner: held.get().service.clone(),
                loser: self.name.clone(),
            }),
            btree_map::Entry::Vacant(vacant) => {
                for backend in backends.iter() {
                    if let Some(need) = self.desired.backends.get_mut(backend) {
                        need.takes_flows = true;
                    }
                }
                let (service, port_name) = (self.name.clone(), self.port.name.clone());
                vacant.insert(Frontend { kind, service, port_name, backends, flags });
            }
        }
    }

    fn backends(&self) -> impl Iterator<Item = (BackendKey, &Endpoint)> {
        self.service.endpoints.iter().filter_map(|endpoint| {
            let port = *endpoint.ports.get(&self.port.name)?;
            Some((SocketAddr::new(endpoint.address, port), endpoint))
        })
    }

    /// Every endpoint is entered, ready or not: its flows go on while it is there.
    fn enter_backends(&mut self) {
        let entries: Vec<(BackendKey, bool)> =
            self.backends().map(|(key, endpoint)| (key, self.is_local(endpoint))).collect();
        for (key, local) in entries {
            let need = BackendNeed { local, takes_flows: false };
            self.desired.backends.entry(key).or_insert(need).local |= local;
        }
    }

    /// The active ones, or where there is none those that terminate but still serve; without those
    /// on masked nodes, unless there are too many.
    fn chosen(&mut self, v4: bool, policy: TrafficPolicy) -> Arc<[BackendKey]> {
        let candidates = || {
            self.backends().filter(|(key, endpoint)| {
                key.is_ipv4() == v4 && (policy == TrafficPolicy::Cluster || self.is_local(endpoint))
            })
        };
        // Whether each is masked.
        let of = |wanted: fn(&Endpoint) -> bool| -> BTreeMap<BackendKey, bool> {
            let mut found = BTreeMap::new();
            for (key, endpoint) in candidates().filter(|(_, endpoint)| wanted(endpoint)) {
                *found.entry(key).or_insert(true) &= self.is_masked(endpoint);
            }
            found
        };
        let mut chosen = of(|endpoint| BackendState::of(endpoint) == BackendState::Active);
        if chosen.is_empty() {
            chosen = of(|endpoint| endpoint.terminating && endpoint.serving);
        }
        let masked = chosen.values().filter(|masked| **masked).count();
        let share = Share { masked, of: chosen.len() };
        if share.is_ignored() {
            self.desired.ignored.insert(self.name.clone(), share);
            return chosen.into_keys().collect();
        }
        let (masked, chosen): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|(_, masked)| *masked);
        self.desired.masked.extend(masked.into_iter().map(|(key, _)| key));
        chosen.into_iter().map(|(key, _)| key).collect()
    }

    /// A node reaches itself, whatever the others hear of it.
    fn is_masked(&self, endpoint: &Endpoint) -> bool {
        let node = endpoint.node.as_deref().filter(|_| !self.is_local(endpoint));
        node.is_some_and(|node| self.masks.mask(node).is_some())
    }

    fn is_local(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_deref() == Some(self.node.name.as_str())
    }

    fn can_serve(&self, outside: &[BackendKey]) -> bool {
        let ready = |key: &BackendKey| {
            self.backends().any(|(other, endpoint)| {
                other == *key && BackendState::of(endpoint) == BackendState::Active
            })
        };
        match self.service.external_traffic_policy {
            TrafficPolicy::Cluster => !outside.is_empty(),
            TrafficPolicy::Local => outside.iter().any(ready),
        }
    }
}

/// The wildcard under which the node ports of a family are entered.
fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}
