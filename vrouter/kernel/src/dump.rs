//! One look at the kernel: links, nexthops and the routes of the main table.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop,
        RouteNextHopFlags, RouteType, RouteVia,
    },
};
use std::net::IpAddr;
use tracing::debug;
use viaduct_net::{IfIndex, NextHop, Prefix, UnderlayRoute};
use vrouter_plan::{Link, NEXTHOP_IDS, Nexthop, NexthopId, RouteKey, Snapshot, Via};

use crate::{
    KernelError,
    connection::{Connection, Request},
    encode::build,
    nexthop::{NexthopAttribute, NexthopMessage, RTM_GETNEXTHOP},
};

const RTM_GETLINK: u16 = 18;
const RTM_GETROUTE: u16 = 26;

const IFLA_IFNAME: u16 = 3;
const LINK_HEADER_LEN: usize = 16;
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_LOWER_UP: u32 = 0x1_0000;

/// Reads links first and routes last: a route then never names a link that is not yet known, and
/// one over a link that has gone since is put right by the notification that follows.
pub(crate) fn snapshot(connection: &mut Connection, protocol: u8) -> Result<Snapshot, KernelError> {
    let (links, loopbacks) = links(connection)?;
    let all = nexthops(connection)?;
    let nexthops: BTreeMap<NexthopId, Nexthop> = all
        .iter()
        .filter(|(id, _)| NEXTHOP_IDS.contains(id))
        .map(|(id, message)| (*id, ours(message, protocol)))
        .collect();
    let mut snapshot = Snapshot { links, nexthops, ..Snapshot::default() };
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for message in routes(connection, family)? {
            let Some(prefix) = prefix_of(&message) else { continue };
            if u8::from(message.header.protocol) == protocol {
                let metric = metric_of(&message);
                snapshot.routes.insert(RouteKey { prefix, metric }, via_of(&message));
            } else {
                snapshot.underlay.extend(underlay(prefix, &message, &all));
            }
        }
    }
    let links = &snapshot.links;
    snapshot.underlay.retain(|route| {
        !loopbacks.contains(&route.interface)
            && links.get(&route.interface).is_some_and(Link::is_usable)
    });
    snapshot.underlay.sort();
    snapshot.underlay.dedup();
    Ok(snapshot)
}

type Links = (BTreeMap<IfIndex, Link>, BTreeSet<IfIndex>);

/// The links, and which of them are loopbacks. Parsed by hand: two fields of a message of which
/// drivers fill the rest with what no parser knows in full.
fn links(connection: &mut Connection) -> Result<Links, KernelError> {
    let request = Request { kind: RTM_GETLINK, flags: 0, payload: vec![0; LINK_HEADER_LEN] };
    connection.dump("links", &request, Links::default, |(links, loopbacks), payload| {
        let Some((header, rest)) = payload.split_first_chunk::<LINK_HEADER_LEN>() else { return };
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (index, flags) = (IfIndex(word(4)), word(8));
        let name = NlasIterator::new(rest)
            .filter_map(Result::ok)
            .find(|nla| nla.kind() == IFLA_IFNAME)
            .map(|nla| String::from_utf8_lossy(nla.value()).trim_end_matches('\0').to_owned());
        let Some(name) = name else { return };
        let link = Link { name, admin_up: flags & IFF_UP != 0, carrier: flags & IFF_LOWER_UP != 0 };
        links.insert(index, link);
        if flags & IFF_LOOPBACK != 0 {
            loopbacks.insert(index);
        }
    })
}

type Nexthops = BTreeMap<NexthopId, NexthopMessage>;

/// Every nexthop of the namespace, also those of others: their routes may lead over them.
fn nexthops(connection: &mut Connection) -> Result<Nexthops, KernelError> {
    let request = build(RTM_GETNEXTHOP, 0, &NexthopMessage::default());
    connection.dump(
        "nexthops",
        &request,
        Nexthops::new,
        |all, payload| match NexthopMessage::parse(payload) {
            Ok(message) => {
                let id = message.attributes.iter().find_map(|attribute| match attribute {
                    NexthopAttribute::Id(id) => Some(NexthopId(*id)),
                    _ => None,
                });
                all.extend(id.map(|id| (id, message)));
            }
            Err(error) => debug!(%error, "nexthop not understood"),
        },
    )
}

fn ours(message: &NexthopMessage, protocol: u8) -> Nexthop {
    if message.header.protocol != protocol {
        return Nexthop::Foreign;
    }
    let mut group = None;
    let mut resilient = false;
    for attribute in &message.attributes {
        match attribute {
            NexthopAttribute::Group(members) => group = Some(members),
            NexthopAttribute::GroupType(kind) => resilient = *kind != 0,
            NexthopAttribute::Blackhole => return Nexthop::Unknown,
            _ => {}
        }
    }
    let Some(members) = group else {
        return neighbour(message).map_or(Nexthop::Unknown, Nexthop::Via);
    };
    let plain = |weight: u8, id: u32| weight == 0 && NEXTHOP_IDS.contains(&NexthopId(id));
    if resilient || !members.iter().all(|member| plain(member.weight, member.id)) {
        return Nexthop::Unknown;
    }
    Nexthop::Group(members.iter().map(|member| NexthopId(member.id)).collect())
}

fn neighbour(message: &NexthopMessage) -> Option<NextHop> {
    let (mut address, mut interface) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NexthopAttribute::Gateway(gateway) => address = Some(*gateway),
            NexthopAttribute::Interface(index) => interface = Some(IfIndex(*index)),
            _ => {}
        }
    }
    Some(NextHop { address: address?, interface: interface? })
}

