//! What changes the table.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use bgp_wire::{BgpNextHop, PathAttributes, Update};
use viaduct_net::{Family, Origination, Prefix, Underlay};

use super::{AnnounceError, Destination, Origin, Rib, RibConfig};
use crate::{
    Peer, PeerId, Policy, Reason, import,
    next_hop::{NextHopId, NextHopKey},
    slab::{List, NIL, Path},
    underlay::UnderlayTable,
};

impl Rib {
    /// A peer whose paths may come: told once its OPEN is known, and again for every later
    /// session. A known address keeps its id and its paths (RFC 4724 §4.2); they are judged and
    /// decided anew where the peer has become another.
    pub fn add_peer(&mut self, peer: Peer) -> PeerId {
        let Some(id) = self.peers.id(peer.address) else {
            return self.peers.insert(peer);
        };
        let import_changed = match self.peers.entry_mut(id) {
            Some(entry) if entry.peer == peer => return id,
            Some(entry) => {
                let old = std::mem::replace(&mut entry.peer, peer);
                old.import != entry.peer.import
                    || old.kind != entry.peer.kind
                    || old.asn != entry.peer.asn
                    || old.enforce_first_as != entry.peer.enforce_first_as
            }
            None => return id,
        };
        if import_changed {
            self.judge_again(id);
        }
        self.for_each_path_of(id, |rib, path| rib.mark_dirty(rib.paths.at(path).destination));
        id
    }

    /// Drops all of the peer's paths, and the peer. Its id is worth nothing afterwards.
    pub fn remove_peer(&mut self, id: PeerId) {
        self.peer_down(id);
        self.peers.remove(id);
    }

    /// Replaces what is taken from a peer. The peer need not be asked for anything: what import
    /// had refused is still there.
    pub fn set_import_policy(&mut self, id: PeerId, policy: Policy) {
        let Some(entry) = self.peers.entry_mut(id) else { return };
        if entry.peer.import != policy {
            entry.peer.import = policy;
            self.judge_again(id);
        }
    }

    /// The peer is a client of ours from now on, or no more: what came from it is told to others.
    pub fn set_reflector_client(&mut self, id: PeerId, is_client: bool) {
        let Some(entry) = self.peers.entry_mut(id) else { return };
        if std::mem::replace(&mut entry.peer.reflector_client, is_client) != is_client {
            self.for_each_path_of(id, |rib, path| rib.mark_dirty(rib.paths.at(path).destination));
        }
    }

    /// Another AS, router id, cluster or set of addresses of our own: everything is judged and decided
    /// anew.
    pub fn set_config(&mut self, config: RibConfig) {
        if self.config == config {
            return;
        }
        self.config = config;
        let peers: Vec<_> = self.peers.ids().collect();
        peers.into_iter().for_each(|id| self.judge_again(id));
        self.refresh_next_hops();
        let all: Vec<_> = self.by_prefix.values().copied().collect();
        all.into_iter().for_each(|id| self.mark_dirty(id));
    }

    /// Takes an UPDATE as it was decoded: withdrawals, then announcements. End-of-RIB is the
    /// caller's.
    pub fn update(&mut self, peer: PeerId, update: &Update) -> Result<(), AnnounceError> {
        self.withdraw(peer, &update.withdrawn);
        update.announced.iter().try_for_each(|announcement| {
            let prefixes = &announcement.prefixes;
            self.announce(peer, &update.attributes, announcement.next_hop, prefixes)
        })
    }

