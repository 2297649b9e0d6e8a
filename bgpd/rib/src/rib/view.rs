//! The table as an operator sees it. Everything in the order of the prefixes, and under a prefix
//! in the order of the peers' addresses, our own first.

use std::net::IpAddr;

use bgp_wire::{BgpNextHop, PathAttributes};
use viaduct_net::{NextHop, OriginSource, Prefix, Route};

use super::{BestPath, Destination, Origin, PathSource, Rib};
use crate::{
    Peer, PeerCounts, PeerId, Reason,
    slab::{List, Path},
};

/// One path with all that is known of it.
#[derive(Clone, Debug)]
pub struct PathView<'a> {
    pub prefix: Prefix,
    pub source: PathSource,
    /// `None` for what is originated here.
    pub peer: Option<&'a Peer>,
    pub attributes: &'a PathAttributes,
    /// As the peer said it.
    pub next_hop: Option<BgpNextHop>,
    /// Where it leads on link; empty where it is unreachable or there is none.
    pub resolved: &'a [NextHop],
    /// Of the underlay's route to the next hop.
    pub metric: Option<u32>,
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
    pub next_hops: usize,
    /// Distinct sets of attributes, with those not yet swept out.
    pub attributes: usize,
}

impl Rib {
    pub fn counts(&self) -> RibCounts {
        RibCounts {
            prefixes: self.by_prefix.len(),
            paths: self.paths.len(),
            routes: self.routes,
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

    /// In the order of their addresses.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.peers.ids().filter_map(|id| Some((id, self.peer(id)?)))
    }

    /// Every path there is.
    pub fn paths(&self) -> impl Iterator<Item = PathView<'_>> {
        self.sorted().into_iter().flat_map(|destination| self.paths_of_destination(destination))
    }

    /// The paths of one prefix.
    pub fn paths_of(&self, prefix: Prefix) -> Vec<PathView<'_>> {
        let destination = self.by_prefix.get(&prefix).map(|&id| self.destination(id));
        destination.map(|destination| self.paths_of_destination(destination)).unwrap_or_default()
    }

    /// What came from one peer (RFC 4271 §3.2, Adj-RIB-In), the rejected too.
    pub fn adj_rib_in(&self, peer: PeerId) -> impl Iterator<Item = PathView<'_>> {
        let head = self.peers.entry(peer).map(|entry| entry.head);
        let ids = head.into_iter().flat_map(|head| self.paths.list(List::Peer, head));
        let mut paths: Vec<_> = ids.map(|(_, path)| self.view(path)).collect();
        paths.sort_by_key(|path| path.prefix);
        paths.into_iter()
    }

    /// The best path of a prefix as of the last flush.
    pub fn best(&self, prefix: Prefix) -> Option<BestPath> {
        let &id = self.by_prefix.get(&prefix)?;
        self.destination(id).told.as_ref().map(|told| self.best_path(told))
    }

    /// All best paths as of the last flush (Loc-RIB): what a new peer is told, by way of
    /// [`crate::export`].
    pub fn best_paths(&self) -> impl Iterator<Item = (Prefix, BestPath)> {
        self.sorted().into_iter().filter_map(|destination| {
            Some((destination.prefix, self.best_path(destination.told.as_ref()?)))
        })
    }

    /// What the FIB was told of a prefix.
    pub fn route(&self, prefix: Prefix) -> Option<&Route> {
        self.destination(*self.by_prefix.get(&prefix)?).fib.as_ref()
    }

    /// All that the FIB was told and that still holds.
    pub fn routes(&self) -> impl Iterator<Item = (Prefix, &Route)> {
        let destinations = self.sorted().into_iter();
        destinations.filter_map(|destination| Some((destination.prefix, destination.fib.as_ref()?)))
    }

    /// The most specific prefix with a best path around an address.
    pub fn longest_match(&self, address: IpAddr) -> Option<(Prefix, BestPath)> {
        let host = Prefix::host(address);
        (0..=host.len()).rev().find_map(|len| {
            let prefix = host.truncate(len);
            Some((prefix, self.best(prefix)?))
        })
    }

    fn sorted(&self) -> Vec<&Destination> {
        let mut all: Vec<_> = self.destinations.iter().flatten().collect();
        all.sort_unstable_by_key(|destination| destination.prefix);
        all
    }

    fn paths_of_destination(&self, destination: &Destination) -> Vec<PathView<'_>> {
        let paths = self.paths.list(List::Destination, destination.head);
        let mut views: Vec<_> = paths.map(|(_, path)| self.view(path)).collect();
        views.sort_by_key(|view| view.peer.map(|peer| peer.address));
        views
    }

    fn view<'a>(&'a self, path: &'a Path) -> PathView<'a> {
        let next_hop = path.next_hop.map(|id| self.next_hops.at(id));
        let resolved = next_hop.and_then(|entry| entry.resolved.as_ref());
        PathView {
            prefix: self.destination(path.destination).prefix,
            source: self.source_of(path),
            peer: match path.origin {
                Origin::Local(_) => None,
                Origin::Peer(id) => self.peer(id),
            },
            attributes: &path.attributes,
            next_hop: next_hop.map(|entry| entry.key.next_hop()),
            resolved: resolved.map(|to| &*to.next_hops).unwrap_or_default(),
            metric: resolved.map(|to| to.metric),
            reason: path.reason,
            stale: path.stale,
        }
    }
}
