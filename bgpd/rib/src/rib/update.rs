//! What changes the table.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bgp_wire::{AttributeSet, Community, Nlri, Rewrite, Update};
use viaduct_net::{Family, Origination, Prefix, Underlay};

use super::{AnnounceError, Origin, Rib, RibConfig};
use crate::{
    Ingress, Peer, PeerId, Policy, Reason,
    counts::add,
    next_hop::{Ground, NextHopId},
    paths::{NIL, Path},
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
        if self.peer(id) == Some(&peer) {
            return id;
        }
        self.mark_dirty_by_peer(id);
        let import_changed = match self.peers.entry_mut(id) {
            Some(entry) => {
                let old = std::mem::replace(&mut entry.peer, peer);
                old.import != entry.peer.import
                    || old.kind != entry.peer.kind
                    || old.asn != entry.peer.asn
                    || old.ingress != entry.peer.ingress
                    || old.enforce_first_as != entry.peer.enforce_first_as
            }
            None => return id,
        };
        if import_changed {
            self.judge_again(id);
        }
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

    /// How the peer's routes come in from now on: what is there is judged anew, and not made anew. Where
    /// that would be another, the session has to be another.
    pub fn set_ingress(&mut self, id: PeerId, ingress: Ingress) {
        let Some(entry) = self.peers.entry_mut(id) else { return };
        let old = std::mem::replace(&mut entry.peer.ingress, ingress);
        if old != ingress {
            if old.accept_blackhole != ingress.accept_blackhole {
                // Paths may stay what they are and lead elsewhere.
                self.mark_dirty_by_peer(id);
            }
            self.judge_again(id);
        }
    }

    /// How many paths of each family a peer may have from now on. What is there stays.
    pub fn set_limits(&mut self, id: PeerId, v4: Option<u32>, v6: Option<u32>) {
        if let Some(entry) = self.peers.entry_mut(id) {
            (entry.peer.max_v4, entry.peer.max_v6) = (v4, v6);
        }
    }

    /// The peer is a client of ours from now on, or no more: what came from it is told to others.
    pub fn set_reflector_client(&mut self, id: PeerId, is_client: bool) {
        if self.peer(id).is_none_or(|peer| peer.reflector_client == is_client) {
            return;
        }
        self.mark_dirty_by_peer(id);
        if let Some(entry) = self.peers.entry_mut(id) {
            entry.peer.reflector_client = is_client;
        }
    }

    /// Another AS, router id, cluster or set of addresses of our own: everything is judged and decided
    /// anew.
    pub fn set_config(&mut self, config: RibConfig) {
        if self.config == config {
            return;
        }
        let all: Vec<_> = self.destinations.ids().collect();
        all.into_iter().for_each(|id| self.mark_dirty(id));
        self.config = config;
        let peers: Vec<_> = self.peers.ids().collect();
        peers.into_iter().for_each(|id| self.judge_again(id));
        self.refresh_next_hops();
    }

    /// Takes an UPDATE as it was decoded: withdrawals, then announcements. End-of-RIB is the
    /// caller's.
    pub fn update(&mut self, peer: PeerId, update: &Update) -> Result<(), AnnounceError> {
        let before = self.import_counters(peer);
        let said = update.withdrawn.len().saturating_sub(update.treated_as_withdraw);
        let (said, treated) = update.withdrawn.split_at(said);
        self.withdraw(peer, said);
        for &nlri in treated {
            self.remove_path_of(nlri, Origin::Peer(peer));
        }
        let announced = update.announced.iter().map(|one| (one.next_hop, &one.prefixes[..]));
        let taken = self.announce_all(peer, &update.attributes, announced);
        if let Some(entry) = self.peers.entry_mut(peer) {
            entry.counters.note_taken(update, &before);
        }
        taken
    }

    /// Drops these paths of a peer; those it never told are passed over (RFC 7911 §5), and counted.
    pub fn withdraw(&mut self, peer: PeerId, prefixes: &[Nlri]) {
        let remove = |nlri: &&Nlri| !self.remove_path_of(**nlri, Origin::Peer(peer));
        let unknown = prefixes.iter().filter(remove).count();
        if let Some(entry) = self.peers.entry_mut(peer) {
            add(&mut entry.counters.duplicate_withdrawals, unknown);
        }
    }

    /// The session is over and nothing of it is kept.
    pub fn peer_down(&mut self, peer: PeerId) {
        self.for_each_path_of(peer, Self::remove_path);
    }

    /// Drops a peer's paths of one family: what was not in its new graceful restart capability,
    /// or has come without the forwarding bit (RFC 4724 §4.2).
    pub fn withdraw_family(&mut self, peer: PeerId, family: Family) {
        self.for_each_path_of(peer, |rib, destination, path| {
            if rib.destinations.family(destination) == family {
                rib.remove_path(destination, path);
            }
        });
    }

    /// The session is over but the peer forwards on: its paths of the family are kept until it
    /// tells them again. One that is stale already, from a restart before, goes
    /// (RFC 4724 §4.2).
    pub fn mark_stale(&mut self, peer: PeerId, family: Family) {
        self.for_each_path_of(peer, |rib, destination, id| {
            if rib.destinations.family(destination) != family {
                return;
            }
            let path = rib.paths.at(id);
            if path.stale {
                // What is kept for long is so for one time, however often the peer comes and goes.
                if !path.attributes().facts().is_llgr_stale() {
                    rib.remove_path(destination, id);
                }
                return;
            }
            rib.paths.at_mut(id).stale = true;
            if let Some(entry) = rib.peers.entry_mut(peer) {
                entry.counts.stale += 1;
            }
        });
    }

    /// All that the peer has told it will tell again, but for what is to go by then
    /// ([`Self::sweep_stale`]). Nothing goes before, however often this is said.
    pub fn mark_all_stale(&mut self, peer: PeerId) {
        self.for_each_path_of(peer, |rib, _, id| {
            if !std::mem::replace(&mut rib.paths.at_mut(id).stale, true)
                && let Some(entry) = rib.peers.entry_mut(peer)
            {
                entry.counts.stale += 1;
            }
        });
    }

    /// What is stale of the family is kept for long: behind every other path and with a community that
    /// says so, but for what is not to be kept like that (RFC 9494 §4.2).
    pub fn mark_long_lived(&mut self, peer: PeerId, family: Family) {
        self.for_each_path_of(peer, |rib, destination, id| {
            let path = rib.paths.at(id);
            if !path.stale || rib.destinations.family(destination) != family {
                return;
            }
            if path.attributes().facts().is_no_llgr() {
                return rib.remove_path(destination, id);
            }
            let marked = with_llgr_stale(path.attributes());
            rib.mark_dirty(destination);
            let marked = rib.attributes.intern(&marked);
            rib.paths.at_mut(id).set_attributes(marked);
        });
    }

    /// The peer has told all of the family, or too late: what is still stale goes.
    pub fn sweep_stale(&mut self, peer: PeerId, family: Family) {
        self.for_each_path_of(peer, |rib, destination, path| {
            if rib.paths.at(path).stale && rib.destinations.family(destination) == family {
                rib.remove_path(destination, path);
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
        let attributes = self.attributes.intern(&AttributeSet::default());
        let old = std::mem::take(&mut self.originations);
        for (&prefix, &source) in &old {
            if wanted.get(&prefix) != Some(&source) {
                self.remove_path_of(prefix.into(), Origin::Local(source));
            }
        }
        for (&prefix, &source) in &wanted {
            // A full table has room again only when the peers' paths go; what we originate is
            // little and comes first, so this is as good as impossible.
            if old.get(&prefix) != Some(&source)
                && let Ok(destination) = self.destination_of(prefix)
            {
                let origin = Origin::Local(source);
                let path = Path::new(attributes.clone(), origin, None, Reason::Undecided);
                let _full = self.insert_path(destination, path, 0);
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

    /// Whether the underlay leads to the address.
    pub fn is_underlaid(&self, address: IpAddr) -> bool {
        self.underlay.lookup(address).is_some()
    }

    /// Neighbours that BFD has lost and not found again, one on a link as in
    /// [`LinkLocal::embedded`](viaduct_net::LinkLocal::embedded): they are the next hop of nobody, and
    /// no way to any other.
    pub fn set_lost(&mut self, lost: BTreeSet<IpAddr>) {
        let changed: BTreeSet<_> = self.lost.symmetric_difference(&lost).copied().collect();
        if changed.is_empty() {
            return;
        }
        self.lost = lost;
        let concerned = |id: &NextHopId| self.next_hops.at(*id).concerns(&changed);
        let concerned: Vec<_> = self.next_hops.ids().filter(concerned).collect();
        self.refresh(concerned);
    }

    fn refresh_next_hops(&mut self) {
        let all: Vec<_> = self.next_hops.ids().collect();
        self.refresh(all);
    }

    /// What [`Self::set_lost`] was told last.
    pub const fn lost(&self) -> &BTreeSet<IpAddr> {
        &self.lost
    }

    fn refresh(&mut self, next_hops: Vec<NextHopId>) {
        let (underlay, own, lost) = (&self.underlay, &self.config.addresses[..], &self.lost);
        let ground = Ground { underlay, own, lost };
        let mut changed = BTreeSet::new();
        for id in next_hops {
            if self.next_hops.refresh_direct(id, ground) {
                self.next_hops.enqueue(id);
                changed.insert(id);
            }
        }
        self.mark_dirty_by_next_hops(&changed);
    }

    /// Every prefix with a path that has one of these next hops: one walk, however many there are.
    pub(super) fn mark_dirty_by_next_hops(&mut self, next_hops: &BTreeSet<NextHopId>) {
        if next_hops.is_empty() {
            return;
        }
        let has = |path: &Path| path.next_hop().is_some_and(|id| next_hops.contains(&id));
        for destination in 0..self.destinations.end() {
            if self.destinations.is_live(destination)
                && self.paths.list(self.destination(destination).head).any(|(_, path)| has(path))
            {
                self.mark_dirty(destination);
            }
        }
    }

    fn mark_dirty_by_peer(&mut self, peer: PeerId) {
        self.for_each_path_of(peer, |rib, destination, _| rib.mark_dirty(destination));
    }

    /// Calls for each path of a peer, with its prefix; the call may remove the path it is given. A walk
    /// over the table up to the last of them: lists of their own would cost every path more than
    /// they save the few times that they are wanted.
    pub(super) fn for_each_path_of(
        &mut self,
        peer: PeerId,
        mut call: impl FnMut(&mut Self, u32, u32),
    ) {
        let Some(entry) = self.peers.entry(peer) else { return };
        let mut left = entry.counts.received;
        let mut destination = 0;
        while left > 0 && destination < self.destinations.end() {
            let head = match self.destinations.is_live(destination) {
                true => self.destination(destination).head,
                false => NIL,
            };
            let mut path = head;
            while path != NIL {
                let next = self.paths.next(path);
                if self.paths.at(path).is_of(peer) {
                    left -= 1;
                    call(self, destination, path);
                }
                path = next;
            }
            destination += 1;
        }
    }

    pub(super) fn find_in(&self, destination: u32, origin: Origin, path_id: u32) -> Option<u32> {
        let mut paths = self.paths.list(self.destination(destination).head);
        let is_it =
            |&(id, path): &(u32, &Path)| path.is_from(origin) && self.paths.path_id(id) == path_id;
        paths.find(is_it).map(|(id, _)| id)
    }

    pub(super) fn destination_of(&mut self, prefix: Prefix) -> Result<u32, AnnounceError> {
        match self.destinations.find(prefix) {
            Some(id) => Ok(id),
            None => self.insert_destination(prefix),
        }
    }

    /// A prefix that is not in the table yet.
    pub(super) fn insert_destination(&mut self, prefix: Prefix) -> Result<u32, AnnounceError> {
        self.destinations.insert(prefix).ok_or(AnnounceError::TableFull)
    }

    /// Puts a path into the table.
    pub(super) fn insert_path(
        &mut self,
        destination: u32,
        path: Path,
        path_id: u32,
    ) -> Result<u32, AnnounceError> {
        self.mark_dirty(destination);
        let head = &mut self.destinations.at_mut(destination).head;
        self.paths.insert(head, path, path_id).ok_or(AnnounceError::TableFull)
    }

    /// Whether it was there.
    fn remove_path_of(&mut self, nlri: Nlri, origin: Origin) -> bool {
        let destination = self.destinations.find(nlri.prefix);
        let path = destination.and_then(|destination| {
            Some((destination, self.find_in(destination, origin, nlri.path_id)?))
        });
        let Some((destination, path)) = path else { return false };
        self.remove_path(destination, path);
        true
    }

    fn remove_path(&mut self, destination: u32, id: u32) {
        self.mark_dirty(destination);
        self.note_path_of(destination, id);
        let is_v4 = self.destinations.family(destination) == Family::V4;
        let entry = self.destinations.at_mut(destination);
        if entry.best == id {
            entry.best = NIL;
        }
        let Some(path) = self.paths.remove(&mut entry.head, id) else { return };
        self.set_original(id, None);
        if let Some(next_hop) = path.next_hop() {
            self.next_hops.release(next_hop);
        }
        if let Some(entry) = path.peer().and_then(|peer| self.peers.entry_mut(peer)) {
            entry.counts.received -= 1;
            entry.counts.received_v4 -= u32::from(is_v4);
            entry.counts.accepted -= u32::from(path.import == Reason::Undecided);
            entry.counts.stale -= u32::from(path.stale);
        }
    }

    /// The id of a peer that has been added.
    pub fn peer_id(&self, address: IpAddr) -> Option<PeerId> {
        self.peers.id(address)
    }
}

pub(super) fn with_llgr_stale(attributes: &AttributeSet) -> AttributeSet {
    if attributes.facts().is_llgr_stale() {
        return attributes.clone();
    }
    with_community(attributes, Community::LLGR_STALE)
}

/// The same with one community more.
pub(crate) fn with_community(attributes: &AttributeSet, community: Community) -> AttributeSet {
    let mut communities = attributes.open().communities;
    communities.push(community);
    Rewrite { communities: Some(communities), ..Rewrite::default() }.apply(attributes)
}
