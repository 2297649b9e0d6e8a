//! decode∘encode = id, and nothing a peer can send makes us panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_wire::{
    AddPathFamily, AfiSafi, Aggregator, AsPath, AttributeSet, AttributeType, BgpNextHop,
    Capability, Community, EXTENDED_MESSAGE_LEN, Edit, ExtendedCommunity, Families,
    GracefulRestart, GracefulRestartFamily, HoldTime, LargeCommunity, LongLivedFamily, Message,
    Nlri, Notification, NotificationCode, Number, Open, Origin, PartialBits, PathAttributes,
    PeerKind, Segment, SegmentKind, SessionParameters, UnknownAttribute, encode_announcements,
    encode_withdrawals, split_frame,
};
use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*};
use viaduct_net::{Asn, Prefix, RouterId};

use crate::{decode_all, decode_updates, framed};

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..70_000_u32, 1..=u32::MAX].prop_map(Asn::new)
}

fn segment(kinds: &'static [SegmentKind]) -> impl Strategy<Value = Segment> {
    (prop::sample::select(kinds), vec(asn(), 1..6)).prop_map(|(kind, asns)| Segment { kind, asns })
}

const PLAIN: &[SegmentKind] = &[SegmentKind::Sequence, SegmentKind::Set];
const ALL: &[SegmentKind] =
    &[SegmentKind::Sequence, SegmentKind::Set, SegmentKind::ConfedSequence, SegmentKind::ConfedSet];

fn router_id() -> impl Strategy<Value = RouterId> {
    (1..=u32::MAX).prop_map(|number| RouterId::from_u32(number).unwrap())
}

fn ipv4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn unknown() -> impl Strategy<Value = UnknownAttribute> {
    // Neither a type we know nor one twice: the caller sorts and removes repeats.
    let kind = (33_u8..=255).prop_map(AttributeType);
    let kind = kind.prop_filter("known", |kind| *kind != AttributeType::ONLY_TO_CUSTOMER);
    (kind, vec(any::<u8>(), 0..300))
        .prop_map(|(kind, value)| UnknownAttribute { kind, value: value.into() })
}

prop_compose! {
    fn attributes(internal: bool)(
        origin in prop::sample::select(&[Origin::Igp, Origin::Egp, Origin::Incomplete][..]),
        segments in vec(segment(if internal { ALL } else { PLAIN }), 0..4),
        numbers in (option::of(any::<u32>()), option::of(any::<u32>())),
        atomic_aggregate in any::<bool>(),
        aggregator in option::of((asn(), ipv4())),
        communities in vec(any::<u32>().prop_map(Community), 0..80),
        extended_communities in vec(any::<u64>().prop_map(ExtendedCommunity), 0..5),
        large in vec(any::<(u32, u32, u32)>(), 0..5),
        reflection in (option::of(router_id()), vec(ipv4(), 0..4)),
        only_to_customer in option::of(asn()),
        partial in any::<[bool; 5]>(),
        mut unknown in vec(unknown(), 0..3),
    ) -> PathAttributes {
        unknown.sort_by_key(|one| one.kind);
        unknown.dedup_by_key(|one| one.kind);
        let (med, local_pref) = numbers;
        let (originator_id, cluster_list) = reflection;
        PathAttributes {
            origin,
            as_path: AsPath::new(segments),
            med,
            local_pref: local_pref.filter(|_| internal),
            atomic_aggregate,
            only_to_customer,
            partial: PartialBits {
                aggregator: partial[0] && aggregator.is_some(),
                communities: partial[1] && !communities.is_empty(),
                extended_communities: partial[2] && !extended_communities.is_empty(),
                large_communities: partial[3] && !large.is_empty(),
                only_to_customer: partial[4] && only_to_customer.is_some(),
            },
            aggregator: aggregator.map(|(asn, address)| Aggregator { asn, address }),
            communities,
            extended_communities,
            large_communities: large.into_iter().map(|(a, b, c)| LargeCommunity {
                global_administrator: a,
                local_data_1: b,
                local_data_2: c,
            }).collect(),
            originator_id: originator_id.filter(|_| internal),
            cluster_list: if internal { cluster_list } else { Vec::new() },
            unknown,
        }
    }
}

