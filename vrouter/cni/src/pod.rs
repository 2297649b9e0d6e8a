//! The pod's side: its interface and the way out of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::route::RouteProtocol;
use rtnetlink::Handle;
use viaduct_net::{Family, Prefix};

use crate::{
    attachment::{Attachment, HOST_MAC},
    netlink::{self, Existing, NetlinkError, Route},
    sysctl::{self, SysctlError},
};

const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// Where every pod sends everything: an address on its link only, the same for all, that no one
/// resolves. The pod has a permanent neighbour entry for it.
pub(crate) const fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => GATEWAY_V4,
        Family::V6 => GATEWAY_V6,
    }
}

pub(crate) fn host_prefixes(attachment: &Attachment) -> impl Iterator<Item = Prefix> + '_ {
    attachment.addresses.iter().copied().map(Prefix::host)
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    #[error("in the pod: {0}")]
    Netlink(#[from] NetlinkError),
    #[error("in the pod: {0}")]
    Sysctl(#[from] SysctlError),
    #[error("in the pod: interface {0} is not there")]
    NoInterface(String),
    #[error("in the pod: {0}")]
    Differs(String),
}

/// Makes the pod's end what it should be. Runs inside the pod's namespace; may be repeated.
pub(crate) async fn configure(netlink: Handle, attachment: Attachment) -> Result<(), PodError> {
    let ifname = &attachment.owner.ifname;
    if let Some(loopback) = netlink::link(&netlink, "lo").await? {
        netlink::set_up(&netlink, loopback.header.index).await?;
    }
    let link = netlink::link(&netlink, ifname)
        .await?
        .ok_or_else(|| PodError::NoInterface(ifname.clone()))?;
    let index = link.header.index;
    if attachment.addresses.iter().any(IpAddr::is_ipv6) {
        let settings = [("disable_ipv6", "0"), ("accept_ra", "0"), ("accept_dad", "0")];
        sysctl::set(Family::V6, ifname, &settings)?;
    }
    for prefix in host_prefixes(&attachment) {
        netlink::add_address(&netlink, index, prefix).await?;
    }
    netlink::set_up(&netlink, index).await?;
    for prefix in host_prefixes(&attachment) {
        let family = prefix.family();
        let gateway = gateway(family);
        netlink::add_neighbour(&netlink, index, gateway, HOST_MAC).await?;
        let out = Route {
            destination: Prefix::default_route(family),
            index,
            gateway: Some(gateway),
            protocol: RouteProtocol::Boot,
            metric: None,
        };
        if family == Family::V4 {
            let on_link = Route { destination: Prefix::host(gateway), gateway: None, ..out };
            netlink::set_route(&netlink, on_link, Existing::Replace).await?;
        }
        netlink::set_route(&netlink, out, Existing::Replace).await?;
    }
    Ok(())
}

/// Whether the pod's end is ours and has its addresses.
pub(crate) async fn check(netlink: Handle, attachment: Attachment) -> Result<(), PodError> {
    let ifname = &attachment.owner.ifname;
    let link = netlink::link(&netlink, ifname)
        .await?
        .ok_or_else(|| PodError::NoInterface(ifname.clone()))?;
    if netlink::mac_of(&link) != Some(attachment.mac) {
        return Err(PodError::Differs(format!("interface {ifname} is not the one ADD made")));
    }
    let present = netlink::addresses(&netlink, link.header.index).await?;
    match attachment.addresses.iter().find(|address| !present.contains(address)) {
        Some(missing) => Err(PodError::Differs(format!("{ifname} has lost address {missing}"))),
        None => Ok(()),
    }
}
