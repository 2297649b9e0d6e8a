//! Paths that come in, and what import makes of them.
//!
//! A path stands in the table as import has made it. What came in is kept beside it where that is
//! something else, so that another policy needs nobody to be asked.

use bgp_policy::{Applied, NextHopChange};
use bgp_wire::{AttributeSet, BgpNextHop, Nlri};
use viaduct_net::{Family, Prefix};

use super::{AnnounceError, Origin, Rib, update::with_llgr_stale};
use crate::{
    PeerId, Reason,
    counts::add,
    import,
    judges::Judges,
    next_hop::{Ground, NextHopId, NextHopKey},
    paths::{Original, Path},
};

/// What one UPDATE says of many prefixes.
struct Arrival<'a> {
    peer: PeerId,
    /// What the attributes alone have decided.
    judged: Option<Reason>,
    original: &'a Original,
    judges: Judges,
}

/// A path as it stands in the table. The next hops hold a reference each.
struct Judged {
    import: Reason,
    attributes: AttributeSet,
    next_hop: NextHopId,
    original: Option<Original>,
}

impl Rib {
    /// Takes paths of a peer; each replaces the peer's earlier one for its prefix (RFC 4271 §9.1).
    /// On an error those before the one too many have been taken.
    pub fn announce(
        &mut self,
        peer: PeerId,
        attributes: &AttributeSet,
        next_hop: BgpNextHop,
        prefixes: &[Nlri],
    ) -> Result<(), AnnounceError> {
        self.announce_all(peer, attributes, std::iter::once((next_hop, prefixes)))
    }

    /// The same for all that one UPDATE announces, which is judged and counted as one.
    pub(super) fn announce_all<'a>(
        &mut self,
        peer: PeerId,
        attributes: &AttributeSet,
        announced: impl Iterator<Item = (BgpNextHop, &'a [Nlri])>,
    ) -> Result<(), AnnounceError> {
        let mut announced = announced.filter(|(_, prefixes)| !prefixes.is_empty()).peekable();
        let Some(entry) = self.peers.entry_mut(peer) else { return Ok(()) };
        if announced.peek().is_none() {
            return Ok(());
        }
        let attributes = entry.peer.ingress.apply(&entry.peer, attributes);
        let judged = import::judge_attributes(&self.config, &entry.peer, &attributes);
        if let Some(reason) = judged {
            entry.counters.note_refused(reason, &self.config, &attributes);
        }
        let interface = entry.peer.interface;
        let attributes = self.attributes.intern(&attributes);
        announced.try_for_each(|(next_hop, prefixes)| {
            let key = NextHopKey::new(next_hop, interface);
            self.announce_judged(peer, judged, &attributes, key, prefixes)
        })
    }

    /// The same for attributes that policy is to see, and a next hop whose link is known: of what was
    /// taken before, by another process.
    pub(super) fn announce_as_came(
        &mut self,
        peer: PeerId,
        attributes: &AttributeSet,
        key: NextHopKey,
        prefixes: &[Nlri],
    ) -> Result<(), AnnounceError> {
        let Some(entry) = self.peers.entry(peer) else { return Ok(()) };
        let judged = import::judge_attributes(&self.config, &entry.peer, attributes);
        let attributes = self.attributes.intern(attributes);
        self.announce_judged(peer, judged, &attributes, key, prefixes)
    }

    fn announce_judged(
        &mut self,
        peer: PeerId,
        judged: Option<Reason>,
        attributes: &AttributeSet,
        key: NextHopKey,
        prefixes: &[Nlri],
    ) -> Result<(), AnnounceError> {
        // One reference of our own, so that the entry lives even if the first prefix fails.
        let next_hop = self.acquire_next_hop(key);
        let original = Original { attributes: attributes.clone(), next_hop };
        let arrival = Arrival { peer, judged, original: &original, judges: Judges::default() };
        let result = prefixes.iter().try_for_each(|&nlri| self.announce_one(&arrival, nlri));
        self.next_hops.release(next_hop);
        result
    }

