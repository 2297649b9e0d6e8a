//! What the kernel says of interfaces: which there are, whether they can be used, and what we are
//! there.

use std::{collections::BTreeMap, fs, io, net::Ipv6Addr, os::fd::AsRawFd};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    net::if_::InterfaceFlags,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    },
};
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use viaduct_net::IfIndex;

use super::readable::readable;

/// The addresses of the thread's own namespace; `/proc/net` would be that of the process.
const ADDRESSES: &str = "/proc/thread-self/net/if_inet6";

/// From linux/rtnetlink.h.
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
/// From linux/if_addr.h: the address is not ours, or not yet (RFC 4862 §5.4).
const IFA_F_DADFAILED: u8 = 0x08;
const IFA_F_TENTATIVE: u8 = 0x40;

/// One interface with the addresses that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: IfIndex,
    /// Set up, and with a carrier.
    pub(super) runs: bool,
    pub(super) link_local: Option<Ipv6Addr>,
    pub(super) global: Option<Ipv6Addr>,
}

/// All that have these names and are there.
pub(super) fn read<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
) -> io::Result<BTreeMap<String, Interface>> {
    let mut found = BTreeMap::new();
    for entry in getifaddrs()? {
        let link = entry.address.as_ref().and_then(|address| address.as_link_addr());
        let Some(link) = link else { continue };
        if !names.clone().any(|name| name == entry.interface_name) {
            continue;
        }
        let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
        let interface = Interface {
            index: IfIndex(link.ifindex() as u32),
            runs: entry.flags.contains(wanted),
            link_local: None,
            global: None,
        };
        found.insert(entry.interface_name, interface);
    }
    // Without IPv6 there is no such file.
    let addresses = match fs::read_to_string(ADDRESSES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    for (name, address) in addresses.lines().filter_map(usable_address) {
        let Some(interface) = found.get_mut(name) else { continue };
        let place = match address.is_unicast_link_local() {
            true => &mut interface.link_local,
            false => &mut interface.global,
        };
        // Of several the lowest: the kernel's order changes with every address.
        *place = Some(place.map_or(address, |other| other.min(address)));
    }
    Ok(found)
}

/// The interface and the address of a line of [`ADDRESSES`], where it is one that peers can be told.
fn usable_address(line: &str) -> Option<(&str, Ipv6Addr)> {
    let mut fields = line.split_ascii_whitespace();
    let address = Ipv6Addr::from(u128::from_str_radix(fields.next()?, 16).ok()?);
    let (_index, _prefix_len, _scope) = (fields.next()?, fields.next()?, fields.next()?);
    let flags = u8::from_str_radix(fields.next()?, 16).ok()?;
    let name = fields.next()?;
    let nobodys = flags & (IFA_F_DADFAILED | IFA_F_TENTATIVE) != 0;
    let strange = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    (!nobodys && !strange).then_some((name, address))
}

/// Tells that something of an interface has changed, and nothing of what.
#[derive(Debug)]
pub(super) struct Changes(AsyncFd<Socket>);

impl Changes {
    pub(super) fn subscribe() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        let groups = RTMGRP_LINK | RTMGRP_IPV6_IFADDR;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        let socket = Socket::from(socket);
        Ok(Self(readable(socket)?))
    }

    pub(super) async fn wait(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut octets = [0; 8192];
        loop {
            match recv(self.0.as_raw_fd(), &mut octets, MsgFlags::MSG_DONTWAIT) {
                // More than the socket has room for is a change like any other.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_can_be_used_are_found() {
        let line =
            |flags: &str| format!("fe80000000000000000000000000000a 02 40 20 {flags}     eth1");
        let expected = Some(("eth1", "fe80::a".parse().unwrap()));
        assert_eq!(usable_address(&line("80")), expected);
        assert_eq!(usable_address(&line("c0")), None, "tentative");
        assert_eq!(usable_address(&line("88")), None, "a duplicate");
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo";
        for text in [loopback, "", "fe80", "x 02 40 20 80 eth1", &line("")] {
            assert_eq!(usable_address(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_is_there_and_others_are_not() {
        let found = read(["lo", "no-such-link"].into_iter()).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["lo"]);
        assert_eq!((found["lo"].index, found["lo"].link_local), (IfIndex(1), None));
    }
}
