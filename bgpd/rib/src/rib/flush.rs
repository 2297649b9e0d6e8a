//! Resolution over BGP, decision, and what follows.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use bgp_wire::PeerKind;
use viaduct_net::{NextHop, Prefix, Route, RouteSource, RouteUpdate};

use super::{BestChange, BestPath, Dirty, Origin, PathSource, Rib, Told};
use crate::{
    DEFAULT_LOCAL_PREF, MAX_MULTIPATH, Reason,
    decision::Candidate,
    local_pref,
    next_hop::{NextHopId, Resolved},
    paths::{NIL, Path},
};

impl Told {
    fn says_the_same_as(&self, other: &Self) -> bool {
        self.source == other.source
            && self.next_hop == other.next_hop
            && self.attributes.ptr_eq(&other.attributes)
    }
}

impl Rib {
    /// Decides all that has changed since the last flush. Each prefix whose best path has is given once,
    /// in any order; returned is what changes in the FIB, by prefix. Prefixes of our own are not in it:
    /// a route that gives way to one is withdrawn.
    pub fn flush(&mut self, best: &mut impl FnMut(BestChange)) -> Vec<RouteUpdate> {
        self.resolve_next_hops();
        let mut fib = Vec::new();
        for dirty in std::mem::take(&mut self.dirty) {
            let id = dirty.destination;
            self.destinations.at_mut(id).dirty = false;
            let new = self.decide(id);
            self.note_route(id, new, &mut fib);
            self.note_best(dirty, new, best);
            if self.destination(id).head == NIL {
                self.destinations.remove(id);
            }
        }
        self.touched = 0;
        self.peers.free_removed();
        fib.sort_unstable_by_key(|update| update.prefix);
        fib
    }

    /// The second stratum of `next_hop`'s documentation: it reads only the first, so one pass is
    /// enough and its order does not matter.
    fn resolve_next_hops(&mut self) {
        if self.next_hops.has_recursive() {
            for dirty in &self.dirty {
                self.next_hops.enqueue_inside(self.destinations.prefix(dirty.destination));
            }
        }
        let mut changed = BTreeSet::new();
        while let Some(id) = self.next_hops.dequeue() {
            let resolved = self.resolve(id);
            let entry = self.next_hops.at_mut(id);
            let is_fresh = std::mem::take(&mut entry.fresh);
            if entry.resolved != resolved {
                entry.resolved = resolved;
                if !is_fresh {
                    changed.insert(id);
                }
            }
        }
        self.mark_dirty_by_next_hops(&changed);
    }

    fn resolve(&mut self, id: NextHopId) -> Option<Resolved> {
        let entry = self.next_hops.at(id);
        let address = entry.key.next_hop().address();
        let direct = entry.direct.clone();
        for len in direct.longer_lens(address) {
            let Some(destination) =
                Prefix::new(address, len).ok().and_then(|prefix| self.destinations.find(prefix))
            else {
                continue;
            };
            match self.best_direct(destination) {
                // Our own: the next hop is behind us, and not to be looked for in the underlay; nor where
                // packets to it are discarded.
                Some(None) => return None,
                Some(Some(over)) if self.next_hops.at(over).key.next_hop().address() != address => {
                    return self.next_hops.at(over).direct.resolved.clone();
                }
                _ => {}
            }
        }
        direct.resolved
    }

    /// The next hop of the best among a prefix's paths that resolve directly; `Some(None)` where
    /// the prefix is our own, or discarded.
    fn best_direct(&mut self, destination: u32) -> Option<Option<NextHopId>> {
        self.collect_candidates(destination, |rib, path| {
            let next_hop = path.next_hop()?;
            Some(rib.next_hops.at(next_hop).direct.resolved.as_ref()?.metric)
        });
        self.decision.run(&self.candidates);
        let &best = self.decision.equal.first()?;
        let best = self.paths.at(self.candidates[best].path);
        // Over what is discarded nothing is reached.
        Some(if self.discards(best) { None } else { best.next_hop() })
    }