fn prefix(v6: bool) -> BoxedStrategy<Prefix> {
    if v6 {
        (any::<u128>(), 0..=128_u8)
            .prop_map(|(address, len)| Prefix::new(Ipv6Addr::from(address).into(), len).unwrap())
            .boxed()
    } else {
        (any::<u32>(), 0..=32_u8)
            .prop_map(|(address, len)| Prefix::new(Ipv4Addr::from(address).into(), len).unwrap())
            .boxed()
    }
}

fn next_hop(v6: bool) -> BoxedStrategy<BgpNextHop> {
    if v6 {
        let global = any::<u64>().prop_map(|low| (0x2001_0db8_u128 << 96) | u128::from(low));
        let link_local = any::<u64>().prop_map(|low| (0xfe80_u128 << 112) | u128::from(low));
        (global, option::of(link_local))
            .prop_map(|(global, link_local)| BgpNextHop::V6 {
                global: global.into(),
                link_local: link_local.map(Ipv6Addr::from),
            })
            .boxed()
    } else {
        (0x0100_0000_u32..0x7f00_0000).prop_map(|v4| BgpNextHop::V4(v4.into())).boxed()
    }
}

fn session() -> impl Strategy<Value = SessionParameters> {
    any::<(bool, bool, bool, bool, bool)>().prop_map(
        |(internal, four_octet_as, extended, several, extended_next_hop)| {
            let add_path = if several { Families::BOTH } else { Families::NONE };
            SessionParameters {
                peer_kind: if internal { PeerKind::Internal } else { PeerKind::External },
                four_octet_as,
                receive_extended: extended,
                send_extended: extended,
                families: Families::BOTH,
                add_path_receive: add_path,
                add_path_send: add_path,
                extended_next_hop,
            }
        },
    )
}

fn nlri(v6: bool, with_path_id: bool) -> impl Strategy<Value = Nlri> {
    (prefix(v6), any::<u32>()).prop_map(move |(prefix, path_id)| Nlri {
        prefix,
        path_id: if with_path_id { path_id } else { 0 },
    })
}

fn announcement()
-> impl Strategy<Value = (SessionParameters, PathAttributes, BgpNextHop, Vec<Nlri>)> {
    (session(), any::<(bool, bool)>()).prop_flat_map(|(session, (v6, other))| {
        let internal = session.peer_kind == PeerKind::Internal;
        let v6_hop = v6 || other && session.extended_next_hop;
        let prefixes = vec(nlri(v6, session.add_path_send.v4), 1..500);
        (Just(session), attributes(internal), next_hop(v6_hop), prefixes)
    })
}

fn capability() -> impl Strategy<Value = Capability> {
    let family = || (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| AfiSafi { afi, safi });
    let restart_family = (family(), any::<bool>())
        .prop_map(|(family, forwarding)| GracefulRestartFamily { family, forwarding });
    let restart = (any::<(bool, bool)>(), 0..=0x0fff_u16, vec(restart_family, 0..5)).prop_map(
        |((restart_state, notification), restart_time_secs, families)| GracefulRestart {
            restart_state,
            notification,
            restart_time_secs,
            families,
        },
    );
    let add_path = (family(), 1..=3_u8).prop_map(|(family, way)| AddPathFamily {
        family,
        receive: way & 1 != 0,
        send: way & 2 != 0,
    });
    let long_lived = (family(), any::<bool>(), 0..=LongLivedFamily::MAX_STALE_TIME_SECS).prop_map(
        |(family, forwarding, stale_time_secs)| LongLivedFamily {
            family,
            forwarding,
            stale_time_secs,
        },
    );
    prop_oneof![
        family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        any::<u8>().prop_map(Capability::Role),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        restart.prop_map(Capability::GracefulRestart),
        vec(add_path, 0..5).prop_map(Capability::AddPath),
        vec(long_lived, 0..5).prop_map(Capability::LongLived),
        vec((family(), any::<u16>()), 0..5).prop_map(Capability::ExtendedNextHop),
        (72..=255_u8, vec(any::<u8>(), 0..40))
            .prop_map(|(code, value)| Capability::Unknown { code, value: Bytes::from(value) }),
    ]
}

