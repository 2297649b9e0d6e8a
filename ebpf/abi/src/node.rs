use crate::Address;

/// The mark of service traffic from outside that goes through the stack: masquerade exempts it,
/// and connection tracking, which sees one direction of it only, should leave it alone.
pub const SERVICE_MARK: u32 = 0x5644_0001;

/// An address by which node ports are reached.
pub const ADDRESS_NODE: u32 = 1;
/// An address of a service (ClusterIP or VIP): a socket that connects to a port of it which no
/// service has is refused, as by a host that does not listen.
pub const ADDRESS_SERVICE: u32 = 2;
/// A VIP: a packet from outside for a port of it which no service has is refused.
pub const ADDRESS_VIP: u32 = 4;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeConfig {
    /// The source of translated IPv4 flows; the unspecified address where the node has none, and
    /// backends elsewhere are then out of reach from outside.
    pub node_v4: Address,
    /// The same for IPv6.
    pub node_v6: Address,
    /// First port of translated sources. Must lie outside `ip_local_port_range` and the node
    /// ports: nothing else on the node may send from it.
    pub nat_port_first: u16,
    /// Last port, inclusive.
    pub nat_port_last: u16,
    /// An answered UDP flow that was silent for so long is over. As with the other limits, 0 stands
    /// for what the programs take for right.
    pub udp_idle_seconds: u32,
    /// The same of TCP: it gives up its port.
    pub tcp_idle_seconds: u32,
    /// The same after a FIN or RST.
    pub closing_idle_seconds: u32,
    /// The same where nothing was ever answered.
    pub embryonic_idle_seconds: u32,
    pub reserved: [u32; 11],
}

const _: () = assert!(size_of::<NodeConfig>() == 96);

/// The addresses of the pod behind a veth: a reply is translated for its own pod only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodValue {
    /// Unspecified where the pod has none.
    pub v4: Address,
    pub v6: Address,
}

const _: () = assert!(size_of::<PodValue>() == 32);

/// How many refusals (RST, ICMP) a CPU has sent in the running second.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyBudget {
    pub second: u64,
    pub sent: u64,
}

const _: () = assert!(size_of::<ReplyBudget>() == 16);
