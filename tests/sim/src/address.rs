//! Numbers of nodes and what is made of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use viaduct_net::Prefix;

/// A node's place in the topology.
pub type NodeId = usize;

const FIRST_V4: u32 = u32::from_be_bytes([172, 16, 0, 1]);
const FIRST_V6: u128 = 0x2001_0db8_0000_0000_0000_0000_0000_0001;

/// 172.16.0.1 and on; the router id too.
pub fn address_v4(node: NodeId) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_V4 + node as u32)
}

/// 2001:db8::1 and on.
pub fn address_v6(node: NodeId) -> Ipv6Addr {
    Ipv6Addr::from(FIRST_V6 + node as u128)
}

/// Whose address that is, or would be.
pub fn node_of(address: IpAddr) -> NodeId {
    match address {
        IpAddr::V4(address) => (u32::from(address) - FIRST_V4) as NodeId,
        IpAddr::V6(address) => (u128::from(address) - FIRST_V6) as NodeId,
    }
}

/// 10.0.0.0/24 and on.
pub fn block_v4(node: NodeId) -> Prefix {
    let [_, _, high, low] = (node as u32).to_be_bytes();
    Prefix::new(Ipv4Addr::new(10, high, low, 0).into(), 24).unwrap()
}

/// fd00:0::/64 and on.
pub fn block_v6(node: NodeId) -> Prefix {
    Prefix::new(Ipv6Addr::new(0xfd00, node as u16, 0, 0, 0, 0, 0, 0).into(), 64).unwrap()
}
