use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// The number of IANA, as the maps hold it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => ebpf_abi::PROTOCOL_TCP,
            Self::Udp => ebpf_abi::PROTOCOL_UDP,
        }
    }

    /// The name in the Kubernetes API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// `internalTrafficPolicy` and `externalTrafficPolicy` of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficPolicy {
    /// Any endpoint of the cluster.
    #[default]
    Cluster,
    /// Endpoints on the node of the client, or on the node that the packet reached first.
    Local,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty where the port has no name; what endpoints refer to.
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
}

/// One endpoint of the service's EndpointSlices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    /// The port at the endpoint by the name of the service's port.
    pub ports: BTreeMap<String, u16>,
    pub node: Option<String>,
    /// The conditions of the EndpointSlice API; a terminating endpoint is never ready.
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
}

/// A service with what stands behind it. Headless services are not for the balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    pub cluster_ips: Vec<IpAddr>,
    /// VIPs: the addresses of the load balancer and `externalIPs`.
    pub vips: BTreeSet<IpAddr>,
    /// Those of them that are `externalIPs`: what is not a port of the service there is somebody
    /// else's, a node's perhaps, and stays open to clients inside the cluster.
    pub external_ips: BTreeSet<IpAddr>,
    pub ports: Vec<ServicePort>,
    pub internal_traffic_policy: TrafficPolicy,
    pub external_traffic_policy: TrafficPolicy,
    pub endpoints: Vec<Endpoint>,
    /// Endpoints that are for clients of other nodes or zones, as topology hints say: new flows under
    /// the policy Cluster go to others, while one of those is active and not masked.
    pub elsewhere: BTreeSet<IpAddr>,
}

/// Every service of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// Whether all services and endpoints are known. Until then the maps are left as they are.
    pub complete: bool,
    /// How late a reading of the API this is; told again when it is written.
    pub generation: u64,
}

/// The node that the maps are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// Its addresses: node ports are reached by them.
    pub addresses: BTreeSet<IpAddr>,
}
