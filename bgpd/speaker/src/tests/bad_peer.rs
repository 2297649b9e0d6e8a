//! Whatever a peer says, the sessions and routes of others stand.

use std::{collections::BTreeSet, time::Duration};

use bgp_rib::Policy;
use bgp_wire::{
    AfiSafi, AsPath, Capability, Community, HoldTime, LargeCommunity, Message, Open,
    PathAttributes, SessionParameters, encode_announcements,
};
use bytes::BytesMut;
use viaduct_net::Asn;

use super::harness::{Network, own, prefix, v4, with_peers};
use crate::{ConnId, Connected, Direction, State};

const BAD_AS: u32 = 65003;
/// What the bad peer tells before it errs.
const TOLD: [&str; 2] = ["198.51.100.0/24", "2001:db8:77::/48"];

/// Speaker 1 between a good peer, 2, and a bad one, 3, which is no speaker: the test says its octets.
struct Between {
    network: Network,
    conn: ConnId,
}

impl Between {
    fn new() -> Self {
        let mut config = with_peers(1, 64512, &[(2, 64512), (3, BAD_AS)]);
        let bad = config.peers.get_mut(&v4(3)).unwrap();
        (bad.import, bad.export) = (Policy::accept_all(), Policy::accept_all());
        bad.passive = true;
        let mut network = Network::default();
        network.start(1, config);
        network.start(2, with_peers(2, 64512, &[(1, 64512)]));
        network.wait_established(1, 2);
        Self { network, conn: ConnId(1_000_000) }
    }

    fn say(&mut self, octets: &[u8]) {
        let now = self.network.now();
        let conn = self.conn;
        self.network.speaker(1).handle_bytes(conn, octets, now);
        self.network.poll();
        self.network.run(Duration::from_millis(5));
        let unwritten = self.network.status(1, v4(3)).unwritten;
        self.network.speaker(1).handle_written(conn, unwritten, now);
    }

    /// Has the bad peer's session up, and its two prefixes told.
    fn begin(&mut self) {
        if self.network.state(1, 3) != State::Established {
            // Longer than the longest patience with a peer that errs.
            self.network.run(Duration::from_secs(70));
            self.conn.0 += 1;
            let now = self.network.now();
            let direction = Direction::Incoming;
            let connected = Connected { conn: self.conn, peer: v4(3), direction };
            self.network.speaker(1).handle_connected(connected, now);
            self.say(&open());
            self.say(&keepalive());
            assert_eq!(self.network.state(1, 3), State::Established);
        }
        self.say(&keepalive());
        self.say(&announcement(TOLD[0], v4(3)));
        self.say(&announcement(TOLD[1], super::harness::v6(3)));
    }

    fn check_the_good_peer(&mut self, why: &str) {
        let blocks = |node| own(node).into_iter().map(|one| one.prefix);
        for (node, other) in [(1, 2), (2, 1)] {
            let status = self.network.status(node, v4(other));
            let stands = status.state == State::Established && status.flaps == 0;
            assert!(stands && status.prefixes_stale == 0, "{why}: {status:?}");
            let fib: BTreeSet<_> = self.network.nodes[&node].fib.keys().copied().collect();
            assert!(blocks(other).all(|prefix| fib.contains(&prefix)), "{why}: {fib:?}");
        }
        // Of the bad peer's routes 2 knows what 1 uses.
        let of_bad = |node: u8| -> Vec<_> {
            let fib = self.network.nodes[&node].fib.keys();
            fib.filter(|one| blocks(1).chain(blocks(2)).all(|own| own != **one)).copied().collect()
        };
        assert_eq!(of_bad(1), of_bad(2), "{why}");
    }
}

fn session() -> SessionParameters {
    SessionParameters {
        four_octet_as: true,
        families: bgp_wire::Families::BOTH,
        ..SessionParameters::before_open(bgp_wire::PeerKind::External)
    }
}

fn open() -> Vec<u8> {
    let asn = Asn::new(BAD_AS);
    let capabilities = vec![
        Capability::Multiprotocol(AfiSafi::IPV4_UNICAST),
        Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
        Capability::FourOctetAs(asn),
    ];
    let router_id = "192.0.2.3".parse().unwrap();
    let mut octets = BytesMut::new();
    Open { asn, hold_time: HoldTime::INFINITE, router_id, capabilities }.encode(&mut octets);
    octets.to_vec()
}

