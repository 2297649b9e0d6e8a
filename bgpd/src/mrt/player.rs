//! Records of a file as UPDATEs of one source.

use std::{collections::BTreeMap, net::IpAddr};

use bgp_mrt::{Body, Record};
use bgp_wire::{BgpNextHop, Message, Nlri, PeerKind, Update};
use viaduct_net::Family;

/// Peers that are told apart in a log of sessions.
const MAX_PEERS: usize = 65_535;

/// Makes UPDATEs of records.
pub(super) struct Player {
    kind: PeerKind,
    next_hop: Option<IpAddr>,
    /// Of a log of sessions: by which number the paths of a peer go.
    peers: BTreeMap<IpAddr, u32>,
    pub(super) updates: u64,
    pub(super) faults: u64,
}

impl Player {
    pub(super) const fn new(kind: PeerKind, next_hop: Option<IpAddr>) -> Self {
        Self { kind, next_hop, peers: BTreeMap::new(), updates: 0, faults: 0 }
    }

    pub(super) fn play(&mut self, record: Result<Record, bgp_mrt::Error>, out: &mut Vec<Update>) {
        let Ok(record) = record else {
            self.faults += 1;
            return;
        };
        match record.body {
            Body::Rib(rib) => {
                for entry in &rib.entries {
                    let update = entry.update(rib.prefix, self.kind).ok();
                    // An entry that announces nothing is one that could not be read.
                    let update = update.filter(|update| !update.announced.is_empty());
                    let peer = u32::from(entry.peer) + 1;
                    self.say(update, peer, out);
                }
            }
            Body::Message(message) if !message.is_local => {
                let next = self.peers.len() as u32 + 1;
                let is_full = self.peers.len() >= MAX_PEERS;
                let peer = match self.peers.get(&message.session.peer) {
                    Some(peer) => *peer,
                    None if is_full => return self.faults += 1,
                    None => *self.peers.entry(message.session.peer).or_insert(next),
                };
                match message.message(self.kind) {
                    Ok(Some(Message::Update(update))) => self.say(Some(update), peer, out),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => self.faults += 1,
                }
            }
            Body::Message(_)
            | Body::PeerIndexTable(_)
            | Body::StateChange(_)
            | Body::Other { .. } => {}
        }
    }

    fn say(&mut self, update: Option<Update>, peer: u32, out: &mut Vec<Update>) {
        let Some(mut update) = update else {
            self.faults += 1;
            return;
        };
        self.updates += 1;
        // One source has one path for a prefix and identifier; so each peer's take its own.
        let number = |nlri: &mut Nlri| nlri.path_id ^= peer << 16;
        update.withdrawn.iter_mut().for_each(number);
        for announced in &mut update.announced {
            announced.prefixes.iter_mut().for_each(number);
            let family = announced.prefixes.first().map(|nlri| nlri.prefix.family());
            let other = self.next_hop.filter(|other| Some(Family::of(*other)) == family);
            announced.next_hop = other.map_or(announced.next_hop, BgpNextHop::from);
        }
        update.end_of_rib = None;
        out.push(update);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bgp_mrt::{RibEntry, RibRecord, Timestamp};
    use bgp_wire::AttributeSet;

    use super::*;

    /// An entry for each peer.
    pub(crate) fn rib(prefix: &str, peers: &[u16]) -> Record {
        let attributes = AttributeSet::default();
        let next_hop = BgpNextHop::V4([198, 51, 100, 1].into());
        let entries = peers.iter().map(|peer| RibEntry::new(*peer, 0, &attributes, next_hop));
        let body = Body::Rib(RibRecord {
            sequence: 0,
            prefix: prefix.parse().unwrap(),
            has_path_ids: false,
            entries: entries.collect(),
        });
        Record { at: Timestamp::default(), body }
    }

    #[test]
    fn peers_of_a_table_have_a_path_each_and_the_next_hop_that_was_asked_for() {
        let mut player = Player::new(PeerKind::External, Some([192, 0, 2, 7].into()));
        let mut updates = Vec::new();
        player.play(Ok(rib("10.0.0.0/8", &[0, 4])), &mut updates);
        let told = updates.iter().map(|update| {
            let announced = &update.announced[0];
            (announced.prefixes[0].path_id, announced.next_hop.address().to_string())
        });
        let told: Vec<_> = told.collect();
        let hop = "192.0.2.7".to_owned();
        assert_eq!(told, [(1 << 16, hop.clone()), (5 << 16, hop)]);
        assert_eq!((player.updates, player.faults), (2, 0));
    }
}
