//! The table as an operator sees it. Everything in the order of the prefixes, and under a prefix
//! in the order of the peers' addresses, our own first.

use std::{net::IpAddr, ops::Range};

use bgp_wire::{AttributeSet, BgpNextHop, Nlri};
use viaduct_net::{NextHop, OriginSource, Prefix, Route};

use super::{BestPath, PathSource, Rib};
use crate::{
    FamilyCounts, ImportCounters, Peer, PeerCounts, PeerId, Reason,
    paths::{NIL, Path},
};

/// One path with all that is known of it.
#[derive(Clone, Debug)]
pub struct PathView<'a> {
    pub prefix: Prefix,
    /// By which the peer knows the path among several for the prefix (RFC 7911 §3), else zero.
    pub path_id: u32,
    pub source: PathSource,
    /// `None` for what is originated here.
    pub peer: Option<&'a Peer>,
    /// As import has made them.
    pub attributes: &'a AttributeSet,
    /// The same.
    pub next_hop: Option<BgpNextHop>,
    /// What the peer said, where import has changed it.
    pub received: Option<(&'a AttributeSet, BgpNextHop)>,
    /// Where it leads on link; empty where it is unreachable or there is none.
    pub resolved: &'a [NextHop],
    /// Of the underlay's route to the next hop.
    pub metric: Option<u32>,
    /// Whether import has let the path pass.
    pub accepted: bool,
    /// What became of the path in the last flush.
    pub reason: Reason,
    pub stale: bool,
}

impl PathView<'_> {
    pub const fn originated(&self) -> Option<OriginSource> {
        match self.source {
            PathSource::Local(source) => Some(source),
            PathSource::Peer { .. } => None,
        }
    }
}

/// How much there is in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RibCounts {
    pub prefixes: usize,
    pub paths: usize,
    /// Prefixes whose route is in the FIB or on its way there.
    pub routes: usize,
    /// Prefixes with a best path, as of the last flush (Loc-RIB).
    pub best: FamilyCounts,
    pub next_hops: usize,
    /// Distinct sets of attributes, with those not yet swept out.
    pub attributes: usize,
}

