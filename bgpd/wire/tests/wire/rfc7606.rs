//! RFC 7606 as a table: what is wrong, and what follows.

use bgp_wire::{
    AttributeType, Consequence, NotificationCode, PeerKind, SessionParameters, UnknownAttribute,
};
use viaduct_net::Family;

use crate::{decode_update, hex, session, update_body};

const ORIGIN: &str = "40 01 01 00";
const AS_PATH: &str = "40 02 06 02 01 0000fde9";
const NEXT_HOP: &str = "40 03 04 c0000201";
const MP_REACH: &str = "80 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8";

const MP_REACH_TWICE: &str = "
    80 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8
    80 0e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8
";

enum Expect {
    /// The attribute is gone, the prefixes stay.
    Discard(AttributeType),
    /// The prefixes are withdrawn.
    Withdraw(AttributeType),
    Reset(NotificationCode),
}
use Expect::{Discard, Reset, Withdraw};

/// An UPDATE for 10.0.0.0/8 with these attributes.
fn check(name: &str, attributes: &[&str], session: &SessionParameters, expected: &Expect) {
    let body = update_body(&[], &hex(&attributes.concat()), &[8, 10]);
    let decoded = decode_update(&body, session);
    let (kind, consequence) = match expected {
        Reset(code) => {
            let refused = decoded.expect_err(name);
            assert_eq!(refused.code, *code, "{name}");
            return;
        }
        Discard(kind) => (*kind, Consequence::AttributeDiscard),
        Withdraw(kind) => (*kind, Consequence::TreatAsWithdraw),
    };
    let update = decoded.unwrap_or_else(|refused| panic!("{name}: {refused}"));
    assert_eq!(update.announced.is_empty(), consequence == Consequence::TreatAsWithdraw, "{name}");
    assert_eq!(update.withdrawn.is_empty(), consequence != Consequence::TreatAsWithdraw, "{name}");
    assert_eq!(update.treated_as_withdraw, update.withdrawn.len(), "{name}");
    let found: Vec<_> = update.malformed.iter().map(|e| (e.kind, e.consequence)).collect();
    assert!(found.contains(&(kind, consequence)), "{name}: {:?}", update.malformed);
    assert_eq!(update.end_of_rib, None, "{name}");
}

