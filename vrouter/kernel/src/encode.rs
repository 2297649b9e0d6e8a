//! Operations as netlink requests.

use std::net::IpAddr;

use netlink_packet_core::Emitable;
use netlink_packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType},
};
use viaduct_net::NextHop;
use vrouter_plan::{NexthopId, Operation, RouteKey, Via};

use crate::{
    connection::{NLM_F_CREATE, NLM_F_REPLACE, Request},
    nexthop::{
        NexthopAttribute, NexthopHeader, NexthopMember, NexthopMessage, RTM_DELNEXTHOP,
        RTM_NEWNEXTHOP,
    },
};

pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

pub(crate) fn request(operation: &Operation, protocol: u8) -> Request {
    let put = NLM_F_CREATE | NLM_F_REPLACE;
    match operation {
        Operation::PutNexthop { id, next_hop } => {
            build(RTM_NEWNEXTHOP, put, &neighbour(*id, *next_hop, protocol))
        }
        Operation::PutGroup { id, members } => {
            build(RTM_NEWNEXTHOP, put, &group(*id, members, protocol))
        }
        Operation::DeleteNexthop { id } => delete_nexthop(*id),
        Operation::PutRoute { key, via } => build(RTM_NEWROUTE, put, &route(*key, *via, protocol)),
        Operation::DeleteRoute { key } => build(RTM_DELROUTE, 0, &any_route(*key, protocol)),
    }
}

pub(crate) fn build(kind: u16, flags: u16, message: &impl Emitable) -> Request {
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    Request { kind, flags, payload }
}

pub(crate) fn delete_nexthop(id: NexthopId) -> Request {
    let message = NexthopMessage {
        header: NexthopHeader::default(),
        attributes: vec![NexthopAttribute::Id(id.0)],
    };
    build(RTM_DELNEXTHOP, 0, &message)
}

fn neighbour(id: NexthopId, next_hop: NextHop, protocol: u8) -> NexthopMessage {
    let family = match next_hop.address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    };
    NexthopMessage {
        header: NexthopHeader { family, protocol, ..NexthopHeader::default() },
        attributes: vec![
            NexthopAttribute::Id(id.0),
            NexthopAttribute::Gateway(next_hop.address),
            NexthopAttribute::Interface(next_hop.interface.0),
        ],
    }
}

fn group<'a>(
    id: NexthopId,
    members: impl IntoIterator<Item = &'a NexthopId>,
    protocol: u8,
) -> NexthopMessage {
    let members = members.into_iter().map(|id| NexthopMember { id: id.0, weight: 0 }).collect();
    NexthopMessage {
        header: NexthopHeader { protocol, ..NexthopHeader::default() },
        attributes: vec![NexthopAttribute::Id(id.0), NexthopAttribute::Group(members)],
    }
}

fn route(key: RouteKey, via: Via, protocol: u8) -> RouteMessage {
    let mut message = any_route(key, protocol);
    let (kind, scope) = match via {
        Via::Nexthop(id) => {
            message.attributes.push(RouteAttribute::NhId(id.0));
            (RouteType::Unicast, RouteScope::Universe)
        }
        Via::Interface(interface) => {
            message.attributes.push(RouteAttribute::Oif(interface.0));
            // IPv6 knows no scopes of routes and takes any.
            (RouteType::Unicast, RouteScope::Link)
        }
        // What we do not know we do not make; a blackhole is what does the least harm.
        Via::Blackhole | Via::Unknown => (RouteType::BlackHole, RouteScope::Universe),
    };
    message.header.kind = kind;
    message.header.scope = scope;
    message
}

/// Names the route of a key whatever its type, for deletion.
fn any_route(key: RouteKey, protocol: u8) -> RouteMessage {
    let address = key.prefix.address();
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        },
        destination_prefix_length: key.prefix.len(),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: protocol.into(),
        scope: RouteScope::NoWhere,
        kind: RouteType::Unspec,
        ..RouteHeader::default()
    };
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
    message.attributes.push(RouteAttribute::Priority(key.metric));
    message
}
