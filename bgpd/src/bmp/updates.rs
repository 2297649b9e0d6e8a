//! Paths made into UPDATEs for those who watch.

use std::collections::BTreeMap;

use bgp_wire::{
    AttributeSet, BgpNextHop, Families, Nlri, PeerKind, SessionParameters, encode_announcements,
    encode_withdrawals,
};
use bytes::BytesMut;
use tracing::debug;
use viaduct_net::Family;

/// What one table of one peer has to say: paths with equal attributes go into one message.
#[derive(Debug, Default)]
pub(super) struct Updates {
    buckets: Vec<(AttributeSet, BgpNextHop, Vec<Nlri>)>,
    /// By the address of the attributes, which the bucket keeps.
    index: BTreeMap<(usize, BgpNextHop, Family), usize>,
    withdrawn: Vec<Nlri>,
}

impl Updates {
    pub(super) fn announce(&mut self, nlri: Nlri, attributes: &AttributeSet, next_hop: BgpNextHop) {
        let key = (attributes.address(), next_hop, nlri.prefix.family());
        let at = *self.index.entry(key).or_insert(self.buckets.len());
        match self.buckets.get_mut(at) {
            Some((_, _, nlris)) => nlris.push(nlri),
            None => self.buckets.push((attributes.clone(), next_hop, vec![nlri])),
        }
    }

    pub(super) fn withdraw(&mut self, nlri: Nlri) {
        self.withdrawn.push(nlri);
    }

    /// Whole messages; `ids` are the families in which they say path identifiers.
    pub(super) fn write(&self, ids: Families, out: &mut BytesMut) {
        let parameters = parameters(ids);
        encode_withdrawals(&parameters, &self.withdrawn, out);
        for (attributes, next_hop, nlris) in &self.buckets {
            let encode = |parameters: &SessionParameters, out: &mut BytesMut| {
                encode_announcements(parameters, attributes, *next_hop, nlris, out)
            };
            // Messages are long (RFC 8654) only where they must be: not everybody reads them.
            let long = SessionParameters { send_extended: true, ..parameters };
            if encode(&parameters, out).is_err()
                && let Err(error) = encode(&long, out)
            {
                debug!(%error, "not told to collectors");
            }
        }
    }
}

fn parameters(ids: Families) -> SessionParameters {
    SessionParameters {
        four_octet_as: true,
        families: Families::BOTH,
        add_path_send: ids,
        extended_next_hop: true,
        ..SessionParameters::before_open(PeerKind::Internal)
    }
}

#[cfg(test)]
mod tests {
    use bgp_wire::{Message, PathAttributes, first_frame};

    use super::*;

    fn nlri(text: &str) -> Nlri {
        Nlri { prefix: text.parse().unwrap(), path_id: 7 }
    }

    #[test]
    fn equal_attributes_share_a_message_and_withdrawals_come_first() {
        let attributes = AttributeSet::default();
        let other = AttributeSet::from(PathAttributes { med: Some(1), ..Default::default() });
        let next_hop = BgpNextHop::V4([192, 0, 2, 1].into());
        let mut updates = Updates::default();
        updates.announce(nlri("10.0.0.0/24"), &attributes, next_hop);
        updates.announce(nlri("10.0.1.0/24"), &other, next_hop);
        updates.announce(nlri("10.0.2.0/24"), &attributes, next_hop);
        updates.withdraw(nlri("10.0.3.0/24"));
        let mut out = BytesMut::new();
        updates.write(Families::BOTH, &mut out);
        let mut told = Vec::new();
        let mut rest = &out[..];
        let session =
            SessionParameters { add_path_receive: Families::BOTH, ..parameters(Families::NONE) };
        while let Some(frame) = first_frame(rest, 4096).unwrap() {
            rest = &rest[frame.whole_len()..];
            let Ok(Message::Update(update)) =
                Message::decode_body(frame.kind, frame.body, &session)
            else {
                panic!("no UPDATE");
            };
            let announced = update.announced.into_iter().flat_map(|one| one.prefixes);
            told.push((update.withdrawn, announced.collect::<Vec<_>>()));
        }
        assert_eq!(
            told,
            [
                (vec![nlri("10.0.3.0/24")], vec![]),
                (vec![], vec![nlri("10.0.0.0/24"), nlri("10.0.2.0/24")]),
                (vec![], vec![nlri("10.0.1.0/24")]),
            ]
        );
    }
}