#[test]
fn attributes_from_either_kind_of_peer() {
    use AttributeType as T;
    use NotificationCode as Code;
    let all = [ORIGIN, AS_PATH, NEXT_HOP];
    let with = |extra| [ORIGIN, AS_PATH, NEXT_HOP, extra];
    let cases: &[(&str, &[&str], Expect)] = &[
        // §3 c: flags.
        ("ORIGIN optional", &["c0 01 01 00", AS_PATH, NEXT_HOP], Withdraw(T::ORIGIN)),
        // RFC 9234 §5.
        ("OTC of three", &with("c0 23 03 00fde9"), Withdraw(T::ONLY_TO_CUSTOMER)),
        ("OTC not transitive", &with("80 23 04 0000fde9"), Withdraw(T::ONLY_TO_CUSTOMER)),
        ("MED transitive", &with("c0 04 04 00000001"), Withdraw(T::MULTI_EXIT_DISC)),
        ("COMMUNITIES not transitive", &with("80 08 04 fde80001"), Withdraw(T::COMMUNITIES)),
        // §3 d: missing.
        ("no ORIGIN", &[AS_PATH, NEXT_HOP], Withdraw(T::ORIGIN)),
        ("no AS_PATH", &[ORIGIN, NEXT_HOP], Withdraw(T::AS_PATH)),
        ("no NEXT_HOP", &[ORIGIN, AS_PATH], Withdraw(T::NEXT_HOP)),
        ("nothing", &[], Withdraw(T::ORIGIN)),
        // §3 g: repeated.
        ("MED twice", &with("80 04 04 00000001 80 04 04 00000002"), Discard(T::MULTI_EXIT_DISC)),
        ("MP_REACH twice", &with(MP_REACH_TWICE), Reset(Code::MalformedAttributeList)),
        // §3 h: the worst rules.
        ("discard and withdraw", &with("40 06 01 00 80 04 01 00"), Withdraw(T::MULTI_EXIT_DISC)),
        // §4: the lengths.
        ("overrun", &with("80 04 05 00000001"), Withdraw(T::MULTI_EXIT_DISC)),
        ("a lone octet", &with("80"), Withdraw(AttributeType(0))),
        ("no length", &with("80 04"), Withdraw(T::MULTI_EXIT_DISC)),
        ("half an extended length", &with("90 04 00"), Withdraw(T::MULTI_EXIT_DISC)),
        // RFC 4271 §6.3, which RFC 7606 leaves alone.
        ("unknown well-known", &with("40 63 00"), Reset(Code::UnrecognizedWellKnownAttribute)),
        // §7.1 to §7.3.
        ("ORIGIN too long", &["40 01 02 0000", AS_PATH, NEXT_HOP], Withdraw(T::ORIGIN)),
        ("ORIGIN 3", &["40 01 01 03", AS_PATH, NEXT_HOP], Withdraw(T::ORIGIN)),
        ("segment type", &[ORIGIN, "40 02 06 05 01 0000fde9", NEXT_HOP], Withdraw(T::AS_PATH)),
        ("segment overrun", &[ORIGIN, "40 02 06 02 02 0000fde9", NEXT_HOP], Withdraw(T::AS_PATH)),
        (
            "segment underrun",
            &[ORIGIN, "40 02 07 02 01 0000fde9 02", NEXT_HOP],
            Withdraw(T::AS_PATH),
        ),
        ("empty segment", &[ORIGIN, "40 02 02 02 00", NEXT_HOP], Withdraw(T::AS_PATH)),
        ("AS 0", &[ORIGIN, "40 02 06 02 01 00000000", NEXT_HOP], Withdraw(T::AS_PATH)),
        ("NEXT_HOP too short", &[ORIGIN, AS_PATH, "40 03 03 c00002"], Withdraw(T::NEXT_HOP)),
        ("NEXT_HOP 0.0.0.0", &[ORIGIN, AS_PATH, "40 03 04 00000000"], Withdraw(T::NEXT_HOP)),
        ("NEXT_HOP multicast", &[ORIGIN, AS_PATH, "40 03 04 e0000001"], Withdraw(T::NEXT_HOP)),
        // §7.4, §7.6 to §7.8.
        ("MED too short", &with("80 04 03 000001"), Withdraw(T::MULTI_EXIT_DISC)),
        ("ATOMIC_AGGREGATE with a value", &with("40 06 01 00"), Discard(T::ATOMIC_AGGREGATE)),
        ("AGGREGATOR of two octets", &with("c0 07 06 fde9 c6336401"), Discard(T::AGGREGATOR)),
        ("AGGREGATOR AS 0", &with("c0 07 08 00000000 c6336401"), Discard(T::AGGREGATOR)),
        ("COMMUNITIES of 5", &with("c0 08 05 fde8000100"), Withdraw(T::COMMUNITIES)),
        ("COMMUNITIES empty", &with("c0 08 00"), Withdraw(T::COMMUNITIES)),
        // §7.11, §7.12.
        (
            "MP next hop of 15",
            &with("80 0e 14 0002 01 0f 20010db80000000000000000000000 00"),
            Reset(Code::OptionalAttributeError),
        ),
        (
            "MP next hop of 24",
            &with("80 0e 1d 0002 01 18 000000000000000020010db8000000000000000000000001 00"),
            Reset(Code::OptionalAttributeError),
        ),
        ("MP_REACH cut short", &with("80 0e 04 0002 01 10"), Reset(Code::OptionalAttributeError)),
        (
            "MP_REACH length /129",
            &with("80 0e 16 0002 01 10 20010db8000000000000000000000001 00 81"),
            Reset(Code::OptionalAttributeError),
        ),
        ("MP_UNREACH of 2", &with("80 0f 02 0002"), Reset(Code::OptionalAttributeError)),
        (
            "MP_UNREACH overrun",
            &with("80 0f 05 0002 01 20 20"),
            Reset(Code::OptionalAttributeError),
        ),
        ("another family", &with("80 0e 05 0019 41 00 00"), Discard(T::MP_REACH_NLRI)),
        // §7.14; RFC 8092 §6.
        ("EXTENDED of 7", &with("c0 10 07 00000000000000"), Withdraw(T::EXTENDED_COMMUNITIES)),
        ("EXTENDED empty", &with("c0 10 00"), Withdraw(T::EXTENDED_COMMUNITIES)),
        ("LARGE of 13", &with("c0 20 0d 00000000000000000000000000"), Withdraw(T::LARGE_COMMUNITY)),
        // RFC 6793 §4.1.
        ("AS4_PATH of a four-octet peer", &with("c0 11 06 02 01 00010000"), Discard(T::AS4_PATH)),
    ];
    for kind in [PeerKind::Internal, PeerKind::External] {
        for (name, attributes, expected) in cases {
            check(name, attributes, &session(kind), expected);
        }
        let body = update_body(&[], &hex(&all.concat()), &[8, 10]);
        let update = decode_update(&body, &session(kind)).unwrap();
        assert_eq!((update.announced.len(), update.malformed.len()), (1, 0));
    }
}

