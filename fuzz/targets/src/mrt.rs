use bgp_mrt::{Body, Record};
use bgp_wire::PeerKind;
use bytes::BytesMut;

/// A file of MRT: nothing is read beyond a record's end, and what has been understood is understood again
/// when it has been written.
pub fn mrt(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((record, len))) = Record::first(rest) {
        rest = &rest[len..];
        let Ok(record) = record else { continue };
        let mut said = BytesMut::new();
        // A kind that is not known has no body to be written.
        if record.encode(&mut said).is_ok() && !matches!(record.body, Body::Other { .. }) {
            assert_eq!(Record::first(&said), Ok(Some((Ok(record.clone()), said.len()))));
        }
        for kind in [PeerKind::Internal, PeerKind::External] {
            read_routes(&record.body, kind);
        }
    }
}

/// As the source of routes that a replay is.
fn read_routes(body: &Body, kind: PeerKind) {
    match body {
        Body::Rib(rib) => {
            for entry in &rib.entries {
                let Ok(update) = entry.update(rib.prefix, kind) else { continue };
                let announced = update.announced.iter().flat_map(|one| &one.prefixes);
                let mut all = announced.chain(&update.withdrawn);
                assert!(all.all(|nlri| nlri.prefix == rib.prefix), "{update:?}");
            }
        }
        Body::Message(message) => drop(message.message(kind)),
        Body::PeerIndexTable(_) | Body::StateChange(_) | Body::Other { .. } => {}
    }
}
