//! Messages that a peer may say, good ones above all: what is bad the fuzzer makes of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use bgp_wire::{
    AddPathFamily, AfiSafi, AsPath, Capability, Community, Families, GracefulRestart,
    GracefulRestartFamily, HoldTime, LongLivedFamily, Message, Nlri, Open, PathAttributes,
    RouteRefresh, Segment, SegmentKind,
};
use bytes::BytesMut;
use viaduct_net::{Asn, Family, Prefix, RouterId};

use super::peers::{MARK, PeerPlan};
use crate::input::Input;

pub(super) fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut whole = vec![0xff; 16];
    whole.extend((body.len() as u16 + 19).to_be_bytes());
    whole.push(kind);
    whole.extend(body);
    whole
}

pub(super) fn keepalive() -> Vec<u8> {
    let mut whole = BytesMut::new();
    Message::encode_keepalive(&mut whole);
    whole.to_vec()
}

/// The OPEN of the peer, with the capabilities that the bits name.
pub(super) fn open(peer: PeerPlan, bits: u8, input: &mut Input<'_>) -> Vec<u8> {
    let is_set = |bit: u8| bits & 1 << bit != 0;
    let mut capabilities = Vec::new();
    if !is_set(0) {
        capabilities.push(Capability::Multiprotocol(AfiSafi::IPV4_UNICAST));
    }
    if !is_set(1) {
        capabilities.push(Capability::Multiprotocol(AfiSafi::IPV6_UNICAST));
    }
    if !is_set(2) {
        capabilities.push(Capability::FourOctetAs(peer.asn));
    }
    if is_set(3) {
        capabilities.push(Capability::ExtendedMessage);
    }
    if is_set(4) {
        capabilities.extend([Capability::RouteRefresh, Capability::EnhancedRouteRefresh]);
    }
    if is_set(5) {
        let forwarding = is_set(6);
        capabilities.push(Capability::GracefulRestart(GracefulRestart {
            restart_state: is_set(7),
            notification: input.below(2) == 0,
            restart_time_secs: u16::from(input.octet()),
            families: [AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST]
                .map(|family| GracefulRestartFamily { family, forwarding })
                .to_vec(),
        }));
    }
    said(peer, capabilities, input)
}

fn said(peer: PeerPlan, capabilities: Vec<Capability>, input: &mut Input<'_>) -> Vec<u8> {
    let hold_time = HoldTime::from_secs(3 * u16::from(input.octet() % 40)).unwrap();
    let router_id = RouterId::from_u32(peer.router_id).unwrap();
    let mut whole = BytesMut::new();
    Open { asn: peer.asn, hold_time, router_id, capabilities }.encode(&mut whole);
    whole.to_vec()
}