#[test]
fn attributes_of_internal_peers_only() {
    use AttributeType as T;
    let good = [
        (T::LOCAL_PREF, "40 05 04 00000064"),
        (T::ORIGINATOR_ID, "80 09 04 c0000205"),
        (T::CLUSTER_LIST, "80 0a 04 c0000209"),
    ];
    let bad = [
        (T::LOCAL_PREF, "40 05 03 000064"),
        (T::ORIGINATOR_ID, "80 09 05 c000020500"),
        (T::CLUSTER_LIST, "80 0a 00"),
        (T::CLUSTER_LIST, "80 0a 06 c00002090000"),
    ];
    for (kind, octets) in good.into_iter().chain(bad) {
        let attributes = [ORIGIN, AS_PATH, NEXT_HOP, octets];
        check(octets, &attributes, &session(PeerKind::External), &Discard(kind));
    }
    for (kind, octets) in bad {
        let attributes = [ORIGIN, AS_PATH, NEXT_HOP, octets];
        check(octets, &attributes, &session(PeerKind::Internal), &Withdraw(kind));
    }
    // RFC 5065 §5.
    let confederation = [ORIGIN, "40 02 06 03 01 0000fde9", NEXT_HOP];
    check("confed", &confederation, &session(PeerKind::External), &Withdraw(T::AS_PATH));
    let body = update_body(&[], &hex(&confederation.concat()), &[8, 10]);
    let update = decode_update(&body, &session(PeerKind::Internal)).unwrap();
    assert_eq!(update.attributes.open().as_path.to_string(), "(65001)");
    assert_eq!(update.attributes.open().as_path.route_len(), 0);
}

#[test]
fn fields_that_cannot_be_located_end_the_session() {
    use NotificationCode as Code;
    let attributes = hex(&[ORIGIN, AS_PATH, NEXT_HOP].concat());
    let mut overrun = update_body(&[], &attributes, &[]);
    overrun[3] += 1;
    let mut withdrawn = update_body(&[8, 10], &[], &[]);
    withdrawn[1] = 9;
    for (name, body, code) in [
        ("attributes beyond the end", overrun, Code::MalformedAttributeList),
        ("withdrawn beyond the end", withdrawn, Code::MalformedAttributeList),
        (
            "NLRI /33",
            update_body(&[], &attributes, &[33, 10, 0, 0, 0, 0]),
            Code::InvalidNetworkField,
        ),
        ("NLRI overrun", update_body(&[], &attributes, &[24, 10]), Code::InvalidNetworkField),
        ("withdrawn /33", update_body(&[33, 1, 2, 3, 4, 5], &[], &[]), Code::InvalidNetworkField),
        ("withdrawn overrun", update_body(&[16, 10], &[], &[]), Code::InvalidNetworkField),
    ] {
        let refused = decode_update(&body, &session(PeerKind::External)).expect_err(name);
        assert_eq!(refused.code, code, "{name}");
    }
}