    /// Takes paths of a peer; each replaces the peer's earlier one for its prefix (RFC 4271 §9.1).
    /// On an error those before the one too many have been taken.
    pub fn announce(
        &mut self,
        peer: PeerId,
        attributes: &PathAttributes,
        next_hop: BgpNextHop,
        prefixes: &[Prefix],
    ) -> Result<(), AnnounceError> {
        let Some(entry) = self.peers.entry(peer) else { return Ok(()) };
        if prefixes.is_empty() {
            return Ok(());
        }
        let judged = import::judge_attributes(&self.config, &entry.peer, attributes);
        let key = NextHopKey::new(next_hop, entry.peer.interface);
        let attributes = self.attributes.intern(attributes, |new| Arc::new(new.clone()));
        // One reference of our own, so that the entry lives even if the first prefix fails.
        let next_hop = self.next_hops.acquire(key, &self.underlay, &self.config.addresses);
        let result = prefixes
            .iter()
            .try_for_each(|&prefix| self.announce_one(peer, judged, &attributes, next_hop, prefix));
        self.next_hops.release(next_hop);
        result
    }

    fn announce_one(
        &mut self,
        peer: PeerId,
        judged: Option<Reason>,
        attributes: &Arc<PathAttributes>,
        next_hop: NextHopId,
        prefix: Prefix,
    ) -> Result<(), AnnounceError> {
        let Some(entry) = self.peers.entry(peer) else { return Ok(()) };
        let import = judged
            .or_else(|| import::judge_prefix(&entry.peer, prefix, attributes))
            .unwrap_or(Reason::Undecided);
        let limit = entry.peer.max_prefixes;
        let is_full = entry.counts.received >= limit;
        let origin = Origin::Peer(peer);
        let known = self.by_prefix.get(&prefix).copied();
        if let Some(old) = known.and_then(|destination| self.find_in(destination, origin)) {
            self.replace(old, peer, attributes, next_hop, import);
            return Ok(());
        }
        if is_full {
            return Err(AnnounceError::PrefixLimit { limit });
        }
        let destination = match known {
            Some(destination) => destination,
            None => self.insert_destination(prefix)?,
        };
        let path = Path::new(attributes.clone(), destination, origin, Some(next_hop), import);
        let path = self.insert_path(path)?;
        self.next_hops.retain(next_hop);
        self.paths.link(List::NextHop, &mut self.next_hops.at_mut(next_hop).head, path);
        if let Some(entry) = self.peers.entry_mut(peer) {
            self.paths.link(List::Peer, &mut entry.head, path);
            entry.counts.received += 1;
            entry.counts.accepted += u32::from(import == Reason::Undecided);
        }
        Ok(())
    }

    /// Another path in place of one the peer has told before: the lists of prefix and peer stay.
    fn replace(
        &mut self,
        id: u32,
        peer: PeerId,
        attributes: &Arc<PathAttributes>,
        next_hop: NextHopId,
        import: Reason,
    ) {
        let path = self.paths.at_mut(id);
        let was_stale = std::mem::replace(&mut path.stale, false);
        let was_accepted = path.import == Reason::Undecided;
        let unchanged = path.next_hop == Some(next_hop)
            && path.import == import
            && Arc::ptr_eq(&path.attributes, attributes);
        path.import = import;
        path.attributes = attributes.clone();
        let destination = path.destination;
        if let Some(entry) = self.peers.entry_mut(peer) {
            entry.counts.stale -= u32::from(was_stale);
            entry.counts.accepted -= u32::from(was_accepted);
            entry.counts.accepted += u32::from(import == Reason::Undecided);
        }
        if unchanged {
            return;
        }
        let old_next_hop = self.paths.at_mut(id).next_hop.replace(next_hop);
        if old_next_hop != Some(next_hop) {
            if let Some(old) = old_next_hop {
                self.paths.unlink(List::NextHop, &mut self.next_hops.at_mut(old).head, id);
                self.next_hops.release(old);
            }
            self.next_hops.retain(next_hop);
            self.paths.link(List::NextHop, &mut self.next_hops.at_mut(next_hop).head, id);
        }
        self.mark_dirty(destination);
    }

    /// Drops a peer's paths for these prefixes; those it never told are passed over.
    pub fn withdraw(&mut self, peer: PeerId, prefixes: &[Prefix]) {
        for &prefix in prefixes {
            if let Some(path) = self.find(prefix, Origin::Peer(peer)) {
                self.remove_path(path);
            }
        }
    }