impl Rib {
    pub fn counts(&self) -> RibCounts {
        RibCounts {
            prefixes: self.destinations.len(),
            paths: self.paths.len(),
            routes: self.routed,
            best: self.chosen,
            next_hops: self.next_hops.len(),
            attributes: self.attributes.len(),
        }
    }

    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.entry(id).map(|entry| &entry.peer)
    }

    pub fn peer_counts(&self, id: PeerId) -> PeerCounts {
        self.peers.entry(id).map(|entry| entry.counts).unwrap_or_default()
    }

    /// What was met with in what a peer has told.
    pub fn import_counters(&self, id: PeerId) -> ImportCounters {
        self.peers.entry(id).map(|entry| entry.counters).unwrap_or_default()
    }

    /// In the order of their addresses.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.peers.ids().filter_map(|id| Some((id, self.peer(id)?)))
    }

    /// Every path there is.
    pub fn paths(&self) -> impl Iterator<Item = PathView<'_>> {
        self.sorted()
            .into_iter()
            .flat_map(|(_, destination)| self.paths_of_destination(destination))
    }

    /// A peer's path for a prefix, by the peer's name for it.
    pub fn path(&self, peer: PeerId, nlri: Nlri) -> Option<PathView<'_>> {
        let destination = self.destinations.find(nlri.prefix)?;
        let mut paths = self.paths.list(self.destination(destination).head);
        let is_it =
            |&(id, path): &(u32, &Path)| path.is_of(peer) && self.paths.path_id(id) == nlri.path_id;
        paths.find(is_it).map(|(id, _)| self.view(destination, id))
    }

    /// The paths of one prefix.
    pub fn paths_of(&self, prefix: Prefix) -> Vec<PathView<'_>> {
        let destination = self.destinations.find(prefix);
        destination.map(|destination| self.paths_of_destination(destination)).unwrap_or_default()
    }

    /// What came from one peer (RFC 4271 §3.2, Adj-RIB-In), the rejected too.
    pub fn adj_rib_in(&self, peer: PeerId) -> impl Iterator<Item = PathView<'_>> {
        let of_peer = |destination: u32| {
            let paths = self.paths.list(self.destination(destination).head);
            let paths = paths.filter(|(_, path)| path.is_of(peer));
            paths.map(move |(id, _)| self.view(destination, id))
        };
        let mut paths: Vec<_> = self.destinations.ids().flat_map(of_peer).collect();
        paths.sort_by_key(|path| (path.prefix, path.path_id));
        paths.into_iter()
    }

    /// The best path of a prefix as of the last flush; to be asked of a settled table.
    pub fn best(&self, prefix: Prefix) -> Option<BestPath> {
        self.best_at(self.destinations.find(prefix)?)
    }

    fn best_at(&self, destination: u32) -> Option<BestPath> {
        let best = self.destination(destination).best;
        (best != NIL).then(|| self.best_path(self.told(best)))
    }

    /// The paths told beside the best one to whoever takes `count` of them, the better ones first; to be
    /// asked of a settled table.
    pub fn additional_paths(&self, prefix: Prefix, count: usize) -> Vec<BestPath> {
        let destination = self.destinations.find(prefix);
        destination.map(|id| self.additional_at(id, count)).unwrap_or_default()
    }

    fn additional_at(&self, destination: u32, count: usize) -> Vec<BestPath> {
        let told = self.additional(destination, count).into_iter();
        told.map(|told| self.best_path(told)).collect()
    }

    /// Whether there is any.
    pub fn has_best(&self) -> bool {
        self.destinations.ids().any(|id| self.destination(id).best != NIL)
    }

    /// All paths that are told as of the last flush, in no order: the best ones (Loc-RIB), and up to
    /// `additional` beside each.
    pub fn told_paths(&self, additional: usize) -> impl Iterator<Item = (Prefix, BestPath)> {
        self.told_in(0..self.destinations.end(), additional)
    }

    /// Those of the next `count` places of the table, and where to go on: a walk over all of it in steps,
    /// between which the table may change. What is changed behind the walker it hears of otherwise.
    pub fn told_paths_from(
        &self,
        from: u32,
        count: usize,
        additional: usize,
    ) -> (impl Iterator<Item = (Prefix, BestPath)>, Option<u32>) {
        let end = self.destinations.end();
        let to = from.saturating_add(count as u32).min(end);
        (self.told_in(from..to, additional), (to < end).then_some(to))
    }

    fn told_in(
        &self,
        places: Range<u32>,
        additional: usize,
    ) -> impl Iterator<Item = (Prefix, BestPath)> {
        let live = places.filter(|id| self.destinations.is_live(*id));
        let told = live.filter_map(move |id| {
            let others =
                if additional > 0 { self.additional_at(id, additional) } else { Vec::new() };
            Some((self.destinations.prefix(id), self.best_at(id)?, others))
        });
        told.flat_map(|(prefix, best, others)| {
            std::iter::once(best).chain(others).map(move |path| (prefix, path))
        })
    }

    /// What the FIB was told of a prefix.
    pub fn route(&self, prefix: Prefix) -> Option<&Route> {
        let route = self.destination(self.destinations.find(prefix)?).route?;
        Some(self.routes.at(route))
    }

    /// All that the FIB was told and that still holds.
    pub fn routes(&self) -> impl Iterator<Item = (Prefix, &Route)> {
        self.sorted().into_iter().filter_map(|(prefix, destination)| {
            Some((prefix, self.routes.at(self.destination(destination).route?)))
        })
    }

    /// The most specific prefix with a best path around an address.
    pub fn longest_match(&self, address: IpAddr) -> Option<(Prefix, BestPath)> {
        let host = Prefix::host(address);
        (0..=host.len()).rev().find_map(|len| {
            let prefix = host.truncate(len);
            Some((prefix, self.best(prefix)?))
        })
    }

    fn sorted(&self) -> Vec<(Prefix, u32)> {
        let ids = self.destinations.ids();
        let mut all: Vec<_> = ids.map(|id| (self.destinations.prefix(id), id)).collect();
        all.sort_unstable();
        all
    }

    fn paths_of_destination(&self, destination: u32) -> Vec<PathView<'_>> {
        let paths = self.paths.list(self.destination(destination).head);
        let mut views: Vec<_> = paths.map(|(id, _)| self.view(destination, id)).collect();
        views.sort_by_key(|view| (view.peer.map(|peer| peer.address), view.path_id));
        views
    }

    pub(super) fn view(&self, destination: u32, id: u32) -> PathView<'_> {
        let path = self.paths.at(id);
        let next_hop = path.next_hop().map(|id| self.next_hops.at(id));
        let resolved = next_hop.and_then(|entry| entry.resolved.as_ref());
        let received = self.paths.original(id).map(|original| {
            (&original.attributes, self.next_hops.at(original.next_hop).key.next_hop())
        });
        PathView {
            prefix: self.destinations.prefix(destination),
            path_id: self.paths.path_id(id),
            source: self.source_of(path),
            peer: path.peer().and_then(|id| self.peer(id)),
            attributes: path.attributes(),
            next_hop: next_hop.map(|entry| entry.key.next_hop()),
            received,
            resolved: resolved.map(|to| &*to.next_hops).unwrap_or_default(),
            metric: resolved.map(|to| to.metric),
            accepted: path.import == Reason::Undecided,
            reason: path.reason,
            stale: path.stale,
        }
    }
}