#[test]
fn malformed_attributes_without_nlri_end_the_session() {
    // §5.2: the same fault is a withdrawal only where it is known of what.
    use NotificationCode as Code;
    let v6 = "80 0f 08 0002 01 20 20010db8";
    for (attributes, code) in [
        ("80 04 01 00", Some(Code::OptionalAttributeError)),
        ("40 01 01 03", Some(Code::InvalidOriginAttribute)),
        ("40 02 02 02 00", Some(Code::MalformedAsPath)),
        ("40 03 04 00000000", Some(Code::InvalidNextHopAttribute)),
        ("c0 01 01 00", Some(Code::AttributeFlagsError)),
        ("40 01", Some(Code::MalformedAttributeList)),
        // Of lesser faults and good attributes nothing follows.
        ("40 06 01 00", None),
        ("40 01 01 00", None),
    ] {
        for attributes in [attributes.to_owned(), format!("{v6} {attributes}")] {
            for withdrawn in [&[][..], &[8, 10]] {
                let body = update_body(withdrawn, &hex(&attributes), &[]);
                let decoded = decode_update(&body, &session(PeerKind::External));
                let refused = decoded.as_ref().err().map(|refused| refused.code);
                assert_eq!(refused, code, "{attributes}");
                assert!(decoded.is_err() || decoded.unwrap().end_of_rib.is_none());
            }
        }
    }
    // The prefixes of another family are not ours, but they are there.
    let mut v4_only = session(PeerKind::External);
    v4_only.families.remove(Family::V6);
    let body = update_body(&[], &hex(&[MP_REACH, "80 04 01 00"].concat()), &[]);
    assert!(decode_update(&body, &v4_only).is_ok());
}

#[test]
fn prefixes_inside_mp_attributes_are_withdrawn_too() {
    // MED is malformed; MP_REACH names 2001:db8::/32, classic NLRI 10.0.0.0/8.
    let attributes = [MP_REACH, ORIGIN, AS_PATH, NEXT_HOP, "80 04 01 00"].concat();
    let body = update_body(&[], &hex(&attributes), &[8, 10]);
    let update = decode_update(&body, &session(PeerKind::External)).unwrap();
    let withdrawn: Vec<_> = update.withdrawn.iter().map(ToString::to_string).collect();
    assert_eq!(withdrawn, ["10.0.0.0/8", "2001:db8::/32"]);

    // A next hop that can be nobody's, in a message that is well formed.
    for next_hop in ["00000000000000000000000000000000", "ff020000000000000000000000000001"] {
        let reach = format!("80 0e 1a 0002 01 10 {next_hop} 00 20 20010db8");
        let body = update_body(&[], &hex(&[&reach, ORIGIN, AS_PATH].concat()), &[]);
        let update = decode_update(&body, &session(PeerKind::External)).unwrap();
        assert_eq!(update.withdrawn.len(), 1, "{next_hop}");
        assert_eq!(update.malformed[0].kind, AttributeType::MP_REACH_NLRI);
    }
}

