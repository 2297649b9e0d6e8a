//! Records as RFC 6396 and RFC 8050 lay them out.

use bgp_wire::{AttributeSet, BgpNextHop, Message, Nlri, PathAttributes, PeerKind};
use bytes::{BufMut, BytesMut};
use viaduct_net::{Asn, Prefix};

use super::{decoded, encoded};
use crate::{
    Body, Error, HEADER_LEN, IndexedPeer, MAX_RECORD_LEN, PeerIndexTable, PeerState, Record,
    RibEntry, RibRecord, Session, SessionMessage, StateChange, Timestamp,
};

fn record(body: Body) -> Record {
    Record { at: Timestamp { secs: 0x0102_0304, micros: None }, body }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn entry(attributes: &'static [u8]) -> RibEntry {
    RibEntry { peer: 1, originated: 5, path_id: 0, attributes: attributes.into() }
}

fn session(peer: &str, local: &str) -> Session {
    Session {
        peer_asn: Asn::new(65001),
        local_asn: Asn::new(65002),
        interface: 7,
        peer: peer.parse().unwrap(),
        local: local.parse().unwrap(),
    }
}

#[test]
fn the_index_of_peers() {
    let v4 = IndexedPeer {
        router_id: [192, 0, 2, 1].into(),
        address: "192.0.2.9".parse().unwrap(),
        asn: Asn::new(70000),
    };
    let v6 = IndexedPeer { address: "2001:db8::9".parse().unwrap(), ..v4 };
    let table = PeerIndexTable {
        collector: [192, 0, 2, 2].into(),
        view: "main".to_owned(),
        peers: vec![v4, v6],
    };
    let octets = encoded(&record(Body::PeerIndexTable(table)));
    let mut expected = BytesMut::new();
    expected.put_slice(&[1, 2, 3, 4, 0, 13, 0, 1, 0, 0, 0, 50]);
    expected.put_slice(&[192, 0, 2, 2, 0, 4]);
    expected.put_slice(b"main");
    expected.put_slice(&[0, 2]);
    expected.put_slice(&[2, 192, 0, 2, 1, 192, 0, 2, 9, 0, 1, 0x11, 0x70]);
    expected.put_slice(&[3, 192, 0, 2, 1, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    expected.put_slice(&[0, 1, 0x11, 0x70]);
    assert_eq!(octets, expected);
}

#[test]
fn a_peer_with_two_octets_of_as_number_is_read() {
    let octets = [
        0, 0, 0, 0, 0, 13, 0, 1, 0, 0, 0, 19, 1, 1, 1, 1, 0, 0, 0, 1, 0, 9, 9, 9, 9, 10, 0, 0, 1,
        0xfd, 0xe8,
    ];
    let Body::PeerIndexTable(table) = &decoded(&octets)[0].body else { panic!("no index") };
    assert_eq!(table.peers[0].asn, Asn::new(65000));
}

#[test]
fn a_next_hop_of_ipv6_stands_alone_in_mp_reach_nlri() {
    let attributes = AttributeSet::from(PathAttributes { med: Some(9), ..Default::default() });
    let global = "2001:db8::1".parse().unwrap();
    let entry = RibEntry::new(3, 0, &attributes, BgpNextHop::V6 { global, link_local: None });
    // ORIGIN, AS_PATH and MED; then MP_REACH_NLRI with a length and sixteen octets.
    let mp = [0x80, 14, 17, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(entry.attributes[..attributes.octets().len()], *attributes.octets());
    assert_eq!(entry.attributes[attributes.octets().len()..], mp);
    for text in ["2001:db8:1::/48", "10.0.0.0/8"] {
        let update = entry.update(prefix(text), PeerKind::External).unwrap();
        assert_eq!(update.announced[0].prefixes, [prefix(text).into()]);
        assert_eq!(update.announced[0].next_hop.address(), global);
        assert_eq!(update.attributes, attributes);
    }
}

#[test]
fn a_next_hop_of_ipv4_stands_in_its_place() {
    let attributes = AttributeSet::from(PathAttributes { med: Some(9), ..Default::default() });
    let next_hop = BgpNextHop::V4([192, 0, 2, 1].into());
    let entry = RibEntry::new(3, 8, &attributes, next_hop);
    let expected = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1, 0x80, 4, 4, 0, 0, 0, 9];
    assert_eq!(entry.attributes[..], expected);
    let update = entry.update(prefix("10.0.0.0/8"), PeerKind::External).unwrap();
    assert_eq!(update.announced[0].next_hop, next_hop);
    assert_eq!(update.announced[0].prefixes, [Nlri { prefix: prefix("10.0.0.0/8"), path_id: 8 }]);
}

#[test]
fn an_mp_reach_nlri_that_is_whole_is_read_too() {
    // As Quagga wrote them: family, next hop, and the prefix once more.
    let whole = entry(&[
        0x40, 1, 1, 0, 0x40, 2, 0, 0x80, 14, 26, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 1, 0, 32, 0x20, 1, 0xd, 0xb8,
    ]);
    let update = whole.update(prefix("2001:db8::/32"), PeerKind::External).unwrap();
    assert_eq!(update.announced[0].prefixes, [prefix("2001:db8::/32").into()]);
}

#[test]
fn what_bird_writes_is_read() {
    // BIRD 2.0.12 leaves the flags of NEXT_HOP and LOCAL_PREF out.
    let v4 = entry(&[
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0, 0, 3, 4, 192, 0, 2, 1, 0, 5, 4, 0, 0, 0,
        100,
    ]);
    let update = v4.update(prefix("10.1.0.0/24"), PeerKind::Internal).unwrap();
    assert_eq!(update.announced[0].next_hop, BgpNextHop::V4([192, 0, 2, 1].into()));
    assert_eq!(update.attributes.open().local_pref, Some(100));
    assert!(update.malformed.is_empty());
    let v6 = entry(&[
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0, 0, 5, 4, 0, 0, 0, 100, 0x80, 14, 17, 16,
        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    ]);
    let update = v6.update(prefix("fd00:1::/64"), PeerKind::Internal).unwrap();
    assert_eq!(update.announced[0].prefixes, [prefix("fd00:1::/64").into()]);
}

#[test]
fn a_faulty_entry_announces_nothing() {
    for attributes in
        [&[0x40, 1, 1][..], &[0x40, 1, 1, 7, 0x40, 2, 0], &[], &[0x40], &[0x80, 14, 0]]
    {
        for text in ["10.0.0.0/8", "2001:db8::/32"] {
            let entry = RibEntry { attributes: attributes.to_vec().into(), ..entry(&[]) };
            let announced =
                entry.update(prefix(text), PeerKind::Internal).map(|update| update.announced);
            assert!(announced.is_err() || announced.unwrap().is_empty(), "{attributes:?} {text}");
        }
    }
}

/// Found by fuzzing.
#[test]
fn an_entry_takes_no_other_prefix_away() {
    let attributes = &[
        0x40, 1, 1, 0, // ORIGIN
        0x40, 2, 0, // AS_PATH
        0x40, 3, 4, 192, 0, 2, 1, // NEXT_HOP
        0x80, 15, 7, 0, 1, 1, 8, 10, 8, 11, // MP_UNREACH_NLRI: 10.0.0.0/8, 11.0.0.0/8
    ];
    let update = entry(attributes).update(prefix("10.0.0.0/8"), PeerKind::Internal).unwrap();
    assert_eq!(update.withdrawn, [prefix("10.0.0.0/8").into()]);
    assert_eq!(update.announced[0].prefixes, [prefix("10.0.0.0/8").into()]);
}

#[test]
fn path_identifiers_make_another_subtype() {
    let path = RibEntry { path_id: 0x0a0b_0c0d, ..entry(&[0x40, 1, 1, 0]) };
    let plain = RibRecord {
        sequence: 9,
        prefix: prefix("10.128.0.0/9"),
        has_path_ids: false,
        entries: vec![RibEntry { path_id: 0, ..path.clone() }],
    };
    let numbered = RibRecord { has_path_ids: true, entries: vec![path], ..plain.clone() };
    let head = [0, 0, 0, 9, 9, 10, 128, 0, 1, 0, 1, 0, 0, 0, 5];
    let without = encoded(&record(Body::Rib(plain)));
    assert_eq!(without[4..8], [0, 13, 0, 2]);
    assert_eq!(without[HEADER_LEN..], [&head[..], &[0, 4, 0x40, 1, 1, 0]].concat());
    let with = encoded(&record(Body::Rib(numbered)));
    assert_eq!(with[4..8], [0, 13, 0, 8]);
    assert_eq!(with[HEADER_LEN..], [&head[..], &[10, 11, 12, 13, 0, 4, 0x40, 1, 1, 0]].concat());
}

#[test]
fn messages_of_sessions() {
    let mut keepalive = BytesMut::new();
    Message::encode_keepalive(&mut keepalive);
    let message = SessionMessage {
        session: session("192.0.2.1", "192.0.2.2"),
        has_four_octet_as: true,
        has_path_ids: false,
        is_local: false,
        octets: keepalive.clone().freeze(),
    };
    let at = Timestamp { secs: 1, micros: Some(2) };
    let octets = encoded(&Record { at, body: Body::Message(message.clone()) });
    assert_eq!(octets[..HEADER_LEN], [0, 0, 0, 1, 0, 17, 0, 4, 0, 0, 0, 43]);
    let head = [0, 0, 0, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea, 0, 7, 0, 1];
    assert_eq!(octets[HEADER_LEN..HEADER_LEN + 16], head);
    assert_eq!(octets[HEADER_LEN + 16..HEADER_LEN + 24], [192, 0, 2, 1, 192, 0, 2, 2]);
    assert_eq!(message.message(PeerKind::External), Ok(Some(Message::Keepalive)));
    let half = SessionMessage { octets: keepalive.freeze().slice(..18), ..message };
    assert_eq!(half.message(PeerKind::External), Ok(None));
}

#[test]
fn states_of_sessions() {
    let change = StateChange {
        session: session("2001:db8::1", "2001:db8::2"),
        old: PeerState::OpenConfirm,
        new: PeerState::Established,
    };
    let octets = encoded(&record(Body::StateChange(change)));
    assert_eq!(octets[4..8], [0, 16, 0, 5]);
    assert_eq!(octets[octets.len() - 4..], [0, 5, 0, 6]);
    let mut wrong = octets.clone();
    let end = wrong.len() - 1;
    wrong[end] = 7;
    let (read, len) = Record::first(&wrong).unwrap().unwrap();
    assert_eq!((read, len), (Err(Error::State(7)), wrong.len()));
}

#[test]
fn what_is_too_long_is_refused_before_it_is_there() {
    let header = [0, 0, 0, 0, 0, 13, 0, 2, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(Record::first(&header), Err(Error::TooLong(u64::from(u32::MAX) + 12)));
    let entries = vec![RibEntry { attributes: vec![0; 65000].into(), ..entry(&[]) }; 150];
    let rib = RibRecord { sequence: 0, prefix: prefix("::/0"), has_path_ids: false, entries };
    let mut out = BytesMut::from(&b"before"[..]);
    let refused = record(Body::Rib(rib)).encode(&mut out).unwrap_err();
    assert!(matches!(refused, Error::TooLong(len) if len > MAX_RECORD_LEN as u64));
    assert_eq!(out, b"before"[..]);
}

#[test]
fn a_fault_costs_its_record_alone() {
    let change = StateChange {
        session: session("192.0.2.1", "192.0.2.2"),
        old: PeerState::Idle,
        new: PeerState::Connect,
    };
    let good = record(Body::StateChange(change));
    let mut octets = BytesMut::new();
    octets.put_slice(&[0, 0, 0, 0, 0, 13, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 33]);
    octets.put_slice(&[0, 0, 0, 0, 0, 99, 0, 2, 0, 0, 0, 1, 77]);
    octets.put_slice(&encoded(&good));
    let other = Record { at: Timestamp::default(), body: Body::Other { kind: 99, subtype: 2 } };
    assert_eq!(decoded(&octets), [other, good]);
}
