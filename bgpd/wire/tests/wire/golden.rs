//! Whole messages, written by hand from the layouts of the RFCs.

use std::time::Duration;

use bgp_wire::{
    AddPathFamily, AfiSafi, Aggregator, AsPath, AttributeSet, BgpNextHop, Capability, Community,
    ExtendedCommunity, Families, GracefulRestart, GracefulRestartFamily, HoldTime, LargeCommunity,
    Message, Nlri, NotificationCode, Open, Origin, PathAttributes, PeerKind, RouteRefresh,
    RouteRefreshSubtype, Segment, SegmentKind, SessionParameters, encode_announcements,
    encode_end_of_rib, encode_withdrawals,
};
use bytes::{Bytes, BytesMut};
use viaduct_net::{Asn, Family, Prefix};

use crate::{decode_all, decode_updates, hex, session};

const OPEN: &str = "
    ffffffffffffffffffffffffffffffff 0049 01  # RFC 4271 4.1: marker, length, type
    04 5ba0 005a c0000201                     # version, AS_TRANS, 90 s, 192.0.2.1
    2c 02 2a                                  # RFC 5492: one parameter, capabilities
    01 04 0001 00 01                          # RFC 4760: IPv4 unicast
    01 04 0002 00 01                          # IPv6 unicast
    02 00                                     # RFC 2918: route refresh
    06 00                                     # RFC 8654: extended messages
    41 04 00010000                            # RFC 6793: AS 65536
    40 0a c078 0001 01 80 0002 01 00          # RFC 4724: R, N, 120 s, IPv4 with F, IPv6
    49 06 04 6e6f6465 00                      # one we do not know, kept as it is
";

fn open() -> Open {
    let restart = GracefulRestart {
        restart_state: true,
        notification: true,
        restart_time_secs: 120,
        families: vec![
            GracefulRestartFamily { family: AfiSafi::IPV4_UNICAST, forwarding: true },
            GracefulRestartFamily { family: AfiSafi::IPV6_UNICAST, forwarding: false },
        ],
    };
    Open {
        asn: Asn::new(65536),
        hold_time: HoldTime::from_secs(90).unwrap(),
        router_id: "192.0.2.1".parse().unwrap(),
        capabilities: vec![
            Capability::Multiprotocol(AfiSafi::IPV4_UNICAST),
            Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
            Capability::RouteRefresh,
            Capability::ExtendedMessage,
            Capability::FourOctetAs(Asn::new(65536)),
            Capability::GracefulRestart(restart),
            Capability::Unknown { code: 73, value: Bytes::from_static(b"\x04node\0") },
        ],
    }
}

fn before_open() -> SessionParameters {
    SessionParameters::before_open(PeerKind::External)
}

#[test]
fn an_open_with_every_capability() {
    let mut out = BytesMut::new();
    open().encode(&mut out);
    assert_eq!(out[..], hex(OPEN));
    assert_eq!(decode_all(&hex(OPEN), &before_open()), Ok(vec![Message::Open(open())]));
}

#[test]
fn what_two_opens_agree_on() {
    let ours = open();
    let theirs = Open {
        asn: Asn::new(64512),
        capabilities: vec![
            Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
            Capability::FourOctetAs(Asn::new(64512)),
        ],
        ..open()
    };
    let agreed = SessionParameters::negotiate(&ours, &theirs);
    assert_eq!(agreed.peer_kind, PeerKind::External);
    assert!(agreed.four_octet_as && agreed.receive_extended && !agreed.send_extended);
    assert_eq!((agreed.receive_limit(), agreed.send_limit()), (65535, 4096));
    assert_eq!(agreed.families.iter().collect::<Vec<_>>(), [Family::V6]);

    let bare = Open { capabilities: Vec::new(), ..theirs };
    let agreed = SessionParameters::negotiate(&ours, &bare);
    assert_eq!(agreed.families.iter().collect::<Vec<_>>(), [Family::V4]);
    assert!(!agreed.four_octet_as);
}