/// The OPEN of a peer that knows much: several paths, a role, long memories and IPv6 next hops as the bits
/// say, and all else.
pub(super) fn rich_open(peer: PeerPlan, bits: u8, input: &mut Input<'_>) -> Vec<u8> {
    let is_set = |bit: u8| bits & 1 << bit != 0;
    let both = [AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    let mut capabilities: Vec<_> = both.map(Capability::Multiprotocol).into();
    capabilities.extend([
        Capability::FourOctetAs(peer.asn),
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
    ]);
    let forwarding = is_set(0);
    capabilities.push(Capability::GracefulRestart(GracefulRestart {
        restart_state: is_set(1),
        notification: is_set(2),
        restart_time_secs: u16::from(input.octet()),
        families: both.map(|family| GracefulRestartFamily { family, forwarding }).to_vec(),
    }));
    if is_set(3) {
        let stale_time_secs = u32::from(input.octet());
        let family = |family| LongLivedFamily { family, forwarding, stale_time_secs };
        capabilities.push(Capability::LongLived(both.map(family).to_vec()));
    }
    if is_set(4) {
        let (receive, send) = (is_set(5), is_set(6));
        let family = |family| AddPathFamily { family, receive, send };
        capabilities.push(Capability::AddPath(both.map(family).to_vec()));
    }
    if is_set(7) {
        capabilities.push(Capability::Role(input.octet() % 6));
        capabilities.push(Capability::ExtendedNextHop(vec![(AfiSafi::IPV4_UNICAST, 2)]));
    }
    said(peer, capabilities, input)
}

/// Some of both families, inside each other and beside.
pub(super) fn prefix(which: u8) -> Prefix {
    let high = which % 64 / 2;
    if which.is_multiple_of(2) {
        let len = [8, 16, 24, 32][usize::from(which / 64)];
        Prefix::new(Ipv4Addr::new(10, high, 0, 0).into(), len).unwrap()
    } else {
        let len = [16, 48, 64, 128][usize::from(which / 64)];
        Prefix::new(Ipv6Addr::new(0xfd00, high.into(), 0, 0, 0, 0, 0, 0).into(), len).unwrap()
    }
}

pub(super) fn announcement(peer: PeerPlan, input: &mut Input<'_>) -> Vec<u8> {
    let prefix = prefix(input.octet());
    let bits = input.octet();
    let mut asns = vec![peer.asn; usize::from(!peer.internal)];
    asns.extend((0..bits % 4).map(|i| Asn::new(65100 + u32::from(i))));
    let attributes = PathAttributes {
        as_path: AsPath::sequence(asns),
        med: (bits & 4 != 0).then(|| u32::from(input.octet())),
        local_pref: (peer.internal && bits & 8 != 0).then(|| u32::from(input.octet())),
        originator_id: (peer.internal && bits & 16 != 0)
            .then(|| RouterId::from_u32(0xc000_0200 + u32::from(input.octet())))
            .flatten(),
        cluster_list: if peer.internal && bits & 32 != 0 {
            vec![Ipv4Addr::new(192, 0, 2, input.octet())]
        } else {
            Vec::new()
        },
        ..PathAttributes::default()
    };
    announce(peer, prefix.into(), &attributes, false, input)
}

/// An announcement with what policy and peers look at: communities, the way through members of a
/// confederation, an AS that it goes to customers of, and a path identifier where the bits say so.
pub(super) fn rich_announcement(peer: PeerPlan, input: &mut Input<'_>) -> Vec<u8> {
    const WORDS: [Community; 8] = [
        MARK,
        Community::NO_EXPORT,
        Community::NO_ADVERTISE,
        Community::NO_EXPORT_SUBCONFED,
        Community::LLGR_STALE,
        Community::NO_LLGR,
        Community::BLACKHOLE,
        Community::GRACEFUL_SHUTDOWN,
    ];
    let prefix = prefix(input.octet());
    let (bits, words) = (input.octet(), input.octet());
    let is_set = |bit: u8| bits & 1 << bit != 0;
    let mut segments = Vec::new();
    if is_set(0) {
        let asns = vec![peer.asn];
        segments.push(Segment { kind: SegmentKind::ConfedSequence, asns });
    } else if !peer.internal {
        segments.push(Segment { kind: SegmentKind::Sequence, asns: vec![peer.asn] });
    }
    if is_set(1) {
        let asns = vec![Asn::new(64512), Asn::new(65100)];
        let kind = if is_set(2) { SegmentKind::Set } else { SegmentKind::Sequence };
        segments.push(Segment { kind, asns });
    }
    let attributes = PathAttributes {
        as_path: AsPath::new(segments),
        local_pref: is_set(3).then_some(100),
        communities: (0..8).filter(|bit| words & 1 << bit != 0).map(|bit| WORDS[bit]).collect(),
        only_to_customer: is_set(4).then_some(if is_set(5) { peer.asn } else { Asn::new(65100) }),
        ..PathAttributes::default()
    };
    let path_id = if is_set(6) { u32::from(input.octet() % 4) } else { 0 };
    announce(peer, Nlri { prefix, path_id }, &attributes, is_set(6), input)
}

fn announce(
    peer: PeerPlan,
    nlri: Nlri,
    attributes: &PathAttributes,
    has_path_id: bool,
    input: &mut Input<'_>,
) -> Vec<u8> {
    let mut session = crate::input::session(u8::from(peer.internal));
    session.add_path_send = if has_path_id { Families::BOTH } else { Families::NONE };
    let low = input.octet();
    let next_hop = match nlri.prefix.family() {
        Family::V4 => std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, low)),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low.into()).into(),
    };
    let mut whole = BytesMut::new();
    let attributes = attributes.into();
    // What cannot be told is not told.
    let _ =
        bgp_wire::encode_announcements(&session, &attributes, next_hop.into(), &[nlri], &mut whole);
    whole.to_vec()
}

/// Of one path among several for a prefix.
pub(super) fn rich_withdrawal(input: &mut Input<'_>) -> Vec<u8> {
    let nlri = Nlri { prefix: prefix(input.octet()), path_id: u32::from(input.octet() % 4) };
    let mut session = crate::input::session(0);
    session.add_path_send = Families::BOTH;
    let mut whole = BytesMut::new();
    bgp_wire::encode_withdrawals(&session, &[nlri], &mut whole);
    whole.to_vec()
}

/// Of one prefix, or End-of-RIB.
pub(super) fn withdrawal(input: &mut Input<'_>) -> Vec<u8> {
    let which = input.octet();
    let mut whole = BytesMut::new();
    match which {
        254 => bgp_wire::encode_end_of_rib(Family::V4, &mut whole),
        255 => bgp_wire::encode_end_of_rib(Family::V6, &mut whole),
        _ => {
            let session = crate::input::session(0);
            bgp_wire::encode_withdrawals(&session, &[prefix(which).into()], &mut whole);
        }
    }
    whole.to_vec()
}

pub(super) fn refresh(input: &mut Input<'_>) -> Vec<u8> {
    let bits = input.octet();
    let family = if bits & 1 == 0 { Family::V4 } else { Family::V6 };
    let refresh = match bits / 2 % 3 {
        0 => RouteRefresh::request(family),
        1 => RouteRefresh::begin(family),
        _ => RouteRefresh::end(family),
    };
    let mut whole = BytesMut::new();
    refresh.encode(&mut whole);
    whole.to_vec()
}