#[test]
fn a_family_that_was_not_agreed_on_is_passed_over() {
    let mut v6_only = session(PeerKind::External);
    v6_only.families.remove(Family::V4);
    let attributes = hex(&[MP_REACH, ORIGIN, AS_PATH, NEXT_HOP].concat());
    let body = update_body(&[8, 11], &attributes, &[8, 10]);
    let update = decode_update(&body, &v6_only).unwrap();
    assert!(update.withdrawn.is_empty());
    assert_eq!(update.announced.len(), 1);
    assert_eq!(update.announced[0].prefixes[0].prefix.family(), Family::V6);
    let mut v4_only = session(PeerKind::External);
    v4_only.families.remove(Family::V6);
    let update = decode_update(&body, &v4_only).unwrap();
    assert_eq!(update.announced[0].prefixes[0].prefix.family(), Family::V4);
}

#[test]
fn unknown_attributes_pass_by_their_flags() {
    let attributes = [ORIGIN, AS_PATH, NEXT_HOP, "e0 64 02 0102 c0 63 00 80 65 01 00"].concat();
    let body = update_body(&[], &hex(&attributes), &[8, 10]);
    let update = decode_update(&body, &session(PeerKind::External)).unwrap();
    let unknown =
        |kind, value: &[u8]| UnknownAttribute { kind: AttributeType(kind), value: value.into() };
    assert_eq!(update.attributes.open().unknown, [unknown(99, &[]), unknown(100, &[1, 2])]);
    assert!(update.malformed.is_empty());
}

#[test]
fn as4_attributes_that_are_malformed_leave_as_path_alone() {
    let two_octet = SessionParameters { four_octet_as: false, ..session(PeerKind::External) };
    let path = "40 02 06 02 02 fbf0 5ba0";
    for (kind, octets) in [
        (AttributeType::AS4_PATH, "c0 11 07 02 01 00010000 02"),
        (AttributeType::AS4_PATH, "c0 11 06 07 01 00010000"),
        (AttributeType::AS4_PATH, "c0 11 06 02 01 00000000"),
        (AttributeType::AS4_AGGREGATOR, "c0 12 06 fde9 c6336401"),
    ] {
        let attributes = [ORIGIN, path, NEXT_HOP, octets];
        check(octets, &attributes, &two_octet, &Discard(kind));
    }
    // Longer than AS_PATH: ignored. With a confederation inside: that part is dropped.
    for (octets, expected) in [
        ("c0 11 0e 02 03 00010000 00010001 00010002", "64496 23456"),
        ("c0 11 0c 03 01 0000fde9 02 01 00010000", "64496 65536"),
    ] {
        let attributes = [ORIGIN, path, NEXT_HOP, octets].concat();
        let body = update_body(&[], &hex(&attributes), &[8, 10]);
        let update = decode_update(&body, &two_octet).unwrap();
        assert_eq!(update.attributes.open().as_path.to_string(), expected, "{octets}");
    }
}

#[test]
fn link_local_next_hops_have_one_spelling() {
    let global = "20010db8000000000000000000000001";
    let link_local = "fe800000000000000000000000000001";
    let zero = "00000000000000000000000000000000";
    for (octets, address, has_link_local) in [
        (format!("20 {global} {link_local}"), "2001:db8::1", true),
        (format!("20 {global} {zero}"), "2001:db8::1", false),
        (format!("20 {zero} {link_local}"), "fe80::1", false),
        (format!("20 {link_local} {link_local}"), "fe80::1", false),
        (format!("10 {link_local}"), "fe80::1", false),
    ] {
        let value = hex(&format!("0002 01 {octets} 00 20 20010db8"));
        let mut attributes = vec![0x80, 14, value.len() as u8];
        attributes.extend(value);
        attributes.extend(hex(&[ORIGIN, AS_PATH].concat()));
        let update =
            decode_update(&update_body(&[], &attributes, &[]), &session(PeerKind::External))
                .unwrap();
        let next_hop = update.announced[0].next_hop;
        assert_eq!(next_hop.address().to_string(), address, "{octets}");
        let found = matches!(next_hop, bgp_wire::BgpNextHop::V6 { link_local: Some(_), .. });
        assert_eq!(found, has_link_local, "{octets}");
    }
}
