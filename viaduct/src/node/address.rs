//! The node's own addresses and its uplinks: as told, or as the kernel would use them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use nix::ifaddrs::getifaddrs;

/// Addresses of documentation (RFC 5737, RFC 3849): every default route leads there, nothing is
/// sent.
const FAR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const FAR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// A machine that boots has its addresses soon.
const DETECTION_TRIES: usize = 100;
const DETECTION_PAUSE: Duration = Duration::from_millis(100);

/// The addresses given, or those from which this machine would speak to the far side of its default
/// routes. Waits for them for ten seconds.
pub(crate) async fn detect(given: Vec<IpAddr>) -> Result<Vec<IpAddr>> {
    if !given.is_empty() {
        return Ok(given);
    }
    for _ in 0..DETECTION_TRIES {
        let found: Vec<IpAddr> = [FAR_V4, FAR_V6].into_iter().filter_map(source_for).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        tokio::time::sleep(DETECTION_PAUSE).await;
    }
    bail!("no address was detected, since there is no default route: give it by --node-ip")
}

fn source_for(far: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = match far {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    // Connecting a datagram socket looks up the route and picks the source address.
    socket.connect((far, 9)).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified() && !source.is_loopback()).then_some(source)
}

/// The interfaces given, or those that hold the node's addresses.
pub(crate) fn uplinks(given: Vec<String>, addresses: &[IpAddr]) -> Result<Vec<String>> {
    if !given.is_empty() {
        return Ok(given);
    }
    let mut found = Vec::new();
    for interface in getifaddrs().context("list the interfaces")? {
        let Some(address) = interface.address.as_ref().and_then(ip_of) else { continue };
        if addresses.contains(&address) && !found.contains(&interface.interface_name) {
            found.push(interface.interface_name);
        }
    }
    if found.is_empty() {
        bail!("no interface holds {addresses:?}: give the uplink by --uplink");
    }
    Ok(found)
}

fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// The least MTU of the interfaces: what a pod's packet must fit.
pub(crate) async fn mtu(interfaces: &[String]) -> Result<u32> {
    // `/sys` may be another namespace's, netlink is always of ours.
    let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let mut least = None;
    for name in interfaces {
        let mut links = handle.link().get().match_name(name.clone()).execute();
        let link = links.try_next().await.with_context(|| format!("look at interface {name}"))?;
        let mtu = link.as_ref().and_then(mtu_of);
        let mtu = mtu.with_context(|| format!("interface {name} is not there"))?;
        least = Some(least.map_or(mtu, |least: u32| least.min(mtu)));
    }
    connection.abort();
    least.context("no uplink")
}

fn mtu_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_given_is_taken() {
        let given = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        assert_eq!(detect(given.clone()).await.unwrap(), given);
        assert_eq!(uplinks(vec!["eth7".to_owned()], &given).unwrap(), ["eth7"]);
    }

    #[tokio::test]
    async fn an_interface_is_found_by_its_address() {
        let found = uplinks(Vec::new(), &[IpAddr::V4(Ipv4Addr::LOCALHOST)]).unwrap();
        assert_eq!(found, ["lo"]);
        assert_eq!(mtu(&found).await.unwrap(), 65536);
        assert!(mtu(&["no-such-link".to_owned()]).await.is_err());
        assert!(uplinks(Vec::new(), &[FAR_V4]).is_err());
    }
}