    fn announce_one(&mut self, arrival: &Arrival<'_>, nlri: Nlri) -> Result<(), AnnounceError> {
        let Nlri { prefix, path_id } = nlri;
        let peer = arrival.peer;
        let Some(entry) = self.peers.entry(peer) else { return Ok(()) };
        let limit_reached = entry.peer.limit_reached(entry.counts, prefix.family());
        let origin = Origin::Peer(peer);
        let known = self.destinations.find(prefix);
        if let Some(destination) = known
            && let Some(old) = self.find_in(destination, origin, path_id)
        {
            if let Some(judged) = self.judge(arrival, prefix) {
                self.note_rejected(peer, judged.import);
                self.replace(destination, old, peer, judged);
            }
            return Ok(());
        }
        if let Some(error) = limit_reached {
            return Err(error);
        }
        let destination = match known {
            Some(destination) => destination,
            None => self.insert_destination(prefix)?,
        };
        let Some(judged) = self.judge(arrival, prefix) else { return Ok(()) };
        let Judged { import, attributes, next_hop, original } = judged;
        self.note_rejected(peer, import);
        let path = Path::new(attributes, origin, Some(next_hop), import);
        match self.insert_path(destination, path, path_id) {
            Ok(id) => self.set_original(id, original),
            Err(error) => {
                self.next_hops.release(next_hop);
                self.release_original(original);
                return Err(error);
            }
        }
        if let Some(entry) = self.peers.entry_mut(peer) {
            entry.counts.received += 1;
            entry.counts.received_v4 += u32::from(prefix.family() == Family::V4);
            entry.counts.accepted += u32::from(import == Reason::Undecided);
        }
        self.note_path(peer, nlri);
        Ok(())
    }

    /// Another path in place of one the peer has told before.
    fn replace(&mut self, destination: u32, id: u32, peer: PeerId, judged: Judged) {
        let was_stale = std::mem::replace(&mut self.paths.at_mut(id).stale, false);
        if let Some(entry) = self.peers.entry_mut(peer) {
            entry.counts.stale -= u32::from(was_stale);
        }
        if self.put(destination, id, peer, judged) {
            return;
        }
        if was_stale {
            self.note_path_of(destination, id);
        } else if let Some(entry) = self.peers.entry_mut(peer) {
            add(&mut entry.counters.duplicate_prefixes, 1);
        }
    }

    fn note_rejected(&mut self, peer: PeerId, import: Reason) {
        if import == Reason::ImportPolicy
            && let Some(entry) = self.peers.entry_mut(peer)
        {
            add(&mut entry.counters.rejected_by_policy, 1);
        }
    }

    /// Another outcome for a path that is there; decided anew only where it is another. Gives whether
    /// that, or what the peer has said, is another.
    fn put(&mut self, destination: u32, id: u32, peer: PeerId, judged: Judged) -> bool {
        let Judged { import, attributes, next_hop, original } = judged;
        let came_again = match (self.paths.original(id), &original) {
            (None, None) => true,
            (Some(old), Some(new)) => {
                old.next_hop == new.next_hop && old.attributes.ptr_eq(&new.attributes)
            }
            _ => false,
        };
        self.set_original(id, original);
        let path = self.paths.at(id);
        let was_accepted = path.import == Reason::Undecided;
        let unchanged = path.next_hop() == Some(next_hop)
            && path.import == import
            && path.attributes().ptr_eq(&attributes);
        if !unchanged || !came_again {
            self.note_path_of(destination, id);
        }
        if unchanged {
            self.next_hops.release(next_hop);
            return !came_again;
        }
        if let Some(entry) = self.peers.entry_mut(peer) {
            entry.counts.accepted -= u32::from(was_accepted);
            entry.counts.accepted += u32::from(import == Reason::Undecided);
        }
        self.mark_dirty(destination);
        let path = self.paths.at_mut(id);
        let old_next_hop = path.next_hop();
        path.import = import;
        path.set_attributes(attributes);
        path.set_next_hop(next_hop);
        if let Some(old) = old_next_hop {
            self.next_hops.release(old);
        }
        true
    }

