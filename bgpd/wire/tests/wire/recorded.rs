//! Everything five other speakers say on one session, written down by `tests/golden/record.sh`: all of
//! it is understood, and what we say of it is understood as the same.

use bgp_wire::{
    AddPathFamily, AfiSafi, BgpNextHop, Capability, GracefulRestart, GracefulRestartFamily,
    HoldTime, Message, Nlri, Notification, NotificationCode, Open, PeerKind, RouteRefresh,
    SessionParameters, Update, encode_announcements, encode_withdrawals,
};
use bytes::BytesMut;
use viaduct_net::{Asn, Family};

use crate::{decode_all, hex};

const BIRD: &str = include_str!("../../../../tests/golden/bgp/bird-2.0.12-all.hex");
const FRR: &str = include_str!("../../../../tests/golden/bgp/frr-8.4.4-all.hex");
const GOBGP: &str = include_str!("../../../../tests/golden/bgp/gobgp-3.10.0-all.hex");
const OPENBGPD: &str = include_str!("../../../../tests/golden/bgp/openbgpd-7.7-all.hex");
const EXABGP: &str = include_str!("../../../../tests/golden/bgp/exabgp-4.2.21-all.hex");
const ALL: [(&str, &str); 5] =
    [("BIRD", BIRD), ("FRR", FRR), ("GoBGP", GOBGP), ("OpenBGPD", OPENBGPD), ("ExaBGP", EXABGP)];

/// What `bgpd/wire/examples/record.rs` has said.
fn our_open() -> Open {
    let families = [AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    let restart = |family| GracefulRestartFamily { family, forwarding: true };
    let several = |family| AddPathFamily { family, receive: true, send: false };
    Open {
        asn: Asn::new(65002),
        hold_time: HoldTime::from_secs(90).unwrap(),
        router_id: "192.0.2.2".parse().unwrap(),
        capabilities: vec![
            Capability::Multiprotocol(AfiSafi::IPV4_UNICAST),
            Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
            Capability::RouteRefresh,
            Capability::ExtendedNextHop(vec![(AfiSafi::IPV4_UNICAST, 2)]),
            Capability::ExtendedMessage,
            Capability::GracefulRestart(GracefulRestart {
                restart_state: false,
                notification: true,
                restart_time_secs: 120,
                families: families.map(restart).to_vec(),
            }),
            Capability::FourOctetAs(Asn::new(65002)),
            Capability::AddPath(families.map(several).to_vec()),
            Capability::EnhancedRouteRefresh,
        ],
    }
}

struct Recorded {
    open: Open,
    parameters: SessionParameters,
    /// From the first KEEPALIVE on, each beside its octets.
    rest: Vec<(Vec<u8>, Message)>,
}

impl Recorded {
    fn read(text: &str) -> Self {
        let mut lines = text.lines().filter(|line| !line.starts_with('#')).map(hex);
        let before = SessionParameters::before_open(PeerKind::External);
        let octets = lines.next().unwrap();
        let Some(Message::Open(open)) = decode_all(&octets, &before).unwrap().pop() else {
            panic!("no OPEN");
        };
        let parameters = SessionParameters::negotiate(&our_open(), &open);
        let rest = lines.map(|octets| {
            let message = decode_all(&octets, &parameters).unwrap().pop().unwrap();
            (octets, message)
        });
        Self { rest: rest.collect(), open, parameters }
    }

    fn updates(&self) -> impl Iterator<Item = &Update> {
        self.rest.iter().filter_map(|(_, message)| match message {
            Message::Update(update) => Some(update),
            _ => None,
        })
    }

    fn last_words(&self) -> &Notification {
        match &self.rest.last().unwrap().1 {
            Message::Notification(notification) => notification,
            other => panic!("no NOTIFICATION: {other:?}"),
        }
    }

    /// What is told of a prefix, in the order in which it is told.
    fn told(&self, wanted: &str) -> Vec<(Nlri, BgpNextHop, &Update)> {
        let of = |update: &'_ Update| -> Vec<(Nlri, BgpNextHop)> {
            let announced = update.announced.iter();
            announced
                .flat_map(|one| one.prefixes.iter().map(|nlri| (*nlri, one.next_hop)))
                .filter(|(nlri, _)| nlri.prefix.to_string() == wanted)
                .collect()
        };
        self.updates()
            .flat_map(|update| of(update).into_iter().map(move |(nlri, hop)| (nlri, hop, update)))
            .collect()
    }
}