prop_compose! {
    fn open()(
        asn in asn(),
        hold_time in any::<u16>().prop_filter_map("1 and 2", HoldTime::from_secs),
        router_id in router_id(),
        mut capabilities in vec(capability(), 0..12),
        four_octet in any::<bool>(),
    ) -> Open {
        let four_octet = four_octet || asn.to_u32() > 65535;
        if four_octet {
            capabilities.push(Capability::FourOctetAs(asn));
        }
        Open { asn, hold_time, router_id, capabilities }
    }
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![Just(Number::Keep), Just(Number::Remove), any::<u32>().prop_map(Number::Default)]
}

fn edit() -> impl Strategy<Value = Edit> {
    let reflected = option::of((router_id(), ipv4()));
    let asns = (
        option::of(asn()),
        option::of(asn()),
        option::of(asn()),
        option::of(asn()),
        option::of(asn()),
    );
    (asns, number(), number(), reflected, any::<bool>()).prop_map(
        |(
            (prepend, confederate, behind, overridden, only_to_customer),
            med,
            local_pref,
            reflected,
            leaves_as,
        )| Edit {
            prepend,
            confederate: confederate.filter(|_| prepend.is_none()),
            behind: behind.filter(|_| prepend.is_some()),
            overridden: overridden.filter(|_| prepend.is_some()),
            only_to_customer,
            med,
            local_pref,
            // A path that leaves the AS is not reflected.
            reflected: reflected.filter(|_| !leaves_as),
            leaves_as,
        },
    )
}

fn edited_values(mut values: PathAttributes, edit: &Edit) -> PathAttributes {
    let number = |old: Option<u32>, number| match number {
        Number::Keep => old,
        Number::Remove => None,
        Number::Default(value) => old.or(Some(value)),
    };
    if let (Some(theirs), Some(ours)) = (edit.overridden, edit.prepend) {
        let replaced = |segment: &Segment| Segment {
            asns: segment.asns.iter().map(|asn| if *asn == theirs { ours } else { *asn }).collect(),
            ..segment.clone()
        };
        values.as_path = AsPath::new(values.as_path.segments().iter().map(replaced));
    }
    for asn in edit.behind.into_iter().chain(edit.prepend) {
        values.as_path = values.as_path.prepended(asn, 1);
    }
    if let Some(asn) = edit.confederate {
        values.as_path = values.as_path.confederated(asn);
    }
    values.only_to_customer = values.only_to_customer.or(edit.only_to_customer);
    values.med = number(values.med, edit.med);
    values.local_pref = number(values.local_pref, edit.local_pref);
    if let Some((originator, cluster)) = edit.reflected {
        values.originator_id.get_or_insert(originator);
        values.cluster_list.insert(0, cluster);
    }
    if edit.leaves_as {
        values.originator_id = None;
        values.cluster_list.clear();
        values.extended_communities.retain(|one| !one.is_non_transitive());
        values.partial.extended_communities &= !values.extended_communities.is_empty();
    }
    values
}

/// A valid UPDATE to be damaged.
fn valid_update() -> impl Strategy<Value = (SessionParameters, Vec<u8>)> {
    announcement().prop_map(|(session, attributes, next_hop, prefixes)| {
        let mut out = BytesMut::new();
        let prefixes = &prefixes[..prefixes.len().min(10)];
        encode_announcements(&session, &(&attributes).into(), next_hop, prefixes, &mut out)
            .unwrap();
        (session, out.to_vec())
    })
}

