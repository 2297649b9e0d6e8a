//! Resolution over BGP, decision, and what follows.

use std::sync::Arc;

use viaduct_net::{NextHop, Prefix, Route, RouteSource, RouteUpdate};

use super::{BestChange, BestPath, Changes, Origin, PathSource, Rib, Told};
use crate::{
    DEFAULT_LOCAL_PREF, MAX_MULTIPATH, Reason,
    decision::Candidate,
    next_hop::{NextHopId, Resolved},
    slab::{List, NIL, Path},
};
use bgp_wire::PeerKind;

impl Rib {
    /// Decides all that has changed and gives what follows.
    pub fn flush(&mut self) -> Changes {
        self.resolve_next_hops();
        let mut changes = Changes::default();
        let dirty = std::mem::take(&mut self.dirty);
        for &id in &dirty {
            self.destination_mut(id).dirty = false;
            self.decide(id, &mut changes);
            self.free_if_empty(id);
        }
        self.peers.free_removed();
        changes.fib.sort_unstable_by_key(|update| update.prefix);
        changes.best.sort_unstable_by_key(|change| change.prefix);
        changes
    }

    /// The second stratum of `next_hop`'s documentation: it reads only the first, so one pass is
    /// enough and its order does not matter.
    fn resolve_next_hops(&mut self) {
        for &id in &self.dirty {
            if let Some(destination) = &self.destinations[id as usize] {
                self.next_hops.enqueue_inside(destination.prefix);
            }
        }
        while let Some(id) = self.next_hops.dequeue() {
            let resolved = self.resolve(id);
            let entry = self.next_hops.at_mut(id);
            if entry.resolved != resolved {
                entry.resolved = resolved;
                self.mark_dirty_by_next_hop(id);
            }
        }
    }