#[test]
fn every_message_is_understood() {
    for (name, text) in ALL {
        let recorded = Recorded::read(text);
        assert!(recorded.parameters.four_octet_as, "{name}");
        assert_eq!(recorded.parameters.families, bgp_wire::Families::BOTH, "{name}");
        for family in Family::ALL {
            let ended = recorded.updates().any(|update| update.end_of_rib == Some(family));
            assert!(ended, "{name}: {family}");
        }
        for update in recorded.updates() {
            let faults: Vec<_> = update.malformed.iter().map(ToString::to_string).collect();
            // Told over IPv4, it has no IPv6 address of its own but its loopback's.
            let expected: &[&str] = match name {
                "OpenBGPD" if !faults.is_empty() => {
                    &["MP_REACH_NLRI: an address that can be no next hop"]
                }
                _ => &[],
            };
            assert_eq!(faults, expected, "{name}");
        }
    }
}

/// An OPEN has one spelling here and several elsewhere: each capability in a parameter of its own (FRR
/// and ExaBGP), and lengths of one octet in any case.
#[test]
fn opens_are_said_again() {
    for (name, text) in ALL {
        let recorded = Recorded::read(text);
        let mut said = BytesMut::new();
        recorded.open.encode(&mut said);
        let before = SessionParameters::before_open(PeerKind::External);
        let heard = decode_all(&said, &before).unwrap();
        assert_eq!(heard, [Message::Open(recorded.open)], "{name}");
        let theirs = hex(text.lines().find(|line| !line.starts_with('#')).unwrap());
        let one_parameter = matches!(name, "BIRD" | "OpenBGPD" | "GoBGP");
        assert_eq!(said[..] == theirs[..], one_parameter, "{name}");
    }
}

#[test]
fn updates_are_said_again() {
    let mut same = Vec::new();
    for (name, text) in ALL {
        let recorded = Recorded::read(text);
        let session = SessionParameters {
            add_path_send: recorded.parameters.add_path_receive,
            ..recorded.parameters
        };
        let mut to_the_octet = 0;
        let mut announcing = 0;
        for (octets, message) in &recorded.rest {
            let Message::Update(update) = message else { continue };
            let mut said = BytesMut::new();
            encode_withdrawals(&session, &update.withdrawn, &mut said);
            for one in &update.announced {
                let (hop, prefixes) = (one.next_hop, &one.prefixes);
                encode_announcements(&session, &update.attributes, hop, prefixes, &mut said)
                    .unwrap();
            }
            if update.announced.is_empty() {
                continue;
            }
            announcing += 1;
            to_the_octet += usize::from(said[..] == spelled_our_way(octets));
            let heard = decode_all(&said, &session).unwrap();
            assert_eq!(heard, [Message::Update(update.clone())], "{name}");
        }
        same.push((name, to_the_octet, announcing));
    }
    // BIRD puts IPv4 into MP_REACH_NLRI where the next hop might be of IPv6.
    let expected =
        [("BIRD", 2, 6), ("FRR", 10, 10), ("GoBGP", 8, 8), ("OpenBGPD", 2, 2), ("ExaBGP", 5, 5)];
    assert_eq!(same, expected);
}

/// The same UPDATE in our spelling: MP_REACH_NLRI first and the others in ascending order, lengths of
/// one octet where one will do, and without AIGP, which is not passed on by whom does not know it
/// (RFC 4271 §9).
fn spelled_our_way(update: &[u8]) -> Vec<u8> {
    const AIGP: u8 = 26;
    let number = |at: usize| usize::from(u16::from_be_bytes([update[at], update[at + 1]]));
    let len_at = 21 + number(19);
    let (start, end) = (len_at + 2, len_at + 2 + number(len_at));
    let mut attributes = Vec::new();
    let mut at = start;
    while at < end {
        let (flags, kind) = (update[at], update[at + 1]);
        let (head, len) =
            if flags & 0x10 != 0 { (4, number(at + 2)) } else { (3, usize::from(update[at + 2])) };
        let value = &update[at + head..at + head + len];
        at += head + len;
        let mut whole = vec![flags & !0x10, kind];
        match u8::try_from(len) {
            Ok(len) => whole.push(len),
            Err(_) => {
                whole[0] |= 0x10;
                whole.extend((len as u16).to_be_bytes());
            }
        }
        whole.extend(value);
        if kind != AIGP {
            attributes.push((kind != 14, kind, whole));
        }
    }
    attributes.sort();
    let attributes: Vec<u8> = attributes.into_iter().flat_map(|(_, _, whole)| whole).collect();
    let mut all = update[..len_at].to_vec();
    all.extend((attributes.len() as u16).to_be_bytes());
    all.extend(attributes);
    all.extend(&update[end..]);
    let len = (all.len() as u16).to_be_bytes();
    all[16..18].copy_from_slice(&len);
    all
}

