//! The few operations on links, addresses, neighbours and routes that wiring needs. All may be
//! repeated.

use std::{net::IpAddr, os::fd::RawFd};

use futures::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
    link::{InfoData, InfoVeth, LinkAttribute, LinkMessage},
    neighbour::NeighbourState,
    route::{RouteProtocol, RouteScope},
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use viaduct_net::{Family, Prefix};

use crate::attachment::Mac;

#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub(crate) struct NetlinkError {
    action: String,
    pub(crate) source: Box<rtnetlink::Error>,
}

fn failed(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetlinkError {
    move |source| NetlinkError { action: action.into(), source: Box::new(source) }
}

fn is_errno(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.code.is_some_and(|code| code.get() == -errno))
}

pub(crate) async fn link(
    netlink: &Handle,
    name: &str,
) -> Result<Option<LinkMessage>, NetlinkError> {
    match netlink.link().get().match_name(name).execute().try_next().await {
        Ok(link) => Ok(link),
        Err(error) if is_errno(&error, libc::ENODEV) => Ok(None),
        Err(error) => Err(failed(format!("look up interface {name}"))(error)),
    }
}

pub(crate) fn mac_of(link: &LinkMessage) -> Option<Mac> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}

pub(crate) struct VethEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: Mac,
}

/// Makes a pair whose peer comes into being inside `peer_netns`: it is never seen on the node.
pub(crate) async fn create_veth(
    netlink: &Handle,
    host: VethEnd<'_>,
    peer: VethEnd<'_>,
    peer_netns: RawFd,
    mtu: u32,
) -> Result<(), NetlinkError> {
    let peer_message = LinkMessageBuilder::<LinkUnspec>::new()
        .name(peer.name)
        .address(peer.mac.0.to_vec())
        .mtu(mtu)
        .setns_by_fd(peer_netns)
        .build();
    let message = LinkVeth::new(host.name, peer.name)
        .address(host.mac.0.to_vec())
        .mtu(mtu)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer_message)))
        .build();
    netlink
        .link()
        .add(message)
        .execute()
        .await
        .map_err(failed(format!("create the veth pair {} – {}", host.name, peer.name)))
}

pub(crate) async fn set_up(netlink: &Handle, index: u32) -> Result<(), NetlinkError> {
    let message = LinkUnspec::new_with_index(index).up().build();
    let action = format!("set interface {index} up");
    netlink.link().set(message).execute().await.map_err(failed(action))
}

/// Deletes the interface; one that is not there is no error. Says whether there was one.
pub(crate) async fn delete_link(netlink: &Handle, name: &str) -> Result<bool, NetlinkError> {
    let Some(link) = link(netlink, name).await? else { return Ok(false) };
    match netlink.link().del(link.header.index).execute().await {
        Ok(()) => Ok(true),
        // It went on its own, with the pod's namespace.
        Err(error) if is_errno(&error, libc::ENODEV) => Ok(false),
        Err(error) => Err(failed(format!("delete interface {name}"))(error)),
    }
}

/// Without duplicate address detection: the address is usable at once. One that is there stays.
pub(crate) async fn add_address(
    netlink: &Handle,
    index: u32,
    address: Prefix,
) -> Result<(), NetlinkError> {
    if addresses(netlink, index).await?.contains(&address.address()) {
        return Ok(());
    }
    let mut request = netlink.address().add(index, address.address(), address.len()).replace();
    if address.family() == Family::V6 {
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    request.execute().await.map_err(failed(format!("add address {address}")))
}

pub(crate) async fn add_neighbour(
    netlink: &Handle,
    index: u32,
    address: IpAddr,
    mac: Mac,
) -> Result<(), NetlinkError> {
    netlink
        .neighbours()
        .add(index, address)
        .link_layer_address(&mac.0)
        .state(NeighbourState::Permanent)
        .replace()
        .execute()
        .await
        .map_err(failed(format!("set the permanent neighbour {address}")))
}

/// Addresses that are on the interface, whichever scope.
pub(crate) async fn addresses(netlink: &Handle, index: u32) -> Result<Vec<IpAddr>, NetlinkError> {
    let all: Vec<AddressMessage> = netlink
        .address()
        .get()
        .set_link_index_filter(index)
        .execute()
        .try_collect()
        .await
        .map_err(failed(format!("list the addresses of interface {index}")))?;
    let address_of = |message: AddressMessage| {
        message.attributes.into_iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(address),
            _ => None,
        })
    };
    Ok(all.into_iter().filter(|m| m.header.index == index).filter_map(address_of).collect())
}

/// A route out of an interface, straight or through a gateway on its link.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) destination: Prefix,
    pub(crate) index: u32,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) protocol: RouteProtocol,
    /// The kernel's own choice where `None`.
    pub(crate) metric: Option<u32>,
}

/// What to do where there is a route of the same destination and metric.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is taken for the right one.
    Keep,
    Replace,
}

pub(crate) async fn set_route(
    netlink: &Handle,
    route: Route,
    existing: Existing,
) -> Result<(), NetlinkError> {
    let Route { destination, index, gateway, protocol, metric } = route;
    let action = format!("set the route to {destination}");
    let unusable =
        |error| failed(action.clone())(rtnetlink::Error::InvalidNla(format!("{error:?}")));
    // The kernel takes "link" as the scope only of IPv4 routes without a gateway.
    let scope = match (destination.address(), gateway) {
        (IpAddr::V4(_), None) => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination.address(), destination.len())
        .map_err(unusable)?
        .output_interface(index)
        .protocol(protocol)
        .scope(scope);
    if let Some(metric) = metric {
        builder = builder.priority(metric);
    }
    if let Some(gateway) = gateway {
        builder = builder.gateway(gateway).map_err(unusable)?.onlink();
    }
    let mut message = builder.build();
    message.header.address_family = match destination.address() {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let request = netlink.route().add(message);
    let request = if existing == Existing::Replace { request.replace() } else { request };
    match request.execute().await {
        Err(error) if existing == Existing::Keep && is_errno(&error, libc::EEXIST) => Ok(()),
        other => other.map_err(failed(action)),
    }
}
