use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ebpf_abi::{
    ADDRESS_SERVICE, ADDRESS_VIP, Address, SCOPE_EXTERNAL, SCOPE_INTERNAL, SERVICE_DROP_WHEN_EMPTY,
    ServiceKey,
};

use crate::{Endpoint, Masks, Node, Service, ServiceName, ServicePort, Share, TrafficPolicy};

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

/// Two services want one address and port; the first by name has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{loser} wants the address and port of {winner}")]
pub struct Conflict {
    pub key: ServiceKey,
    pub winner: ServiceName,
    pub loser: ServiceName,
}

/// What one service asks for, whatever others do.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    /// In the order in which they are claimed; one may be there twice.
    pub(crate) frontends: Vec<(ServiceKey, Frontend)>,
    pub(crate) addresses: BTreeMap<Address, u32>,
    pub(crate) vips: BTreeSet<IpAddr>,
    pub(crate) masked: BTreeSet<BackendKey>,
    pub(crate) ignored: Option<Share>,
}

impl Expanded {
    /// Clients inside the cluster reach node ports and VIPs whatever `externalTrafficPolicy` says,
    /// as in Kubernetes; `internalTrafficPolicy` rules ClusterIPs.
    pub(crate) fn new(name: &ServiceName, service: &Service, node: &Node, masks: &Masks) -> Self {
        let mut expanded = Self::default();
        for address in &service.cluster_ips {
            *expanded.addresses.entry((*address).into()).or_default() |= ADDRESS_SERVICE;
        }
        for address in &service.vips {
            let flags = match service.external_ips.contains(address) {
                true => ADDRESS_VIP,
                false => ADDRESS_SERVICE | ADDRESS_VIP,
            };
            *expanded.addresses.entry((*address).into()).or_default() |= flags;
        }
        for port in &service.ports {
            Expansion { name, service, port, node, masks, expanded: &mut expanded }.expand();
        }
        expanded
    }
}

pub(crate) fn is_local(endpoint: &Endpoint, node: &Node) -> bool {
    endpoint.node.as_deref() == Some(node.name.as_str())
}

/// The endpoints that have the port of this name.
pub(crate) fn backends<'a>(
    service: &'a Service,
    port_name: &'a str,
) -> impl Iterator<Item = (BackendKey, &'a Endpoint)> {
    service.endpoints.iter().filter_map(move |endpoint| {
        let port = *endpoint.ports.get(port_name)?;
        Some((SocketAddr::new(endpoint.address, port), endpoint))
    })
}

/// One port of one service.
struct Expansion<'a> {
    name: &'a ServiceName,
    service: &'a Service,
    port: &'a ServicePort,
    node: &'a Node,
    masks: &'a Masks,
    expanded: &'a mut Expanded,
}

impl Expansion<'_> {
    fn expand(mut self) {
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
                self.expanded.vips.insert(address);
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
        let (service, port_name) = (self.name.clone(), self.port.name.clone());
        let frontend = Frontend { kind, service, port_name, backends, flags };
        self.expanded.frontends.push((key, frontend));
    }

    fn backends(&self) -> impl Iterator<Item = (BackendKey, &Endpoint)> {
        backends(self.service, &self.port.name)
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
        // Hints say where it is best to go, and not that it is better to go nowhere.
        let near = |key: &BackendKey| !self.service.elsewhere.contains(&key.ip());
        if policy == TrafficPolicy::Cluster
            && chosen.iter().any(|(key, masked)| near(key) && !masked)
        {
            chosen.retain(|key, _| near(key));
        }
        if chosen.is_empty() {
            chosen = of(|endpoint| endpoint.terminating && endpoint.serving);
        }
        let masked = chosen.values().filter(|masked| **masked).count();
        let share = Share { masked, of: chosen.len() };
        if share.is_ignored() {
            self.expanded.ignored = Some(share);
            return chosen.into_keys().collect();
        }
        let (masked, chosen): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|(_, masked)| *masked);
        self.expanded.masked.extend(masked.into_iter().map(|(key, _)| key));
        chosen.into_iter().map(|(key, _)| key).collect()
    }

    /// A node reaches itself, whatever the others hear of it.
    fn is_masked(&self, endpoint: &Endpoint) -> bool {
        let node = endpoint.node.as_deref().filter(|_| !self.is_local(endpoint));
        node.is_some_and(|node| self.masks.mask(node).is_some())
    }

    fn is_local(&self, endpoint: &Endpoint) -> bool {
        is_local(endpoint, self.node)
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
