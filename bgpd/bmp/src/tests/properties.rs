use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use proptest::prelude::*;
use viaduct_net::Asn;

use super::{encoded, open};
use crate::{
    Information, Message, Moment, PeerDownReason, PeerHeader, PeerUp, Statistic, StatisticKind,
    Table,
};

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()),
    ]
}

fn header() -> impl Strategy<Value = PeerHeader> {
    let peer = (any::<bool>(), any::<bool>(), address(), any::<bool>(), any::<u64>());
    let peer = peer.prop_map(|(out, post_policy, address, is_two_octet_as, distinguisher)| {
        let table =
            if out { Table::AdjRibOut { post_policy } } else { Table::AdjRibIn { post_policy } };
        let header = PeerHeader::new(table, address, Asn::new(0), Ipv4Addr::UNSPECIFIED);
        PeerHeader { is_two_octet_as, distinguisher: distinguisher % 3, ..header }
    });
    let local = any::<bool>().prop_map(|filtered| {
        let header = PeerHeader::loc_rib(Asn::new(0), Ipv4Addr::UNSPECIFIED);
        PeerHeader { table: Table::LocRib { filtered }, ..header }
    });
    let rest = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    (prop_oneof![peer, local], rest).prop_map(|(header, (asn, id, secs, micros))| PeerHeader {
        asn: Asn::new(asn),
        router_id: id.into(),
        at: Moment { secs, micros },
        ..header
    })
}

fn octets() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..60).prop_map(Bytes::from)
}

fn information() -> impl Strategy<Value = Vec<Information>> {
    let one = (any::<u16>(), octets()).prop_map(|(kind, value)| Information { kind, value });
    prop::collection::vec(one, 0..4)
}

fn reason() -> impl Strategy<Value = PeerDownReason> {
    prop_oneof![
        octets().prop_map(PeerDownReason::LocalNotification),
        any::<u16>().prop_map(PeerDownReason::LocalEvent),
        octets().prop_map(PeerDownReason::RemoteNotification),
        Just(PeerDownReason::RemoteSilence),
        Just(PeerDownReason::NotMonitored),
        information().prop_map(PeerDownReason::LocRibClosed),
    ]
}

fn statistic() -> impl Strategy<Value = Statistic> {
    (0u16..18, any::<u32>(), any::<u16>(), any::<u8>()).prop_map(|(kind, value, afi, safi)| {
        let has_family = matches!(kind, 9 | 10 | 16 | 17);
        let family = has_family.then_some(bgp_wire::AfiSafi { afi, safi });
        Statistic { kind: StatisticKind(kind), family, value: value.into() }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let up = (header(), any::<u16>(), any::<u16>(), information());
    let up = up.prop_map(|(header, local_port, remote_port, information)| {
        let local = match header.address {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let (sent, received) = (open(65001), open(70000));
        Message::PeerUp(
            header,
            PeerUp { local, local_port, remote_port, sent, received, information },
        )
    });
    let statistics = prop::collection::vec(statistic(), 0..6);
    prop_oneof![
        (header(), octets()).prop_map(|(header, update)| Message::RouteMonitoring(header, update)),
        (header(), statistics).prop_map(|(header, all)| Message::StatisticsReport(header, all)),
        (header(), reason()).prop_map(|(header, reason)| Message::PeerDown(header, reason)),
        up,
        information().prop_map(Message::Initiation),
        information().prop_map(Message::Termination),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message()) {
        let octets = encoded(&message);
        prop_assert_eq!(Message::first(&octets), Ok(Some((Ok(message), octets.len()))));
        for cut in 0..octets.len() {
            prop_assert_eq!(Message::first(&octets[..cut]), Ok(None));
        }
    }

    #[test]
    fn nothing_that_is_read_can_do_harm(
        kind in 0u8..8,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut octets = vec![3];
        octets.extend((body.len() as u32 + 6).to_be_bytes());
        octets.push(kind);
        octets.extend(&body);
        let (read, len) = Message::first(&octets).unwrap().unwrap();
        prop_assert_eq!(len, octets.len());
        // What is understood can be said again.
        if let Ok(message) = read && !matches!(message, Message::Other(_)) {
            let again = encoded(&message);
            prop_assert_eq!(Message::first(&again), Ok(Some((Ok(message), again.len()))));
        }
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(
        message in message(),
        at in any::<prop::sample::Index>(),
        octet in any::<u8>(),
    ) {
        let mut octets = encoded(&message);
        let at = at.index(octets.len());
        octets[at] = octet;
        drop(Message::first(&octets));
    }
}
