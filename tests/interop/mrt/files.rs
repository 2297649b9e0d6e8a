//! Files to be replayed.

use std::{fs, net::Ipv4Addr, path::Path};

use bgp_mrt::{
    Body, IndexedPeer, PeerIndexTable, Record, RibEntry, RibRecord, Session, SessionMessage,
    Timestamp,
};
use bgp_speaker::Policy;
use bgp_wire::{
    AsPath, AttributeSet, Families, PathAttributes, PeerKind, SessionParameters,
    encode_announcements, encode_withdrawals,
};
use bgpd::Replay;
use bytes::BytesMut;
use viaduct_net::{Asn, Prefix};

use crate::lab::node::{prefix, v4};

pub(crate) fn replay(file: &Path, asn: u32) -> Replay {
    Replay {
        file: file.to_owned(),
        asn: Asn::new(asn),
        next_hop: None,
        import: Policy::accept_all(),
    }
}

/// One peer, one route for each record, a hundred attribute sets.
pub(crate) fn write_table(file: &Path, routes: u32) {
    let peer =
        IndexedPeer { router_id: [192, 0, 2, 9].into(), address: v4(9), asn: Asn::new(65001) };
    let at = Timestamp { secs: 1, micros: None };
    let index =
        PeerIndexTable { collector: peer.router_id, view: String::new(), peers: vec![peer] };
    let mut out = BytesMut::new();
    Record { at, body: Body::PeerIndexTable(index) }.encode(&mut out).unwrap();
    let sets: Vec<_> = (0..100)
        .map(|med| AttributeSet::from(PathAttributes { med: Some(med), ..Default::default() }))
        .collect();
    for sequence in 0..routes {
        let address = Ipv4Addr::from(0x0b00_0000 + (sequence << 8));
        let attributes = &sets[sequence as usize % sets.len()];
        let record = RibRecord {
            sequence,
            prefix: Prefix::new(address.into(), 24).unwrap(),
            has_path_ids: false,
            entries: vec![RibEntry::new(0, 0, attributes, v4(9).into())],
        };
        Record { at, body: Body::Rib(record) }.encode(&mut out).unwrap();
    }
    fs::write(file, out).unwrap();
}

/// What a peer of AS 65009 has said, one UPDATE after the other: `+` announces a prefix, `-` withdraws it.
pub(crate) fn write_log(file: &Path, said: &[&str]) {
    let session = Session {
        peer_asn: Asn::new(65009),
        local_asn: Asn::new(64512),
        interface: 0,
        peer: v4(9),
        local: v4(1),
    };
    let parameters = SessionParameters {
        four_octet_as: true,
        families: Families::BOTH,
        ..SessionParameters::before_open(PeerKind::External)
    };
    let mut out = BytesMut::new();
    for (med, word) in (0..).zip(said) {
        let (sign, text) = word.split_at(1);
        let prefixes = [prefix(text).into()];
        let mut octets = BytesMut::new();
        if sign == "+" {
            let as_path = AsPath::sequence([Asn::new(65009)]);
            let attributes = PathAttributes { as_path, med: Some(med), ..Default::default() };
            let attributes = attributes.into();
            encode_announcements(&parameters, &attributes, v4(9).into(), &prefixes, &mut octets)
                .unwrap();
        } else {
            encode_withdrawals(&parameters, &prefixes, &mut octets);
        }
        let message = SessionMessage {
            session,
            has_four_octet_as: true,
            has_path_ids: false,
            is_local: false,
            octets: octets.freeze(),
        };
        let at = Timestamp { secs: 1, micros: None };
        Record { at, body: Body::Message(message) }.encode(&mut out).unwrap();
    }
    fs::write(file, out).unwrap();
}