    /// Asks import about every path of a peer again.
    pub(super) fn judge_again(&mut self, peer: PeerId) {
        let mut judges = Judges::default();
        self.for_each_path_of(peer, |rib, destination, id| {
            let Some(entry) = rib.peers.entry(peer) else { return };
            let path = rib.paths.at(id);
            // Which no policy is to forget (RFC 9494 §4.2).
            let kept_long = path.stale && path.attributes().facts().is_llgr_stale();
            let original = match (rib.paths.original(id), path.next_hop()) {
                (Some(original), _) => original.clone(),
                (None, Some(next_hop)) => {
                    Original { attributes: path.attributes().clone(), next_hop }
                }
                (None, None) => return,
            };
            let judged = import::judge_attributes(&rib.config, &entry.peer, &original.attributes);
            let prefix = rib.destinations.prefix(destination);
            let arrival =
                Arrival { peer, judged, original: &original, judges: std::mem::take(&mut judges) };
            if let Some(mut judged) = rib.judge(&arrival, prefix) {
                if kept_long {
                    let marked = with_llgr_stale(&judged.attributes);
                    judged.attributes = rib.attributes.intern(&marked);
                }
                rib.put(destination, id, peer, judged);
            }
            judges = arrival.judges;
        });
    }

    /// What import makes of a path.
    fn judge(&mut self, arrival: &Arrival<'_>, prefix: Prefix) -> Option<Judged> {
        let Arrival { judged, original, judges, .. } = arrival;
        let peer = &self.peers.entry(arrival.peer)?.peer;
        let came = self.next_hops.at(original.next_hop).key.next_hop();
        let outcome = match judged {
            Some(reason) => Err(*reason),
            None => import::judge_prefix(peer, prefix, &original.attributes, came, judges),
        };
        let (interface, ingress) = (peer.interface, peer.ingress);
        let as_it_came = |rib: &mut Self, import| {
            rib.next_hops.retain(original.next_hop);
            let Original { attributes, next_hop } = (*original).clone();
            Judged { import, attributes, next_hop, original: None }
        };
        let applied = match outcome {
            Err(reason) => return Some(as_it_came(self, reason)),
            Ok(None) if !ingress.discards(&original.attributes) => {
                return Some(as_it_came(self, Reason::Undecided));
            }
            Ok(None) => {
                Applied { attributes: original.attributes.clone(), next_hop: None, sets_med: false }
            }
            Ok(Some(applied)) => applied,
        };
        let kept = if ingress.discards(&applied.attributes) {
            import::within_the_as(&applied.attributes)
        } else {
            applied.attributes
        };
        let attributes = self.attributes.intern(&kept);
        let next_hop = match applied.next_hop {
            Some(NextHopChange::Address(address))
                if prefix.family() == Family::of(address) || address.is_ipv6() =>
            {
                let key = NextHopKey::new(address.into(), interface);
                self.acquire_next_hop(key)
            }
            // What is ours or unchanged is no change of what comes in.
            _ => {
                self.next_hops.retain(original.next_hop);
                original.next_hop
            }
        };
        if attributes.ptr_eq(&original.attributes) && next_hop == original.next_hop {
            let import = Reason::Undecided;
            return Some(Judged { import, attributes, next_hop, original: None });
        }
        self.next_hops.retain(original.next_hop);
        let original = Some((*original).clone());
        Some(Judged { import: Reason::Undecided, attributes, next_hop, original })
    }

    /// The entry of a next hop, with one more reference.
    fn acquire_next_hop(&mut self, key: NextHopKey) -> NextHopId {
        let (underlay, own, lost) = (&self.underlay, &self.config.addresses[..], &self.lost);
        self.next_hops.acquire(key, Ground { underlay, own, lost })
    }

    /// Notes what came in of a path, with its reference.
    pub(super) fn set_original(&mut self, id: u32, original: Option<Original>) {
        let old = self.paths.set_original(id, original);
        self.release_original(old);
    }

    fn release_original(&mut self, original: Option<Original>) {
        if let Some(original) = original {
            self.next_hops.release(original.next_hop);
        }
    }
}