    /// The session is over and nothing of it is kept.
    pub fn peer_down(&mut self, peer: PeerId) {
        self.for_each_path_of(peer, Self::remove_path);
    }

    /// Drops a peer's paths of one family: what was not in its new graceful restart capability,
    /// or has come without the forwarding bit (RFC 4724 §4.2).
    pub fn withdraw_family(&mut self, peer: PeerId, family: Family) {
        self.for_each_path_of(peer, |rib, path| {
            if rib.family_of(path) == family {
                rib.remove_path(path);
            }
        });
    }

    /// The session is over but the peer forwards on: its paths of the family are kept until it
    /// tells them again. One that is stale already, from a restart before, goes
    /// (RFC 4724 §4.2).
    pub fn mark_stale(&mut self, peer: PeerId, family: Family) {
        self.for_each_path_of(peer, |rib, id| {
            if rib.family_of(id) != family {
                return;
            }
            if rib.paths.at(id).stale {
                return rib.remove_path(id);
            }
            rib.paths.at_mut(id).stale = true;
            if let Some(entry) = rib.peers.entry_mut(peer) {
                entry.counts.stale += 1;
            }
        });
    }

    /// The peer has told all of the family, or too late: what is still stale goes.
    pub fn sweep_stale(&mut self, peer: PeerId, family: Family) {
        self.for_each_path_of(peer, |rib, path| {
            if rib.paths.at(path).stale && rib.family_of(path) == family {
                rib.remove_path(path);
            }
        });
    }

    /// Replaces the set of what this node originates. Of a prefix named twice the first source
    /// in their order counts.
    pub fn set_originations(&mut self, originations: &[Origination]) {
        let mut wanted = BTreeMap::new();
        for &Origination { prefix, source } in originations {
            let known = wanted.entry(prefix).or_insert(source);
            *known = source.min(*known);
        }
        let attributes = PathAttributes::default();
        let attributes = self.attributes.intern(&attributes, |new| Arc::new(new.clone()));
        let old = std::mem::take(&mut self.originations);
        for (&prefix, &source) in &old {
            if wanted.get(&prefix) != Some(&source)
                && let Some(path) = self.find(prefix, Origin::Local(source))
            {
                self.remove_path(path);
            }
        }
        for (&prefix, &source) in &wanted {
            // A full table has room again only when the peers' paths go; what we originate is
            // little and comes first, so this is as good as impossible.
            if old.get(&prefix) != Some(&source)
                && let Ok(destination) = self.destination_of(prefix)
            {
                let origin = Origin::Local(source);
                let path =
                    Path::new(attributes.clone(), destination, origin, None, Reason::Undecided);
                let _full = self.insert_path(path);
            }
        }
        self.originations = wanted;
    }

    /// Replaces the underlay. Only the distinct next hops are resolved anew, and only the
    /// prefixes of those that lead elsewhere are decided anew.
    pub fn set_underlay(&mut self, routes: Underlay) {
        if *self.underlay.routes() != routes {
            self.underlay = UnderlayTable::new(routes);
            self.refresh_next_hops();
        }
    }

    fn refresh_next_hops(&mut self) {
        let all: Vec<_> = self.next_hops.ids().collect();
        for id in all {
            if self.next_hops.refresh_direct(id, &self.underlay, &self.config.addresses) {
                self.next_hops.enqueue(id);
                self.mark_dirty_by_next_hop(id);
            }
        }
    }

    pub(super) fn mark_dirty_by_next_hop(&mut self, id: NextHopId) {
        let mut path = self.next_hops.at(id).head;
        while path != NIL {
            let next = self.paths.next(List::NextHop, path);
            self.mark_dirty(self.paths.at(path).destination);
            path = next;
        }
    }

