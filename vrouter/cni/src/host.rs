//! The node's side of a pod.

use std::{net::IpAddr, os::fd::AsRawFd};

use netlink_packet_route::route::RouteProtocol;
use rtnetlink::Handle;
use viaduct_net::{Family, Prefix};

use crate::{
    attachment::{Attachment, HOST_MAC},
    netlink::{self, Existing, NetlinkError, Route, VethEnd},
    netns::{Netns, NetnsError},
    pod::{self, PodError, gateway, host_prefixes},
    sysctl::{self, SysctlError},
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Pod(#[from] PodError),
    #[error("interface {0} went away while it was set up")]
    Vanished(String),
}

/// Loose, because the answer of a service leaves its pod with the pod's address and the service's
/// from the veth on; the guard verifies sources more strictly than this could. 2 also rules where
/// `all` says 1: the greater of the two is taken.
const SETTINGS_V4: [(&str, &str); 6] = [
    ("forwarding", "1"),
    ("rp_filter", "2"),
    ("accept_local", "1"),
    ("proxy_arp", "0"),
    ("accept_redirects", "0"),
    ("send_redirects", "0"),
];

/// `addr_gen_mode` 1: no link-local address but the fixed one.
const SETTINGS_V6: [(&str, &str); 6] = [
    ("disable_ipv6", "0"),
    ("addr_gen_mode", "1"),
    ("forwarding", "1"),
    ("accept_ra", "0"),
    ("accept_dad", "0"),
    ("accept_redirects", "0"),
];

/// Makes the pair and both its ends. What is there already and ours is kept. The caller rolls back
/// with [`unwire`].
pub(crate) async fn wire(
    netlink: &Handle,
    attachment: &Attachment,
    netns: &Netns,
) -> Result<(), WireError> {
    let there = netlink::link(netlink, &attachment.host_ifname).await?.is_some();
    let whole = there && {
        let attachment = attachment.clone();
        netns.run(async move |pod| pod::check(pod, attachment).await).await?.is_ok()
    };
    if there && !whole {
        netlink::delete_link(netlink, &attachment.host_ifname).await?;
    }
    if !whole {
        let host = VethEnd { name: &attachment.host_ifname, mac: HOST_MAC };
        let peer = VethEnd { name: &attachment.owner.ifname, mac: attachment.mac };
        let fd = netns.file.as_raw_fd();
        netlink::create_veth(netlink, host, peer, fd, attachment.mtu).await?;
    }
    link_up(netlink, attachment).await?;
    let inside = attachment.clone();
    netns.run(async move |pod| pod::configure(pod, inside).await).await??;
    Ok(())
}

/// The node's end up with its settings, gateway address and neighbours, and the routes to the pod:
/// all that the node needs for a pod whose pair is there. The routes are those the vRouter would
/// make, to the letter, or each of the two would remove the other's.
pub(crate) async fn connect(
    netlink: &Handle,
    attachment: &Attachment,
    existing: Existing,
) -> Result<(), WireError> {
    let index = link_up(netlink, attachment).await?;
    for destination in host_prefixes(attachment) {
        let route = Route {
            destination,
            index,
            gateway: None,
            protocol: RouteProtocol::Other(crate::POD_ROUTE_PROTOCOL),
            metric: Some(vrouter_plan::METRIC),
        };
        netlink::set_route(netlink, route, existing).await?;
    }
    Ok(())
}

async fn link_up(netlink: &Handle, attachment: &Attachment) -> Result<u32, WireError> {
    let name = &attachment.host_ifname;
    let link =
        netlink::link(netlink, name).await?.ok_or_else(|| WireError::Vanished(name.clone()))?;
    let index = link.header.index;
    sysctl::set(Family::V4, name, &SETTINGS_V4)?;
    if attachment.addresses.iter().any(IpAddr::is_ipv6) {
        sysctl::set(Family::V6, name, &SETTINGS_V6)?;
        // As a /128: replies to the pod's own link-local address go by its neighbour entry.
        netlink::add_address(netlink, index, Prefix::host(gateway(Family::V6))).await?;
    }
    netlink::set_up(netlink, index).await?;
    for address in &attachment.addresses {
        // Neither side ever asks the other for its Ethernet address.
        netlink::add_neighbour(netlink, index, *address, attachment.mac).await?;
    }
    Ok(index)
}

/// Takes the pair away, and with it its addresses, neighbours and routes. One that is not there is
/// no error.
pub(crate) async fn unwire(netlink: &Handle, attachment: &Attachment) -> Result<bool, WireError> {
    Ok(netlink::delete_link(netlink, &attachment.host_ifname).await?)
}

pub(crate) async fn exists(netlink: &Handle, attachment: &Attachment) -> Result<bool, WireError> {
    Ok(netlink::link(netlink, &attachment.host_ifname).await?.is_some())
}