fn keepalive() -> Vec<u8> {
    let mut octets = BytesMut::new();
    Message::encode_keepalive(&mut octets);
    octets.to_vec()
}

/// With every attribute that an external peer may send.
fn announcement(text: &str, next_hop: std::net::IpAddr) -> Vec<u8> {
    let attributes = PathAttributes {
        as_path: AsPath::sequence([BAD_AS, 65100].map(Asn::new)),
        med: Some(7),
        atomic_aggregate: true,
        aggregator: Some(bgp_wire::Aggregator {
            asn: Asn::new(65100),
            address: [192, 0, 2, 3].into(),
        }),
        communities: vec![Community::new(65100, 1)],
        extended_communities: vec![bgp_wire::ExtendedCommunity(0x0002_fe4c_0000_0001)],
        large_communities: vec![LargeCommunity {
            global_administrator: 65100,
            local_data_1: 1,
            local_data_2: 2,
        }],
        ..PathAttributes::default()
    };
    let mut octets = BytesMut::new();
    let prefixes = [prefix(text).into()];
    let attributes = (&attributes).into();
    encode_announcements(&session(), &attributes, next_hop.into(), &prefixes, &mut octets).unwrap();
    octets.to_vec()
}

/// Every octet of both messages changed, in ways that make flags, types, lengths and values wrong.
#[test]
fn no_octet_of_an_update_disturbs_another_session() {
    let mut between = Between::new();
    let (mut kept, mut ended) = (0, 0);
    for (text, next_hop) in [(TOLD[0], v4(3)), (TOLD[1], super::harness::v6(3))] {
        let good = announcement(text, next_hop);
        for at in 0..good.len() {
            for change in [0x01, 0x10, 0x40, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= change;
                between.begin();
                between.say(&bad);
                // What a changed length of the whole message has waited for.
                between.say(&keepalive());
                let why = format!("{text}: octet {at} by {change:02x}");
                between.check_the_good_peer(&why);
                match between.network.state(1, 3) {
                    State::Established => kept += 1,
                    _ => ended += 1,
                }
            }
        }
    }
    // Most of it is nothing to end a session for (RFC 7606).
    assert!(kept > 2 * ended && ended > 100, "{kept} kept, {ended} ended");
}

/// Messages cut short, each behind a header that says so.
#[test]
fn no_end_of_an_update_disturbs_another_session() {
    let mut between = Between::new();
    for (text, next_hop) in [(TOLD[0], v4(3)), (TOLD[1], super::harness::v6(3))] {
        let good = announcement(text, next_hop);
        for len in 19..good.len() {
            let mut bad = good[..len].to_vec();
            bad[16..18].copy_from_slice(&(len as u16).to_be_bytes());
            between.begin();
            between.say(&bad);
            between.check_the_good_peer(&format!("{text}: {len} octets"));
        }
    }
}

/// Messages out of their place, and OPENs of which every octet is wrong once.
#[test]
fn no_message_out_of_place_disturbs_another_session() {
    let mut between = Between::new();
    for kind in 0..=7 {
        for body in [&[][..], &[0], &[6, 2], &[0, 1, 0, 1], &[0xff; 10]] {
            let mut message = vec![0xff; 16];
            message.extend((19 + body.len() as u16).to_be_bytes());
            message.push(kind);
            message.extend(body);
            between.begin();
            between.say(&message);
            between.check_the_good_peer(&format!("kind {kind}, {body:?}"));
        }
    }
    between.begin();
    let good = open();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        between.network.run(Duration::from_secs(70));
        between.conn.0 += 1;
        let now = between.network.now();
        let connected =
            Connected { conn: between.conn, peer: v4(3), direction: Direction::Incoming };
        between.network.speaker(1).handle_connected(connected, now);
        between.say(&bad);
        between.check_the_good_peer(&format!("OPEN, octet {at}"));
        between.network.speaker(1).handle_closed(between.conn, "closed", now);
    }
}