#[test]
fn a_refresh_has_a_beginning_and_an_end() {
    for (name, text) in [("BIRD", BIRD), ("FRR", FRR)] {
        let recorded = Recorded::read(text);
        let refreshes: Vec<_> = recorded
            .rest
            .iter()
            .filter_map(|(octets, message)| match message {
                Message::RouteRefresh(refresh) => Some((octets, *refresh)),
                _ => None,
            })
            .collect();
        let [(begin, first), (end, last)] = refreshes[..] else { panic!("{name}: {refreshes:?}") };
        assert_eq!((first, last), (RouteRefresh::begin(Family::V4), RouteRefresh::end(Family::V4)));
        for (octets, refresh) in [(begin, first), (end, last)] {
            let mut said = BytesMut::new();
            refresh.encode(&mut said);
            assert_eq!(said[..], octets[..], "{name}");
        }
    }
}

#[test]
fn last_words_are_read_and_said_again() {
    let words = Some("new cables, back at noon");
    for (name, text, code, expected) in [
        ("BIRD", BIRD, NotificationCode::AdministrativeShutdown, words),
        ("FRR", FRR, NotificationCode::HardReset, words),
        ("GoBGP", GOBGP, NotificationCode::AdministrativeShutdown, None),
        ("OpenBGPD", OPENBGPD, NotificationCode::AdministrativeShutdown, words),
    ] {
        let recorded = Recorded::read(text);
        let notification = recorded.last_words();
        assert_eq!(notification.code, code, "{name}");
        let inside = notification.inside_hard_reset();
        let innermost = inside.as_ref().unwrap_or(notification);
        assert_eq!(innermost.shutdown_message(), expected, "{name}");
        let mut said = BytesMut::new();
        notification.encode(&mut said);
        assert_eq!(said[..], recorded.rest.last().unwrap().0[..], "{name}");
    }
}

/// RFC 7911: the same prefix on several paths, and RFC 8950: the family of a next hop by its length.
#[test]
fn several_paths_have_identifiers() {
    let ids = |text: &str| -> Vec<_> {
        let recorded = Recorded::read(text);
        let told = recorded.told("10.1.0.0/16");
        let mut all: Vec<_> = told.iter().map(|(nlri, hop, _)| (nlri.path_id, *hop)).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().map(|(id, hop)| format!("{id} {}", hop.address())).collect()
    };
    assert_eq!(ids(BIRD), ["2 192.0.2.1", "3 192.0.2.1"]);
    assert_eq!(ids(FRR), ["2 192.0.2.1"]);
    assert_eq!(ids(GOBGP), ["1 192.0.2.1", "2 192.0.2.1"]);
    assert_eq!(ids(EXABGP), ["9 192.0.2.9", "16909060 192.0.2.1"]);
    assert_eq!(ids(OPENBGPD), ["1744240954 192.0.2.1"]);
}

#[test]
fn every_attribute_is_read() {
    let first = |text: &str, prefix: &str| {
        let recorded = Recorded::read(text);
        let (_, _, update) = recorded.told(prefix)[0];
        update.attributes.open()
    };
    let frr = first(FRR, "10.1.0.0/16");
    assert_eq!(frr.as_path.to_string(), "4200000001 4200000009");
    assert!(frr.atomic_aggregate && frr.med == Some(50));
    let aggregator = frr.aggregator.unwrap();
    assert_eq!((aggregator.asn, aggregator.address), (Asn::new(65100), [192, 0, 2, 9].into()));
    assert_eq!((frr.communities.len(), frr.extended_communities.len()), (2, 2));
    assert_eq!(frr.large_communities.len(), 1);

    let exabgp = first(EXABGP, "10.1.0.0/16");
    assert_eq!(exabgp.local_pref, Some(200));
    assert_eq!(exabgp.originator_id.map(|id| id.to_string()).as_deref(), Some("192.0.2.77"));
    assert_eq!(exabgp.cluster_list, [[1, 1, 1, 1], [2, 2, 2, 2]].map(std::net::Ipv4Addr::from));
    // AIGP is not transitive and goes; 99 is not known, and passes.
    let unknown: Vec<_> = exabgp.unknown.iter().map(|one| one.kind.0).collect();
    assert_eq!(unknown, [99]);
    assert_eq!(exabgp.as_path.to_string(), "4200000009 {65100,65101}");
}