fn routes(
    connection: &mut Connection,
    family: AddressFamily,
) -> Result<Vec<RouteMessage>, KernelError> {
    let mut filter = RouteMessage::default();
    filter.header.address_family = family;
    // With strict checking the kernel lists this table only.
    filter.header.table = RouteHeader::RT_TABLE_MAIN;
    let request = build(RTM_GETROUTE, 0, &filter);
    connection.dump("routes", &request, Vec::new, |all, payload| {
        match RouteMessage::parse(payload) {
            Ok(message) if is_of_main_table(&message) => all.push(message),
            Ok(_) => {}
            Err(error) => debug!(%error, "route not understood"),
        }
    })
}

fn is_of_main_table(message: &RouteMessage) -> bool {
    let wide = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let table = wide.unwrap_or(u32::from(message.header.table));
    table == u32::from(RouteHeader::RT_TABLE_MAIN)
        && !message.header.flags.contains(RouteFlags::Cloned)
}

fn prefix_of(message: &RouteMessage) -> Option<Prefix> {
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => address_of(address),
        _ => None,
    });
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let address = destination.unwrap_or(unspecified);
    Prefix::new(address, message.header.destination_prefix_length).ok()
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn metric_of(message: &RouteMessage) -> u32 {
    let metric = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    metric.unwrap_or(0)
}

fn via_of(message: &RouteMessage) -> Via {
    let (mut nexthop, mut interface, mut other) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::NhId(id) => nexthop = Some(NexthopId(*id)),
            RouteAttribute::Oif(index) => interface = Some(IfIndex(*index)),
            RouteAttribute::Gateway(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::MultiPath(_)
            | RouteAttribute::Encap(_)
            | RouteAttribute::PrefSource(_)
            | RouteAttribute::Metrics(_) => other = true,
            _ => {}
        }
    }
    match message.header.kind {
        RouteType::BlackHole => Via::Blackhole,
        // Beside the id the kernel may tell what it leads to (nexthop_compat_mode).
        RouteType::Unicast => match (nexthop, interface, other) {
            (Some(id), _, _) => Via::Nexthop(id),
            (None, Some(interface), false) => Via::Interface(interface),
            (None, _, _) => Via::Unknown,
        },
        _ => Via::Unknown,
    }
}

/// What next hops of BGP may be resolved over: one entry for each path of a route.
fn underlay(prefix: Prefix, message: &RouteMessage, nexthops: &Nexthops) -> Vec<UnderlayRoute> {
    let link_flags = RouteFlags::Dead | RouteFlags::Linkdown;
    if message.header.kind != RouteType::Unicast
        || message.header.flags.intersects(link_flags)
        || !is_routable(prefix)
    {
        return Vec::new();
    }
    let metric = metric_of(message);
    let route = |(gateway, interface)| UnderlayRoute { prefix, gateway, interface, metric };
    let (mut nexthop, mut paths) = (None, Vec::new());
    let (mut gateway, mut interface) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::NhId(id) => nexthop = Some(NexthopId(*id)),
            RouteAttribute::Oif(index) => interface = Some(IfIndex(*index)),
            RouteAttribute::Gateway(address) => gateway = address_of(address),
            RouteAttribute::Via(via) => gateway = via_address(via),
            RouteAttribute::MultiPath(hops) => paths.extend(hops.iter().filter_map(path)),
            _ => {}
        }
    }
    if let Some(id) = nexthop {
        paths = paths_over(id, nexthops);
    } else if let Some(interface) = interface {
        paths.push((gateway, interface));
    }
    paths.into_iter().map(route).collect()
}

type Path = (Option<IpAddr>, IfIndex);

fn path(hop: &RouteNextHop) -> Option<Path> {
    if hop.flags.intersects(RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown) {
        return None;
    }
    let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => address_of(address),
        RouteAttribute::Via(via) => via_address(via),
        _ => None,
    });
    Some((gateway, IfIndex(hop.interface_index)))
}

fn via_address(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(address) => Some((*address).into()),
        RouteVia::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// The paths of a nexthop object, or of the members of a group; groups do not nest in Linux.
fn paths_over(id: NexthopId, nexthops: &Nexthops) -> Vec<Path> {
    let Some(message) = nexthops.get(&id) else { return Vec::new() };
    let members = message.attributes.iter().find_map(|attribute| match attribute {
        NexthopAttribute::Group(members) => Some(members),
        _ => None,
    });
    let ids = members.into_iter().flatten().map(|member| NexthopId(member.id));
    ids.chain([id])
        .filter_map(|id| {
            let attributes = &nexthops.get(&id)?.attributes;
            let interface = attributes.iter().find_map(|attribute| match attribute {
                NexthopAttribute::Interface(index) => Some(IfIndex(*index)),
                _ => None,
            })?;
            let gateway = attributes.iter().find_map(|attribute| match attribute {
                NexthopAttribute::Gateway(address) => Some(*address),
                _ => None,
            });
            Some((gateway, interface))
        })
        .collect()
}

/// Link-local and multicast networks are on every link and lead nowhere in particular.
fn is_routable(prefix: Prefix) -> bool {
    match prefix.address() {
        _ if prefix.len() == 0 => true,
        IpAddr::V4(address) => !address.is_link_local() && !address.is_multicast(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_multicast(),
    }
}