    /// Asks import about every path of a peer again.
    fn judge_again(&mut self, peer: PeerId) {
        self.for_each_path_of(peer, |rib, id| {
            let Some(entry) = rib.peers.entry_mut(peer) else { return };
            let path = rib.paths.at(id);
            let Some(Some(destination)) = rib.destinations.get(path.destination as usize) else {
                return;
            };
            let import = import::judge_attributes(&rib.config, &entry.peer, &path.attributes)
                .or_else(|| import::judge_prefix(&entry.peer, destination.prefix, &path.attributes))
                .unwrap_or(Reason::Undecided);
            let old = std::mem::replace(&mut rib.paths.at_mut(id).import, import);
            if old != import {
                entry.counts.accepted -= u32::from(old == Reason::Undecided);
                entry.counts.accepted += u32::from(import == Reason::Undecided);
                rib.mark_dirty(rib.paths.at(id).destination);
            }
        });
    }

    /// Calls for each path of a peer; the call may remove the path it is given.
    fn for_each_path_of(&mut self, peer: PeerId, mut call: impl FnMut(&mut Self, u32)) {
        let Some(entry) = self.peers.entry(peer) else { return };
        let mut path = entry.head;
        while path != NIL {
            let next = self.paths.next(List::Peer, path);
            call(self, path);
            path = next;
        }
    }

    fn family_of(&self, path: u32) -> Family {
        self.destination(self.paths.at(path).destination).prefix.family()
    }

    fn find(&self, prefix: Prefix, origin: Origin) -> Option<u32> {
        self.find_in(*self.by_prefix.get(&prefix)?, origin)
    }

    fn find_in(&self, destination: u32, origin: Origin) -> Option<u32> {
        let head = self.destination(destination).head;
        let mut paths = self.paths.list(List::Destination, head);
        paths.find(|(_, path)| path.origin == origin).map(|(id, _)| id)
    }

    fn destination_of(&mut self, prefix: Prefix) -> Result<u32, AnnounceError> {
        match self.by_prefix.get(&prefix) {
            Some(&id) => Ok(id),
            None => self.insert_destination(prefix),
        }
    }

    /// A prefix that is not in the table yet.
    fn insert_destination(&mut self, prefix: Prefix) -> Result<u32, AnnounceError> {
        let destination =
            Some(Destination { prefix, head: NIL, dirty: false, fib: None, told: None });
        let id = match self.free_destinations.pop() {
            Some(id) => {
                self.destinations[id as usize] = destination;
                id
            }
            None => {
                let id = u32::try_from(self.destinations.len());
                let id = id.or(Err(AnnounceError::TableFull))?;
                self.destinations.push(destination);
                id
            }
        };
        self.by_prefix.insert(prefix, id);
        Ok(id)
    }

    /// Puts a path into the table and the list of its prefix.
    fn insert_path(&mut self, path: Path) -> Result<u32, AnnounceError> {
        let destination = path.destination;
        self.mark_dirty(destination);
        let id = self.paths.insert(path).ok_or(AnnounceError::TableFull)?;
        let mut head = self.destination(destination).head;
        self.paths.link(List::Destination, &mut head, id);
        self.destination_mut(destination).head = head;
        Ok(id)
    }

    fn remove_path(&mut self, id: u32) {
        let destination = self.paths.at(id).destination;
        let mut head = self.destination(destination).head;
        self.paths.unlink(List::Destination, &mut head, id);
        self.destination_mut(destination).head = head;
        if let Some(next_hop) = self.paths.at(id).next_hop {
            self.paths.unlink(List::NextHop, &mut self.next_hops.at_mut(next_hop).head, id);
            self.next_hops.release(next_hop);
        }
        if let Origin::Peer(peer) = self.paths.at(id).origin
            && let Some(entry) = self.peers.entry_mut(peer)
        {
            self.paths.unlink(List::Peer, &mut entry.head, id);
            let path = self.paths.at(id);
            entry.counts.received -= 1;
            entry.counts.accepted -= u32::from(path.import == Reason::Undecided);
            entry.counts.stale -= u32::from(path.stale);
        }
        self.paths.remove(id);
        self.mark_dirty(destination);
    }

    /// The id of a peer that has been added.
    pub fn peer_id(&self, address: IpAddr) -> Option<PeerId> {
        self.peers.id(address)
    }
}
