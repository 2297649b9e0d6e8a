//! IPv6 link-local addresses of neighbours, each with the link that it means something on.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use crate::IfIndex;

/// An address of fe80::/64 on one link.
///
/// Wherever a neighbour is known by its [`IpAddr`], one on a link is known by [`Self::embedded`]: the
/// number of the interface stands in octets 2 to 5, which RFC 4291 §2.5.6 has as zeros, so that
/// neighbours on two links are two even where their addresses are one. The kernel, other speakers and
/// operators never see that form: sockets are given [`socket_address`], people [`fmt::Display`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkLocal {
    address: Ipv6Addr,
    interface: IfIndex,
}

impl LinkLocal {
    /// `None` for what is no address of fe80::/64, and for interface 0, which is none.
    pub fn new(address: Ipv6Addr, interface: IfIndex) -> Option<Self> {
        let plain = address.segments()[..4] == [0xfe80, 0, 0, 0];
        (plain && interface.0 != 0).then_some(Self { address, interface })
    }

    /// What is embedded in an address; `None` for one of any other kind.
    pub fn of(address: IpAddr) -> Option<Self> {
        let IpAddr::V6(address) = address else { return None };
        let [0xfe80, high, low, 0, rest @ ..] = address.segments() else { return None };
        let interface = IfIndex(u32::from(high) << 16 | u32::from(low));
        let [a, b, c, d] = rest;
        Self::new(Ipv6Addr::new(0xfe80, 0, 0, 0, a, b, c, d), interface)
    }

    /// As the neighbour itself says it.
    pub const fn address(self) -> Ipv6Addr {
        self.address
    }

    pub const fn interface(self) -> IfIndex {
        self.interface
    }

    /// Address and interface in one.
    pub fn embedded(self) -> IpAddr {
        let [_, _, _, _, a, b, c, d] = self.address.segments();
        let IfIndex(interface) = self.interface;
        let (high, low) = ((interface >> 16) as u16, interface as u16);
        Ipv6Addr::new(0xfe80, high, low, 0, a, b, c, d).into()
    }
}

/// With the interface by its number, as `ip -6 neighbour` could be asked: `fe80::1%3`.
impl fmt::Display for LinkLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%{}", self.address, self.interface)
    }
}

/// What sockets know a neighbour by: an embedded interface is the scope of the address.
pub fn socket_address(address: IpAddr, port: u16) -> SocketAddr {
    match LinkLocal::of(address) {
        Some(LinkLocal { address, interface }) => {
            SocketAddrV6::new(address, port, 0, interface.0).into()
        }
        None => SocketAddr::new(address, port),
    }
}

/// What we know the neighbour at the other end of a socket by: the other way round.
pub fn neighbour_address(from: SocketAddr) -> IpAddr {
    let scoped = match from {
        SocketAddr::V6(from) => LinkLocal::new(*from.ip(), IfIndex(from.scope_id())),
        SocketAddr::V4(_) => None,
    };
    scoped.map_or(from.ip(), LinkLocal::embedded)
}

/// A neighbour's address as people read it; with its interface where one is embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable(pub IpAddr);

impl fmt::Display for Readable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match LinkLocal::of(self.0) {
            Some(link_local) => link_local.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn address_and_interface_are_one_and_come_apart_again() {
        for (address, interface, embedded) in [
            ("fe80::1", 3, "fe80:0:3::1"),
            ("fe80::5054:ff:fe12:3456", 0x0123_4567, "fe80:123:4567:0:5054:ff:fe12:3456"),
            ("fe80::", u32::MAX, "fe80:ffff:ffff::"),
        ] {
            let one = LinkLocal::new(v6(address), IfIndex(interface)).unwrap();
            assert_eq!(one.embedded(), IpAddr::V6(v6(embedded)));
            assert_eq!(LinkLocal::of(one.embedded()), Some(one));
            assert_eq!(Readable(one.embedded()).to_string(), format!("{address}%{interface}"));
            let socket = socket_address(one.embedded(), 179);
            assert_eq!(socket, SocketAddrV6::new(v6(address), 179, 0, interface).into());
            assert_eq!(neighbour_address(socket), one.embedded());
        }
    }

    #[test]
    fn other_addresses_are_left_alone() {
        for text in ["fe80::1", "fe80:0:3:1::1", "fe81:0:3::1", "fec0:0:3::1", "2001:db8::1"] {
            assert_eq!(LinkLocal::of(v6(text).into()), None, "{text}");
            assert_eq!(Readable(v6(text).into()).to_string(), text);
            let socket = SocketAddr::new(v6(text).into(), 179);
            assert_eq!(socket_address(v6(text).into(), 179), socket);
            assert_eq!(neighbour_address(socket), socket.ip());
        }
        assert_eq!(LinkLocal::of([254, 128, 0, 3].into()), None);
        assert_eq!(LinkLocal::new(v6("fe80::1"), IfIndex(0)), None);
        // A neighbour cannot pass for one on another link.
        for text in ["fe80:0:3::1", "2001:db8::1", "::1", "ff02::1"] {
            assert_eq!(LinkLocal::new(v6(text), IfIndex(2)), None, "{text}");
            let socket = SocketAddr::from(SocketAddrV6::new(v6(text), 179, 0, 2));
            assert_eq!(neighbour_address(socket), socket.ip());
        }
    }
}
