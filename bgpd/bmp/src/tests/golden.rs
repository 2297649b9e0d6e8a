//! Messages as the RFCs lay them out.

use bgp_wire::{AfiSafi, encode_end_of_rib};
use bytes::{BufMut, BytesMut};
use viaduct_net::{Asn, Family};

use super::{encoded, open};
use crate::{
    Error, HEADER_LEN, Information, Message, Moment, PEER_HEADER_LEN, PeerDownReason, PeerHeader,
    PeerUp, Statistic, StatisticKind, Table, put_updates,
};

fn header(table: Table, address: &str) -> PeerHeader {
    let address = address.parse().unwrap();
    let header = PeerHeader::new(table, address, Asn::new(70000), [192, 0, 2, 9].into());
    PeerHeader { at: Moment { secs: 1, micros: 2 }, ..header }
}

/// The header of a peer: without the common header in front and what stands behind.
fn peer_octets(header: PeerHeader) -> Vec<u8> {
    let octets = encoded(&Message::PeerDown(header, PeerDownReason::RemoteSilence));
    octets[HEADER_LEN..HEADER_LEN + PEER_HEADER_LEN].to_vec()
}

#[test]
fn the_header_says_whose_and_which_table() {
    let v4 = peer_octets(header(Table::AdjRibIn { post_policy: false }, "192.0.2.1"));
    let mut expected = vec![0, 0];
    expected.extend([0; 8]);
    expected.extend([0; 12]);
    expected.extend([192, 0, 2, 1, 0, 1, 0x11, 0x70, 192, 0, 2, 9, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert_eq!(v4, expected);
    let kinds = |header| peer_octets(header)[..2].to_vec();
    for (table, v4, v6) in [
        (Table::AdjRibIn { post_policy: false }, [0, 0], [0, 0x80]),
        (Table::AdjRibIn { post_policy: true }, [0, 0x40], [0, 0xc0]),
        (Table::AdjRibOut { post_policy: false }, [0, 0x10], [0, 0x90]),
        (Table::AdjRibOut { post_policy: true }, [0, 0x50], [0, 0xd0]),
        (Table::LocRib { filtered: false }, [3, 0], [3, 0]),
        (Table::LocRib { filtered: true }, [3, 0x80], [3, 0x80]),
    ] {
        assert_eq!(kinds(header(table, "192.0.2.1")), v4, "{table:?}");
        assert_eq!(kinds(header(table, "2001:db8::1")), v6, "{table:?}");
    }
    let two = PeerHeader {
        is_two_octet_as: true,
        distinguisher: 7,
        ..header(Table::AdjRibIn { post_policy: false }, "192.0.2.1")
    };
    assert_eq!(peer_octets(two)[..10], [1, 0x20, 0, 0, 0, 0, 0, 0, 0, 7]);
}

#[test]
fn the_first_words_and_the_last() {
    let information = vec![
        Information::new(Information::SYSTEM_DESCRIPTION, "bgpd"),
        Information::new(Information::SYSTEM_NAME, "r1"),
    ];
    let octets = encoded(&Message::Initiation(information));
    assert_eq!(octets[..6], [3, 0, 0, 0, 20, 4]);
    assert_eq!(octets[6..], *b"\0\x01\0\x04bgpd\0\x02\0\x02r1");
    let reason = Information { kind: Information::REASON, value: vec![0, 0].into() };
    let octets = encoded(&Message::Termination(vec![reason]));
    assert_eq!(octets[..], [3, 0, 0, 0, 12, 5, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn a_session_that_is_up() {
    let peer = header(Table::AdjRibIn { post_policy: false }, "192.0.2.1");
    let up = PeerUp {
        local: "192.0.2.2".parse().unwrap(),
        local_port: 179,
        remote_port: 0x1234,
        sent: open(65001),
        received: open(70000),
        information: vec![Information::new(Information::TABLE_NAME, "main")],
    };
    let octets = encoded(&Message::PeerUp(peer, up.clone()));
    let mut body = vec![0; 12];
    body.extend([192, 0, 2, 2, 0, 179, 0x12, 0x34]);
    body.extend(up.sent.iter().chain(&up.received));
    body.extend(b"\0\x03\0\x04main");
    assert_eq!(octets[HEADER_LEN + PEER_HEADER_LEN..], body);
    let wrong = Message::PeerUp(peer, PeerUp { sent: vec![0xff; 19].into(), ..up });
    assert_eq!(wrong.encode(&mut BytesMut::new()), Err(Error::Open));
}

#[test]
fn a_session_that_is_down() {
    let peer = header(Table::AdjRibIn { post_policy: false }, "192.0.2.1");
    let name = vec![Information::new(Information::TABLE_NAME, "x")];
    for (reason, octets) in [
        (PeerDownReason::LocalNotification(vec![9, 8].into()), &[1, 9, 8][..]),
        (PeerDownReason::LocalEvent(18), &[2, 0, 18]),
        (PeerDownReason::RemoteNotification(vec![7].into()), &[3, 7]),
        (PeerDownReason::RemoteSilence, &[4]),
        (PeerDownReason::NotMonitored, &[5]),
        (PeerDownReason::LocRibClosed(name), &[6, 0, 3, 0, 1, b'x']),
    ] {
        let whole = encoded(&Message::PeerDown(peer, reason));
        assert_eq!(whole[HEADER_LEN + PEER_HEADER_LEN..], *octets);
    }
}

#[test]
fn numbers_have_the_width_of_their_kind() {
    let peer = header(Table::AdjRibIn { post_policy: false }, "192.0.2.1");
    let statistics = vec![
        Statistic::new(StatisticKind::REJECTED_BY_POLICY, 5),
        Statistic::new(StatisticKind::ADJ_RIB_IN, 6),
        Statistic {
            family: Some(AfiSafi::IPV6_UNICAST),
            ..Statistic::new(StatisticKind::ADJ_RIB_IN_OF_FAMILY, 7)
        },
    ];
    let octets = encoded(&Message::StatisticsReport(peer, statistics));
    let mut expected = vec![0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5];
    expected.extend([0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 6]);
    expected.extend([0, 9, 0, 11, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(octets[HEADER_LEN + PEER_HEADER_LEN..], expected);
    let without_family = Statistic::new(StatisticKind::LOC_RIB_OF_FAMILY, 1);
    let refused = Message::StatisticsReport(peer, vec![without_family]);
    assert_eq!(refused.encode(&mut BytesMut::new()), Err(Error::Statistic(10)));
}

#[test]
fn each_update_is_a_message_of_its_own() {
    let peer = header(Table::AdjRibOut { post_policy: true }, "192.0.2.1");
    let mut updates = BytesMut::new();
    encode_end_of_rib(Family::V4, &mut updates);
    let first = updates.clone().freeze();
    bgp_wire::Message::encode_keepalive(&mut updates);
    let both = updates.len();
    encode_end_of_rib(Family::V6, &mut updates);
    let second = updates.clone().freeze().slice(both..);
    updates.put_slice(&[0xff; 18]);
    let mut out = BytesMut::new();
    assert_eq!(put_updates(&peer, &updates, &mut out), 2);
    let mut expected = encoded(&Message::RouteMonitoring(peer, first));
    expected.put_slice(&encoded(&Message::RouteMonitoring(peer, second)));
    assert_eq!(out, expected);
}

#[test]
fn what_is_no_bmp_is_refused_at_once() {
    assert_eq!(Message::first(&[4]), Err(Error::Version(4)));
    assert_eq!(Message::first(&[3, 0xff, 0, 0, 0, 0]), Err(Error::Length(0xff00_0000)));
    assert_eq!(Message::first(&[3, 0, 0, 0, 5, 0]), Err(Error::Length(5)));
    assert_eq!(Message::first(&[3, 0, 0, 0, 8, 99, 1, 2]), Ok(Some((Ok(Message::Other(99)), 8))));
}