/// Reads whatever there is, as a session would.
fn read(octets: &[u8], session: &SessionParameters) {
    let mut buffer = BytesMut::from(octets);
    while let Ok(Some(frame)) = split_frame(&mut buffer, EXTENDED_MESSAGE_LEN) {
        match Message::decode(&frame, session) {
            Ok(Message::Notification(notification)) => {
                let _words = notification.to_string();
            }
            Ok(Message::Update(update)) => {
                // What we have understood we can tell.
                for announced in &update.announced {
                    let mut out = BytesMut::new();
                    let _too_long = encode_announcements(
                        session,
                        &update.attributes,
                        announced.next_hop,
                        &announced.prefixes,
                        &mut out,
                    );
                }
            }
            Ok(_) => {}
            Err(refused) => {
                let mut out = BytesMut::new();
                refused.encode(&mut out);
                assert!(out.len() <= 4096);
            }
        }
    }
}

proptest! {
    #[test]
    fn announcements_survive((session, attributes, next_hop, prefixes) in announcement()) {
        let mut out = BytesMut::new();
        let count =
            encode_announcements(&session, &(&attributes).into(), next_hop, &prefixes, &mut out).unwrap();
        let updates = decode_updates(&out, &session);
        prop_assert_eq!(updates.len(), count);
        let mut seen = Vec::new();
        for update in updates {
            prop_assert_eq!(&update.malformed, &[]);
            prop_assert!(update.withdrawn.is_empty());
            // What a two-octet peer gets is the same once it has been put together again; only
            // neighbouring sequences may have been joined, which is the same path.
            if session.four_octet_as {
                prop_assert_eq!(&update.attributes, &attributes);
            } else {
                let told = update.attributes.open();
                prop_assert_eq!(told.as_path.route_len(), attributes.as_path.route_len());
                let rest = PathAttributes { as_path: attributes.as_path.clone(), ..told };
                prop_assert_eq!(&rest, &attributes);
            }
            for announced in update.announced {
                prop_assert_eq!(announced.next_hop, next_hop);
                seen.extend(announced.prefixes);
            }
        }
        prop_assert_eq!(seen, prefixes);
    }

    #[test]
    fn a_set_says_what_its_values_say(attributes in attributes(true)) {
        let set = AttributeSet::from(&attributes);
        prop_assert_eq!(&set.open(), &attributes);
        prop_assert_eq!(&AttributeSet::from(set.open()), &set);
        let facts = set.facts();
        prop_assert_eq!(facts.origin(), attributes.origin);
        prop_assert_eq!(facts.med(), attributes.med);
        prop_assert_eq!(facts.local_pref(), attributes.local_pref);
        prop_assert_eq!(facts.originator_id(), attributes.originator_id);
        prop_assert_eq!(facts.neighbor_as(), attributes.as_path.neighbor_as());
        prop_assert_eq!(facts.as_path_len() as usize, attributes.as_path.route_len());
        prop_assert_eq!(facts.cluster_list_len() as usize, attributes.cluster_list.len());
        prop_assert_eq!(facts.has_confederation(), attributes.as_path.has_confederation());
        prop_assert_eq!(set.only_to_customer(), attributes.only_to_customer);
        prop_assert_eq!(facts.is_no_export(), attributes.has_community(Community::NO_EXPORT));
        prop_assert_eq!(facts.is_no_advertise(), attributes.has_community(Community::NO_ADVERTISE));
        for asn in attributes.as_path.segments().iter().flat_map(|one| &one.asns) {
            prop_assert!(set.path_contains(*asn) && set.path_count(*asn) > 0);
        }
        for cluster in &attributes.cluster_list {
            prop_assert!(set.has_cluster(*cluster));
        }
    }

    #[test]
    fn an_edit_does_to_octets_what_it_does_to_values(
        attributes in attributes(true),
        mut edit in edit(),
        of_path in any::<bool>(),
    ) {
        // One that is there is seldom met by chance.
        let first = attributes.as_path.segments().first().map(|segment| segment.asns[0]);
        edit.overridden = edit.overridden.and(first.filter(|_| of_path).or(edit.overridden));
        let edited = edit.apply(&AttributeSet::from(&attributes));
        prop_assert_eq!(&edited.open(), &edited_values(attributes, &edit));
        // In the canonical order and form, or equal sets would not be equal.
        prop_assert_eq!(&AttributeSet::from(edited.open()), &edited);
    }

    #[test]
    fn paths_survive_a_two_octet_peer(segments in vec(segment(PLAIN), 0..5)) {
        let session = SessionParameters {
            peer_kind: PeerKind::External,
            four_octet_as: false,
            receive_extended: false,
            send_extended: false,
            families: Families::BOTH,
            ..SessionParameters::before_open(PeerKind::External)
        };
        let attributes =
            PathAttributes { as_path: AsPath::new(segments), ..PathAttributes::default() };
        let next_hop = BgpNextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        let mut out = BytesMut::new();
        let prefixes = [Prefix::host(IpAddr::from([10, 0, 0, 1])).into()];
        encode_announcements(&session, &(&attributes).into(), next_hop, &prefixes, &mut out).unwrap();
        let updates = decode_updates(&out, &session);
        prop_assert_eq!(&updates[0].attributes.open().as_path, &attributes.as_path);
    }

    #[test]
    fn withdrawals_survive(
        (session, v4, v6) in session().prop_flat_map(|session| {
            let ids = session.add_path_send.v4;
            (Just(session), vec(nlri(false, ids), 0..2000), vec(nlri(true, ids), 0..600))
        })
    ) {
        let all = [v4, v6].concat();
        let mut out = BytesMut::new();
        let count = encode_withdrawals(&session, &all, &mut out);
        let updates = decode_updates(&out, &session);
        prop_assert_eq!(updates.len(), count);
        let seen: Vec<_> = updates.into_iter().flat_map(|update| update.withdrawn).collect();
        prop_assert_eq!(seen, all);
    }

    #[test]
    fn opens_survive(open in open()) {
        let mut out = BytesMut::new();
        open.encode(&mut out);
        let session = SessionParameters::before_open(PeerKind::External);
        prop_assert_eq!(decode_all(&out, &session), Ok(vec![Message::Open(open)]));
    }

    #[test]
    fn notifications_survive(code in any::<u8>(), subcode in any::<u8>(), data in vec(any::<u8>(), 0..4075)) {
        let code = NotificationCode::from_octets(code, subcode);
        let notification = Notification::with_data(code, &data);
        let mut out = BytesMut::new();
        notification.encode(&mut out);
        let session = SessionParameters::before_open(PeerKind::External);
        prop_assert_eq!(decode_all(&out, &session), Ok(vec![Message::Notification(notification)]));
    }

    #[test]
    fn prepending_is_what_it_says(segments in vec(segment(ALL), 0..4), one in asn(), count in 1..600_usize) {
        let path = AsPath::new(segments);
        let longer = path.prepended(one, count);
        prop_assert_eq!(longer.route_len(), path.route_len() + count);
        prop_assert_eq!(longer.neighbor_as(), Some(one));
        prop_assert!(!longer.has_confederation());
    }

    #[test]
    fn chance_never_panics(session in session(), octets in vec(any::<u8>(), 0..200)) {
        read(&octets, &session);
    }

    #[test]
    fn chance_in_a_frame_never_panics(session in session(), kind in 1..=5_u8, body in vec(any::<u8>(), 0..300)) {
        read(&framed(kind, &body), &session);
    }

    #[test]
    fn damage_never_panics(
        (session, mut octets) in valid_update(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (at, octet) in damage {
            let at = 19 + at.index(octets.len() - 19);
            octets[at] = octet;
        }
        read(&octets, &session);
    }

    #[test]
    fn truncation_never_panics((session, octets) in valid_update(), cut in any::<prop::sample::Index>()) {
        let body = &octets[19..];
        read(&framed(2, &body[..cut.index(body.len())]), &session);
    }
}
