use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_wire::PeerKind;
use proptest::prelude::*;
use viaduct_net::{Asn, Family, Prefix};

use super::encoded;
use crate::{
    Body, IndexedPeer, PeerIndexTable, PeerState, Record, RibEntry, RibRecord, Session,
    SessionMessage, StateChange, Timestamp,
};

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()),
    ]
}

fn prefix() -> impl Strategy<Value = Prefix> {
    (address(), any::<u8>()).prop_map(|(address, len)| {
        let bits = Family::of(address).bits();
        Prefix::new(address, len % (bits + 1)).unwrap()
    })
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..80)
}

fn index() -> impl Strategy<Value = Body> {
    let peer = (any::<u32>(), address(), any::<u32>()).prop_map(|(id, address, asn)| IndexedPeer {
        router_id: id.into(),
        address,
        asn: Asn::new(asn),
    });
    let peers = prop::collection::vec(peer, 0..9);
    (any::<u32>(), ".{0,20}", peers).prop_map(|(collector, view, peers)| {
        Body::PeerIndexTable(PeerIndexTable { collector: collector.into(), view, peers })
    })
}

fn rib() -> impl Strategy<Value = Body> {
    let entry = (any::<u16>(), any::<u32>(), any::<u32>(), octets());
    let entries = prop::collection::vec(entry, 0..5);
    (any::<u32>(), prefix(), any::<bool>(), entries).prop_map(|(sequence, prefix, ids, entries)| {
        let entries = entries.into_iter().map(|(peer, originated, path_id, attributes)| RibEntry {
            peer,
            originated,
            path_id: if ids { path_id } else { 0 },
            attributes: attributes.into(),
        });
        Body::Rib(RibRecord { sequence, prefix, has_path_ids: ids, entries: entries.collect() })
    })
}

fn session(four: bool) -> impl Strategy<Value = Session> {
    let asn = if four { any::<u32>().boxed() } else { any::<u16>().prop_map(u32::from).boxed() };
    (asn, address(), any::<u16>()).prop_map(|(asn, peer, interface)| Session {
        peer_asn: Asn::new(asn),
        local_asn: Asn::new(65001),
        interface,
        peer,
        local: match peer {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        },
    })
}

fn message() -> impl Strategy<Value = Body> {
    (any::<bool>(), any::<bool>(), any::<bool>(), octets()).prop_flat_map(
        |(four, ids, is_local, octets)| {
            session(four).prop_map(move |session| {
                Body::Message(SessionMessage {
                    session,
                    has_four_octet_as: four,
                    has_path_ids: ids,
                    is_local,
                    octets: octets.clone().into(),
                })
            })
        },
    )
}

fn state_change() -> impl Strategy<Value = Body> {
    session(true).prop_map(|session| {
        let (old, new) = (PeerState::Active, PeerState::OpenSent);
        Body::StateChange(StateChange { session, old, new })
    })
}

fn record() -> impl Strategy<Value = Record> {
    let bgp4mp = prop_oneof![message(), state_change()];
    let table = prop_oneof![index(), rib()];
    let dated = (any::<u32>(), prop::option::of(0..1_000_000u32), bgp4mp)
        .prop_map(|(secs, micros, body)| Record { at: Timestamp { secs, micros }, body });
    let plain = (any::<u32>(), table)
        .prop_map(|(secs, body)| Record { at: Timestamp { secs, micros: None }, body });
    prop_oneof![dated, plain]
}

proptest! {
    #[test]
    fn what_is_written_is_read(record in record()) {
        let octets = encoded(&record);
        let (read, len) = Record::first(&octets).unwrap().unwrap();
        prop_assert_eq!((read, len), (Ok(record), octets.len()));
        for cut in 0..octets.len() {
            prop_assert_eq!(Record::first(&octets[..cut]), Ok(None));
        }
    }

    /// Octets of chance behind a header that promises something.
    #[test]
    fn nothing_that_is_read_can_do_harm(
        kind in prop::sample::select(vec![13u16, 16, 17, 12]),
        subtype in 0u16..14,
        body in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut octets = vec![0, 0, 0, 0];
        octets.extend(kind.to_be_bytes());
        octets.extend(subtype.to_be_bytes());
        octets.extend((body.len() as u32).to_be_bytes());
        octets.extend(&body);
        let (read, len) = Record::first(&octets).unwrap().unwrap();
        prop_assert_eq!(len, octets.len());
        let Ok(record) = read else { return Ok(()) };
        match &record.body {
            Body::Rib(rib) => for entry in &rib.entries {
                drop(entry.update(rib.prefix, PeerKind::External));
            },
            Body::Message(message) => drop(message.message(PeerKind::Internal)),
            Body::PeerIndexTable(_) | Body::StateChange(_) | Body::Other { .. } => {}
        }
    }

    /// Octets of chance that have been damaged within a record.
    #[test]
    fn a_damaged_record_is_read_or_refused(
        record in record(),
        at in any::<prop::sample::Index>(),
        octet in any::<u8>(),
    ) {
        let mut octets = encoded(&record);
        let at = at.index(octets.len());
        octets[at] = octet;
        if let Ok(Some((Ok(Record { body: Body::Rib(rib), .. }), _))) = Record::first(&octets) {
            for entry in &rib.entries {
                drop(entry.update(rib.prefix, PeerKind::Internal));
            }
        }
    }
}