#[test]
fn an_open_with_extended_parameters() {
    // RFC 9072 2: types 255, lengths of two octets; here around a single capability.
    let octets = hex("
        ffffffffffffffffffffffffffffffff 0027 01
        04 fde8 0000 c0000201
        ff ff 0007 02 0004 41 04 0001    # half a capability
    ");
    assert!(decode_all(&octets[..], &before_open()).is_err(), "the capability is cut short");
    let octets = hex("
        ffffffffffffffffffffffffffffffff 0029 01
        04 fde8 0000 c0000201
        ff ff 0009 02 0006 41 04 00010000
    ");
    let messages = decode_all(&octets, &before_open()).unwrap();
    let [Message::Open(open)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(open.capabilities, [Capability::FourOctetAs(Asn::new(65536))]);
    assert_eq!((open.asn, open.hold_time), (Asn::new(65536), HoldTime::INFINITE));
}

#[test]
fn an_open_outgrows_short_parameters() {
    for count in 0..60 {
        let unknown = |code| Capability::Unknown { code, value: Bytes::from(vec![code; 50]) };
        let sent = Open { capabilities: (100..100 + count).map(unknown).collect(), ..open() };
        let mut out = BytesMut::new();
        sent.encode(&mut out);
        let expected = Open { asn: Asn::TRANS, ..sent };
        assert_eq!(decode_all(&out, &before_open()), Ok(vec![Message::Open(expected)]), "{count}");
    }
}

#[test]
fn wrong_opens_are_refused_with_their_codes() {
    use NotificationCode as Code;
    let head = "ffffffffffffffffffffffffffffffff";
    for (rest, code, data) in [
        ("001d 01 03 fde8 005a c0000201 00", Code::UnsupportedVersionNumber, "0004"),
        ("001d 01 04 0000 005a c0000201 00", Code::BadPeerAs, ""),
        ("001d 01 04 fde8 0002 c0000201 00", Code::UnacceptableHoldTime, ""),
        ("001d 01 04 fde8 005a 00000000 00", Code::BadBgpIdentifier, ""),
        ("001f 01 04 fde8 005a c0000201 02 0100", Code::UnsupportedOptionalParameter, ""),
        ("001f 01 04 fde8 005a c0000201 03 0200", Code::OpenMessageError, ""),
        ("0021 01 04 fde8 005a c0000201 04 0202 4104", Code::OpenMessageError, "4104"),
        ("0025 01 04 fde8 005a c0000201 08 0206 4104 00000000", Code::BadPeerAs, ""),
    ] {
        let refused = decode_all(&hex(&format!("{head}{rest}")), &before_open()).unwrap_err();
        assert_eq!((refused.code, refused.data.to_vec()), (code, hex(data)), "{rest}");
    }
}

#[test]
fn hold_times() {
    let secs = |secs| HoldTime::from_secs(secs).unwrap();
    assert!(HoldTime::from_secs(1).is_none() && HoldTime::from_secs(2).is_none());
    assert_eq!(secs(90).negotiate(secs(3)), secs(3));
    assert_eq!(secs(90).negotiate(secs(0)).duration(), None);
    assert_eq!(secs(3).duration(), Some(Duration::from_secs(3)));
}

const UPDATE_V4: &str = "
    ffffffffffffffffffffffffffffffff 0094 02
    0005 18 cb0071 00                          # withdrawn: 203.0.113.0/24, 0.0.0.0/0
    0071
    40 01 01 00                                # ORIGIN IGP
    40 02 14 02 02 0000fde9 0000fdea 01 02 0000fdeb 00010000   # 65001 65002 {65003,65536}
    40 03 04 c0000201                          # NEXT_HOP 192.0.2.1
    80 04 04 00000064                          # MED 100
    40 05 04 000000c8                          # LOCAL_PREF 200
    40 06 00                                   # ATOMIC_AGGREGATE
    c0 07 08 00010000 c6336401                 # AGGREGATOR 65536 198.51.100.1
    c0 08 08 ffffff01 fde80064                 # NO_EXPORT 65000:100
    80 09 04 c0000205                          # ORIGINATOR_ID 192.0.2.5
    80 0a 04 c0000209                          # CLUSTER_LIST 192.0.2.9
    c0 10 08 0002fde8 00000001                 # extended: route target 65000:1
    c0 20 0c 0000fde8 00000001 00000002        # large: 65000:1:2
    08 0a 19 c6336480                          # NLRI: 10.0.0.0/8, 198.51.100.128/25
";

fn attributes() -> PathAttributes {
    let asns = |numbers: &[u32]| numbers.iter().copied().map(Asn::new).collect();
    PathAttributes {
        origin: Origin::Igp,
        as_path: AsPath::new([
            Segment { kind: SegmentKind::Sequence, asns: asns(&[65001, 65002]) },
            Segment { kind: SegmentKind::Set, asns: asns(&[65003, 65536]) },
        ]),
        med: Some(100),
        local_pref: Some(200),
        atomic_aggregate: true,
        aggregator: Some(Aggregator {
            asn: Asn::new(65536),
            address: "198.51.100.1".parse().unwrap(),
        }),
        communities: vec![Community::NO_EXPORT, Community::new(65000, 100)],
        extended_communities: vec![ExtendedCommunity(0x0002_fde8_0000_0001)],
        large_communities: vec![LargeCommunity {
            global_administrator: 65000,
            local_data_1: 1,
            local_data_2: 2,
        }],
        originator_id: Some("192.0.2.5".parse().unwrap()),
        cluster_list: vec!["192.0.2.9".parse().unwrap()],
        ..PathAttributes::default()
    }
}

fn prefixes(all: &[&str]) -> Vec<Nlri> {
    all.iter().map(|text| Nlri::from(text.parse::<Prefix>().unwrap())).collect()
}

#[test]
fn an_update_with_every_attribute() {
    let updates = decode_updates(&hex(UPDATE_V4), &session(PeerKind::Internal));
    let [update] = &updates[..] else { panic!("{updates:?}") };
    assert_eq!(update.malformed, []);
    assert_eq!(update.withdrawn, prefixes(&["203.0.113.0/24", "0.0.0.0/0"]));
    assert_eq!(update.attributes, attributes());
    assert_eq!(update.attributes.open().as_path.to_string(), "65001 65002 {65003,65536}");
    let [announced] = &update.announced[..] else { panic!("{update:?}") };
    assert_eq!(announced.next_hop, BgpNextHop::V4("192.0.2.1".parse().unwrap()));
    assert_eq!(announced.prefixes, prefixes(&["10.0.0.0/8", "198.51.100.128/25"]));
    assert_eq!(update.end_of_rib, None);

    // And back, but for the withdrawals, which we send apart.
    let mut out = BytesMut::new();
    let session = session(PeerKind::Internal);
    encode_announcements(
        &session,
        &update.attributes,
        announced.next_hop,
        &announced.prefixes,
        &mut out,
    )
    .unwrap();
    let golden = hex(UPDATE_V4);
    assert_eq!(out[23..], golden[28..]);
}

const UPDATE_V6: &str = "
    ffffffffffffffffffffffffffffffff 005c 02
    0000 0045
    80 0e 35 0002 01                            # RFC 4760 3, first as RFC 7606 5.1 wants
       20 20010db8000000000000000000000001      # RFC 2545 3: global and link-local
          fe800000000000000000000000000001
       00 40 20010db800010000 30 20010db80002   # 2001:db8:1::/64, 2001:db8:2::/48
    40 01 01 02                                 # ORIGIN INCOMPLETE
    40 02 06 02 01 0000fde9                     # AS_PATH 65001
";

#[test]
fn an_update_for_ipv6() {
    let next_hop = BgpNextHop::V6 {
        global: "2001:db8::1".parse().unwrap(),
        link_local: Some("fe80::1".parse().unwrap()),
    };
    let attributes = PathAttributes {
        origin: Origin::Incomplete,
        as_path: AsPath::sequence([Asn::new(65001)]),
        ..PathAttributes::default()
    };
    let all = prefixes(&["2001:db8:1::/64", "2001:db8:2::/48"]);
    let session = session(PeerKind::External);
    let mut out = BytesMut::new();
    let set = AttributeSet::from(&attributes);
    assert_eq!(encode_announcements(&session, &set, next_hop, &all, &mut out), Ok(1));
    assert_eq!(out[..], hex(UPDATE_V6));

    let updates = decode_updates(&out, &session);
    assert_eq!(updates[0].attributes, attributes);
    assert_eq!(updates[0].announced[0].next_hop, next_hop);
    assert_eq!(updates[0].announced[0].prefixes, all);
}

#[test]
fn several_paths_and_a_next_hop_of_the_other_family() {
    let session = SessionParameters {
        add_path_receive: Families { v4: true, v6: false },
        add_path_send: Families { v4: true, v6: false },
        extended_next_hop: true,
        ..session(PeerKind::External)
    };
    let next_hop = BgpNextHop::from("2001:db8::1".parse::<std::net::IpAddr>().unwrap());
    let attributes = PathAttributes {
        as_path: AsPath::sequence([Asn::new(65001)]),
        ..PathAttributes::default()
    };
    let prefix: Prefix = "10.0.0.0/8".parse().unwrap();
    let paths = [Nlri { prefix, path_id: 1 }, Nlri { prefix, path_id: 0x0102_0304 }];
    let mut out = BytesMut::new();
    let set = AttributeSet::from(&attributes);
    assert_eq!(encode_announcements(&session, &set, next_hop, &paths, &mut out), Ok(1));
    encode_withdrawals(&session, &paths[1..], &mut out);
    // RFC 8950 3: AFI 1 with sixteen octets of next hop; RFC 7911 3: identifiers before prefixes.
    let golden = hex("
        ffffffffffffffffffffffffffffffff 0048 02 0000 0031
        80 0e 21 0001 01 10 20010db8000000000000000000000001 00
              00000001 08 0a 01020304 08 0a
        40 01 01 00
        40 02 06 02 01 0000fde9
        ffffffffffffffffffffffffffffffff 001d 02 0006 01020304 08 0a 0000
    ");
    assert_eq!(out[..], golden);
    let updates = decode_updates(&golden, &session);
    assert_eq!(updates[0].attributes, attributes);
    assert_eq!(updates[0].announced[0].next_hop, next_hop);
    assert_eq!(updates[0].announced[0].prefixes, paths);
    assert_eq!(updates[1].withdrawn, paths[1..]);
    // Without agreement the length of the next hop is none of IPv4's (RFC 7606 7.11).
    let plain = SessionParameters { extended_next_hop: false, ..session };
    assert!(decode_all(&golden, &plain).is_err());
}

#[test]
fn capabilities_are_agreed_on_in_both_directions() {
    let v4 = AfiSafi::IPV4_UNICAST;
    let open = |receive, send, extended| {
        let add_path = AddPathFamily { family: v4, receive, send };
        let mut capabilities = vec![Capability::Multiprotocol(v4)];
        if receive || send {
            capabilities.push(Capability::AddPath(vec![add_path]));
        }
        if extended {
            capabilities.push(Capability::ExtendedNextHop(vec![(v4, 2)]));
        }
        Open {
            asn: Asn::new(65001),
            hold_time: HoldTime::INFINITE,
            router_id: "192.0.2.1".parse().unwrap(),
            capabilities,
        }
    };
    let one = Families { v4: true, v6: false };
    for (ours, theirs, receive, send, extended) in [
        (open(true, true, true), open(true, true, true), one, one, true),
        (open(true, false, true), open(true, true, false), one, Families::NONE, false),
        (open(false, true, false), open(true, true, true), Families::NONE, one, false),
        (open(true, true, true), open(false, false, true), Families::NONE, Families::NONE, true),
    ] {
        let mut out = BytesMut::new();
        theirs.encode(&mut out);
        let Message::Open(theirs) = decode_all(&out, &before_open()).unwrap().remove(0) else {
            panic!("no OPEN")
        };
        let agreed = SessionParameters::negotiate(&ours, &theirs);
        assert_eq!((agreed.add_path_receive, agreed.add_path_send), (receive, send));
        assert_eq!(agreed.extended_next_hop, extended);
    }
}

#[test]
fn withdrawals_and_the_end_of_rib() {
    let session = session(PeerKind::External);
    let all = prefixes(&["10.0.0.0/8", "2001:db8::/32"]);
    let mut out = BytesMut::new();
    assert_eq!(encode_withdrawals(&session, &all, &mut out), 2);
    encode_end_of_rib(Family::V4, &mut out);
    encode_end_of_rib(Family::V6, &mut out);
    let golden = hex("
        ffffffffffffffffffffffffffffffff 0019 02 0002 08 0a 0000
        ffffffffffffffffffffffffffffffff 0022 02 0000 000b 80 0f 08 0002 01 20 20010db8
        ffffffffffffffffffffffffffffffff 0017 02 0000 0000
        ffffffffffffffffffffffffffffffff 001d 02 0000 0006 80 0f 03 0002 01
    ");
    assert_eq!(out[..], golden);
    let updates = decode_updates(&golden, &session);
    assert_eq!([&updates[0].withdrawn[..], &updates[1].withdrawn[..]].concat(), all);
    let end_of_rib: Vec<_> = updates.iter().map(|update| update.end_of_rib).collect();
    assert_eq!(end_of_rib, [None, None, Some(Family::V4), Some(Family::V6)]);
}

#[test]
fn four_octet_numbers_behind_a_two_octet_peer() {
    let two_octet = SessionParameters { four_octet_as: false, ..session(PeerKind::External) };
    // RFC 6793 4.2.3: 64496 has prepended itself to what 65536 and 65550 had told.
    let octets = hex("
        ffffffffffffffffffffffffffffffff 0050 02 0000 0037
        40 01 01 00
        40 02 08 02 03 fbf0 5ba0 5ba0              # 64496 AS_TRANS AS_TRANS
        40 03 04 c0000201
        c0 07 06 5ba0 c6336401                     # AGGREGATOR AS_TRANS
        c0 11 0a 02 02 00010000 0001000e           # AS4_PATH 65536 65550
        c0 12 08 00010000 c6336401                 # AS4_AGGREGATOR 65536
        08 0a
    ");
    let updates = decode_updates(&octets, &two_octet);
    let attributes = &updates[0].attributes;
    assert_eq!(attributes.open().as_path.to_string(), "64496 65536 65550");
    assert_eq!(attributes.open().aggregator.unwrap().asn, Asn::new(65536));
    assert!(updates[0].malformed.is_empty());

    let mut out = BytesMut::new();
    let announced = &updates[0].announced[0];
    let count = encode_announcements(
        &two_octet,
        attributes,
        announced.next_hop,
        &announced.prefixes,
        &mut out,
    );
    assert_eq!(count, Ok(1));
    let again = decode_updates(&out, &two_octet);
    assert_eq!(again[0].attributes, *attributes);
}

#[test]
fn an_aggregate_made_after_as4_path_overrules_it() {
    let two_octet = SessionParameters { four_octet_as: false, ..session(PeerKind::External) };
    let octets = hex("
        ffffffffffffffffffffffffffffffff 004c 02 0000 0031
        40 01 01 00
        40 02 06 02 02 fbf0 5ba0
        40 03 04 c0000201
        c0 07 06 fbf0 c6336401                     # AGGREGATOR 64496, not AS_TRANS
        c0 11 06 02 01 00010000
        c0 12 08 00010000 c6336401
        08 0a 08 0b
    ");
    let updates = decode_updates(&octets, &two_octet);
    assert_eq!(updates[0].attributes.open().as_path.to_string(), "64496 23456");
    assert_eq!(updates[0].attributes.open().aggregator.unwrap().asn, Asn::new(64496));
}

#[test]
fn route_refresh() {
    let octets = hex("
        ffffffffffffffffffffffffffffffff 0017 05 0001 00 01
        ffffffffffffffffffffffffffffffff 0017 05 0002 07 80
    ");
    let refresh = |afi, safi, subtype| {
        Message::RouteRefresh(RouteRefresh { family: AfiSafi { afi, safi }, subtype })
    };
    let messages = decode_all(&octets, &session(PeerKind::Internal)).unwrap();
    assert_eq!(
        messages,
        [
            refresh(1, 1, RouteRefreshSubtype::Request),
            refresh(2, 128, RouteRefreshSubtype::Unknown(7))
        ]
    );
    let mut out = BytesMut::new();
    RouteRefresh::request(Family::V4).encode(&mut out);
    assert_eq!(out[..], octets[..23]);
    let long = hex("ffffffffffffffffffffffffffffffff 0018 05 0001 01 01 00");
    let refused = decode_all(&long, &session(PeerKind::Internal)).unwrap_err();
    assert_eq!(refused.code, NotificationCode::InvalidRouteRefreshLength);
}

#[test]
fn keepalive_and_notification() {
    let octets = hex("
        ffffffffffffffffffffffffffffffff 0013 04
        ffffffffffffffffffffffffffffffff 001a 03 06 02 04 646f776e   # RFC 9003: 'down'
    ");
    let messages = decode_all(&octets, &before_open()).unwrap();
    let [Message::Keepalive, Message::Notification(notification)] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(notification.shutdown_message(), Some("down"));
    let mut out = BytesMut::new();
    Message::encode_keepalive(&mut out);
    notification.encode(&mut out);
    assert_eq!(out[..], octets);
}