    fn resolve(&mut self, id: NextHopId) -> Option<Resolved> {
        let entry = self.next_hops.at(id);
        let address = entry.key.next_hop().address();
        let direct = entry.direct.clone();
        for len in direct.longer_lens(address) {
            let Some(&destination) =
                Prefix::new(address, len).ok().and_then(|prefix| self.by_prefix.get(&prefix))
            else {
                continue;
            };
            match self.best_direct(destination) {
                // Our own: the next hop is behind us, and not to be looked for in the underlay.
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
    /// the prefix is our own.
    fn best_direct(&mut self, destination: u32) -> Option<Option<NextHopId>> {
        self.collect_candidates(destination, |rib, path| {
            let next_hop = path.next_hop?;
            Some(rib.next_hops.at(next_hop).direct.resolved.as_ref()?.metric)
        });
        self.decision.run(&self.candidates);
        let &best = self.decision.equal.first()?;
        Some(self.paths.at(self.candidates[best].path).next_hop)
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
        for (id, path) in self.paths.list(List::Destination, head) {
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
        let attributes = &path.attributes;
        let numbers = Candidate {
            path: id,
            local: true,
            internal: false,
            local_pref: attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            as_path_len: attributes.as_path.route_len() as u32,
            origin: attributes.origin,
            neighbor_as: attributes.as_path.neighbor_as(),
            // RFC 4271 §9.1.2.2 c: a missing MED is the lowest.
            med: attributes.med.unwrap_or(0),
            metric: 0,
            router_id: self.config.router_id.to_u32(),
            cluster_list_len: attributes.cluster_list.len() as u32,
            peer_address: std::net::Ipv4Addr::UNSPECIFIED.into(),
        };
        let Origin::Peer(peer) = path.origin else {
            return Some(numbers);
        };
        let peer = &self.peers.entry(peer)?.peer;
        Some(Candidate {
            local: false,
            internal: peer.kind == PeerKind::Internal,
            metric: metric(self, path)?,
            // RFC 4456 §9: of a reflected route its originator counts.
            router_id: attributes.originator_id.unwrap_or(peer.router_id).to_u32(),
            peer_address: peer.address,
            ..numbers
        })
    }

    /// Decides one prefix and notes what follows.
    fn decide(&mut self, id: u32, changes: &mut Changes) {
        self.collect_candidates(id, |rib, path| {
            let next_hop = path.next_hop?;
            Some(rib.next_hops.at(next_hop).resolved.as_ref()?.metric)
        });
        self.decision.run(&self.candidates);

        let mut path = self.destination(id).head;
        while path != NIL {
            let entry = self.paths.at_mut(path);
            entry.reason = match entry.import {
                Reason::Undecided => Reason::NextHopUnreachable,
                rejected => rejected,
            };
            path = self.paths.next(List::Destination, path);
        }
        for (candidate, reason) in self.candidates.iter().zip(&self.decision.reasons) {
            self.paths.at_mut(candidate.path).reason = *reason;
        }

        let best = self.decision.equal.first().map(|&best| self.candidates[best].path);
        self.note_route(id, best, changes);
        self.note_best(id, best, changes);
    }

    fn note_route(&mut self, id: u32, best: Option<u32>, changes: &mut Changes) {
        let route = best.and_then(|best| {
            let Origin::Peer(peer) = self.paths.at(best).origin else {
                return None;
            };
            let source = match self.peers.entry(peer)?.peer.kind {
                PeerKind::Internal => RouteSource::Ibgp,
                PeerKind::External => RouteSource::Ebgp,
            };
            Some(Route { next_hops: self.select_next_hops()?, source })
        });
        let destination = self.destination_mut(id);
        if destination.fib == route {
            return;
        }
        let prefix = destination.prefix;
        let had_route = std::mem::replace(&mut destination.fib, route.clone()).is_some();
        self.routes += usize::from(route.is_some());
        self.routes -= usize::from(had_route);
        changes.fib.push(RouteUpdate { prefix, route });
    }

    /// The next hops of the best path and of those as good as it, and says so in their reasons. A
    /// path that adds none has lost its tie and stays so.
    fn select_next_hops(&mut self) -> Option<Arc<[NextHop]>> {
        let next_hops_of = |path: u32| {
            let next_hop = self.paths.at(path).next_hop?;
            self.next_hops.at(next_hop).resolved.as_ref().map(|to| to.next_hops.clone())
        };
        let (&best, others) = self.decision.equal.split_first()?;
        let first = next_hops_of(self.candidates[best].path)?;
        let limit = self.config.multipath.min(MAX_MULTIPATH);
        if others.is_empty() || limit <= 1 {
            return Some(first);
        }
        let mut all = first.to_vec();
        let mut verdicts = Vec::new();
        for &other in others {
            let path = self.candidates[other].path;
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

    fn note_best(&mut self, id: u32, best: Option<u32>, changes: &mut Changes) {
        let new = best.map(|best| {
            let path = self.paths.at(best);
            Told {
                attributes: path.attributes.clone(),
                source: self.source_of(path),
                next_hop: path.next_hop,
            }
        });
        let destination = self.destination(id);
        let same = match (&destination.told, &new) {
            (None, None) => true,
            (Some(old), Some(new)) => {
                old.source == new.source
                    && old.next_hop == new.next_hop
                    && Arc::ptr_eq(&old.attributes, &new.attributes)
            }
            _ => false,
        };
        if same {
            return;
        }
        let change = BestChange {
            prefix: destination.prefix,
            old: destination.told.as_ref().map(|told| self.best_path(told)),
            new: new.as_ref().map(|told| self.best_path(told)),
        };
        changes.best.push(change);
        if let Some(next_hop) = new.as_ref().and_then(|told| told.next_hop) {
            self.next_hops.retain(next_hop);
        }
        let old = std::mem::replace(&mut self.destination_mut(id).told, new);
        if let Some(next_hop) = old.and_then(|told| told.next_hop) {
            self.next_hops.release(next_hop);
        }
    }

    pub(super) fn best_path(&self, told: &Told) -> BestPath {
        BestPath {
            source: told.source,
            attributes: told.attributes.clone(),
            next_hop: told.next_hop.map(|id| self.next_hops.at(id).key.next_hop()),
        }
    }

    pub(super) fn source_of(&self, path: &Path) -> PathSource {
        match path.origin {
            Origin::Local(source) => PathSource::Local(source),
            Origin::Peer(peer) => {
                let entry = self.peers.entry(peer).map(|entry| &entry.peer);
                PathSource::Peer {
                    peer,
                    kind: entry.map_or(PeerKind::External, |peer| peer.kind),
                    router_id: entry.map_or(self.config.router_id, |peer| peer.router_id),
                    reflector_client: entry.is_some_and(|peer| peer.reflector_client),
                }
            }
        }
    }

    fn free_if_empty(&mut self, id: u32) {
        let destination = self.destination(id);
        if destination.head == NIL {
            let prefix = destination.prefix;
            self.by_prefix.remove(&prefix);
            self.destinations[id as usize] = None;
            self.free_destinations.push(id);
        }
    }
}