    /// Lines up the paths of a prefix that import has accepted and `metric` knows a way to.
    fn collect_candidates(
        &mut self,
        destination: u32,
        metric: impl Fn(&Self, &Path) -> Option<u32>,
    ) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let head = self.destination(destination).head;
        for (id, path) in self.paths.list(head) {
            if path.import == Reason::Undecided {
                candidates.extend(self.candidate(id, path, &metric));
            }
        }
        self.candidates = candidates;
    }

    fn candidate(
        &self,
        id: u32,
        path: &Path,
        metric: impl Fn(&Self, &Path) -> Option<u32>,
    ) -> Option<Candidate> {
        let facts = path.attributes().facts();
        let numbers = Candidate {
            path: id,
            long_lived_stale: facts.is_llgr_stale(),
            local: true,
            internal: false,
            local_pref: DEFAULT_LOCAL_PREF,
            as_path_len: facts.as_path_len(),
            origin: facts.origin(),
            // One neighbour for all: their MEDs compare.
            neighbor_as: facts.neighbor_as().filter(|_| !self.config.decision.always_compare_med),
            // RFC 4271 §9.1.2.2 c: a missing MED is the lowest.
            med: facts.med().unwrap_or(0),
            metric: 0,
            router_id: self.config.router_id.to_u32(),
            cluster_list_len: facts.cluster_list_len(),
            peer_address: Ipv4Addr::UNSPECIFIED.into(),
            path_id: self.paths.path_id(id),
        };
        let Some(peer) = path.peer() else {
            return Some(numbers);
        };
        let peer = &self.peers.entry(peer)?.peer;
        Some(Candidate {
            local: false,
            // RFC 5065 §5.3: the whole confederation is one AS here.
            internal: peer.kind != PeerKind::External,
            local_pref: local_pref(facts, peer.kind),
            metric: metric(self, path)?,
            // RFC 4456 §9: of a reflected route its originator counts.
            router_id: facts.originator_id().unwrap_or(peer.router_id).to_u32(),
            peer_address: peer.address,
            ..numbers
        })
    }

    /// Decides one prefix; gives the best path.
    fn decide(&mut self, id: u32) -> Option<u32> {
        let head = self.destination(id).head;
        if head == NIL {
            return None;
        }
        if self.paths.next(head) == NIL {
            return self.decide_alone(head);
        }
        self.collect_candidates(id, |rib, path| {
            let next_hop = path.next_hop()?;
            Some(rib.next_hops.at(next_hop).resolved.as_ref()?.metric)
        });
        self.decision.run(&self.candidates);

        let mut path = head;
        while path != NIL {
            let entry = self.paths.at(path);
            let (import, next_hop) = (entry.import, entry.next_hop());
            let reason = match import {
                Reason::Undecided => self.why_unusable(next_hop),
                rejected => rejected,
            };
            self.paths.at_mut(path).reason = reason;
            path = self.paths.next(path);
        }
        for (candidate, reason) in self.candidates.iter().zip(&self.decision.reasons) {
            self.paths.at_mut(candidate.path).reason = *reason;
        }
        self.decision.equal.first().map(|&best| self.candidates[best].path)
    }

    /// The only path of a prefix needs to be usable, and no more.
    fn decide_alone(&mut self, id: u32) -> Option<u32> {
        let path = self.paths.at(id);
        let leads = |next_hop: NextHopId| self.next_hops.at(next_hop).resolved.is_some();
        let reason = match path.import {
            Reason::Undecided if path.next_hop().is_none_or(leads) => Reason::Best,
            Reason::Undecided => self.why_unusable(path.next_hop()),
            rejected => rejected,
        };
        self.decision.equal.clear();
        self.paths.at_mut(id).reason = reason;
        (reason == Reason::Best).then_some(id)
    }

    /// Of a path whose next hop leads nowhere.
    fn why_unusable(&self, next_hop: Option<NextHopId>) -> Reason {
        match next_hop.map(|id| self.next_hops.at(id)) {
            Some(entry) if entry.is_lost() => Reason::NextHopLost,
            Some(_) | None => Reason::NextHopUnreachable,
        }
    }

    fn note_route(&mut self, id: u32, best: Option<u32>, fib: &mut Vec<RouteUpdate>) {
        if !self.has_fib {
            return;
        }
        let route = best.and_then(|best| {
            let Origin::Peer(peer) = self.paths.at(best).origin() else {
                return None;
            };
            let source = match self.peers.entry(peer)?.peer.kind {
                PeerKind::Internal | PeerKind::Confederation => RouteSource::Ibgp,
                PeerKind::External => RouteSource::Ebgp,
            };
            let discards = self.discards(self.paths.at(best));
            let next_hops = if discards { [].into() } else { self.select_next_hops(best)? };
            Some(Route { next_hops, source })
        });
        let old = self.destination(id).route;
        if old.map(|old| self.routes.at(old)) == route.as_ref() {
            return;
        }
        self.routed += usize::from(route.is_some());
        self.routed -= usize::from(old.is_some());
        fib.push(RouteUpdate { prefix: self.destinations.prefix(id), route: route.clone() });
        self.destinations.at_mut(id).route = self.routes.acquire(route);
        if let Some(old) = old {
            self.routes.release(old);
        }
    }

    /// Whether packets on the path are discarded, as its peer wishes and may.
    fn discards(&self, path: &Path) -> bool {
        let peer = path.peer().and_then(|peer| self.peers.entry(peer));
        peer.is_some_and(|entry| entry.peer.ingress.discards(path.attributes()))
    }

    /// The next hops of the best path and of those as good as it, and says so in their reasons. A
    /// path that adds none has lost its tie and stays so.
    fn select_next_hops(&mut self, best: u32) -> Option<Arc<[NextHop]>> {
        let next_hops_of = |path: u32| {
            let next_hop = self.paths.at(path).next_hop()?;
            self.next_hops.at(next_hop).resolved.as_ref().map(|to| to.next_hops.clone())
        };
        let others = self.decision.equal.get(1..).unwrap_or_default();
        let first = next_hops_of(best)?;
        let limit = self.config.decision.multipath.min(MAX_MULTIPATH);
        if others.is_empty() || limit <= 1 {
            return Some(first);
        }
        let relax = self.config.decision.multipath_relax;
        let best_attributes = self.paths.at(best).attributes().clone();
        let mut all = first.to_vec();
        let mut verdicts = Vec::new();
        for &other in others {
            let path = self.candidates[other].path;
            // A way and none cannot be one route.
            if self.discards(self.paths.at(path)) {
                continue;
            }
            if !relax && !self.paths.at(path).attributes().has_as_path_of(&best_attributes) {
                continue;
            }
            let Some(more) = next_hops_of(path) else { continue };
            let new: Vec<_> = more.iter().filter(|hop| !all.contains(hop)).copied().collect();
            if new.is_empty() {
                continue;
            }
            if all.len() + new.len() > limit {
                verdicts.push((path, Reason::MultipathLimit));
            } else {
                verdicts.push((path, Reason::Multipath));
                all.extend(new);
            }
        }
        for (path, reason) in verdicts {
            self.paths.at_mut(path).reason = reason;
        }
        Some(if all.len() == first.len() { first } else { self.next_hops.set(all) })
    }

    fn note_best(&mut self, dirty: Dirty, best: Option<u32>, told: &mut impl FnMut(BestChange)) {
        let Dirty { destination: id, told: old, additional: old_additional } = dirty;
        self.destinations.at_mut(id).best = best.unwrap_or(NIL);
        let new = best.map(|best| self.told(best));
        let step = isize::from(new.is_some()) - isize::from(old.is_some());
        self.chosen.step(self.destinations.family(id), step);
        let new_additional = self.additional(id, self.additional_paths.unwrap_or_default());
        let released = old.as_ref().and_then(|old| old.next_hop);
        let released_additional: Vec<_> =
            old_additional.iter().filter_map(|old| old.next_hop).collect();
        let same = match (&old, &new) {
            (None, None) => true,
            (Some(old), Some(new)) => old.says_the_same_as(new),
            _ => false,
        };
        let same_additional = old_additional.len() == new_additional.len()
            && old_additional
                .iter()
                .zip(&new_additional)
                .all(|(old, new)| old.path == new.path && old.says_the_same_as(new));
        if !same {
            self.note_best_change(self.destinations.prefix(id));
        }
        let moved = old.as_ref().map(|old| old.path) != new.as_ref().map(|new| new.path);
        if !same || !same_additional || moved && self.additional_paths.is_some() {
            let words = |told: Box<[Told]>| told.into_iter().map(|told| self.best_path(told));
            told(BestChange {
                prefix: self.destinations.prefix(id),
                old: old.map(|old| self.best_path(old)),
                new: new.map(|new| self.best_path(new)),
                old_additional: words(old_additional).collect(),
                new_additional: words(new_additional).collect(),
            });
        }
        for next_hop in released.into_iter().chain(released_additional) {
            self.next_hops.release(next_hop);
        }
    }

    pub(super) fn best_path(&self, told: Told) -> BestPath {
        let Told { path, attributes, source, next_hop } = told;
        let next_hop = next_hop.map(|id| self.next_hops.at(id).key.next_hop());
        BestPath { path_id: path + 1, source, attributes, next_hop }
    }

    pub(super) fn source_of(&self, path: &Path) -> PathSource {
        match path.origin() {
            Origin::Local(source) => PathSource::Local(source),
            Origin::Peer(peer) => {
                let entry = self.peers.entry(peer).map(|entry| &entry.peer);
                PathSource::Peer {
                    peer,
                    address: entry.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address),
                    kind: entry.map_or(PeerKind::External, |peer| peer.kind),
                    router_id: entry.map_or(self.config.router_id, |peer| peer.router_id),
                    reflector_client: entry.is_some_and(|peer| peer.reflector_client),
                }
            }
        }
    }
}
