//! The table and what goes in and out of it.

mod flush;
mod update;
mod view;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use bgp_wire::{BgpNextHop, PathAttributes, PeerKind};
use viaduct_net::{Asn, OriginSource, Prefix, Route, RouteUpdate, RouterId};

use crate::{
    MAX_MULTIPATH, PeerId,
    decision::{Candidate, Decision},
    interner::Interner,
    next_hop::{NextHopId, NextHopTable},
    peer::PeerTable,
    slab::Paths,
    underlay::UnderlayTable,
};

pub use view::{PathView, RibCounts};

/// This speaker, as far as its decisions depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RibConfig {
    pub asn: Asn,
    pub router_id: RouterId,
    /// Where we reflect: a path that has been in this cluster has come round (RFC 4456 §8).
    pub cluster_id: Option<Ipv4Addr>,
    /// Our own addresses: a path that names one as its next hop is unusable (RFC 4271 §5.1.3).
    pub addresses: Vec<IpAddr>,
    /// The most next hops of one route; one turns multipath off. Bounded by [`MAX_MULTIPATH`].
    pub multipath: usize,
}

impl RibConfig {
    pub const fn new(asn: Asn, router_id: RouterId, addresses: Vec<IpAddr>) -> Self {
        Self { asn, router_id, cluster_id: None, addresses, multipath: MAX_MULTIPATH }
    }
}

/// Where a path came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathSource {
    Local(OriginSource),
    Peer {
        peer: PeerId,
        kind: PeerKind,
        /// The peer's, which becomes the ORIGINATOR_ID of what is reflected.
        router_id: RouterId,
        reflector_client: bool,
    },
}

/// The best path of a prefix, in words that outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestPath {
    pub source: PathSource,
    /// One allocation for all paths with equal attributes: group by [`Arc::ptr_eq`] to pack
    /// UPDATEs.
    pub attributes: Arc<PathAttributes>,
    /// As the peer said it; `None` for what is originated here.
    pub next_hop: Option<BgpNextHop>,
}

/// The best path of a prefix is another, or says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestChange {
    pub prefix: Prefix,
    pub old: Option<BestPath>,
    pub new: Option<BestPath>,
}

/// What follows from all that went into the table since the last flush. Each prefix stands at most
/// once in each list; the order is that of the prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// For the vRouter. Prefixes of our own are not among them: a route that gives way to one is
    /// withdrawn.
    pub fib: Vec<RouteUpdate>,
    /// For the peers.
    pub best: Vec<BestChange>,
}

impl Changes {
    pub const fn is_empty(&self) -> bool {
        self.fib.is_empty() && self.best.is_empty()
    }
}

/// What was announced could not all be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// The session is to end with Cease, maximum number of prefixes reached (RFC 4486 §4).
    #[error("more than {limit} prefixes")]
    PrefixLimit { limit: u32 },
    /// The table's own bound, four thousand million paths.
    #[error("the table is full")]
    TableFull,
}

/// Where a path came from, in the fewest octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Local(OriginSource),
    Peer(PeerId),
}

/// A prefix with all of its paths.
#[derive(Debug)]
struct Destination {
    prefix: Prefix,
    /// First of its paths.
    head: u32,
    /// Stands in the list of those to be decided.
    dirty: bool,
    /// What the FIB was last told.
    fib: Option<Route>,
    /// What the peers were last told of: the best path of the last flush.
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    attributes: Arc<PathAttributes>,
    source: PathSource,
    /// Holds a reference.
    next_hop: Option<NextHopId>,
}

/// The routing information base. See the crate's documentation.
#[derive(Debug)]
pub struct Rib {
    config: RibConfig,
    peers: PeerTable,
    paths: Paths,
    destinations: Vec<Option<Destination>>,
    free_destinations: Vec<u32>,
    by_prefix: HashMap<Prefix, u32>,
    next_hops: NextHopTable,
    underlay: UnderlayTable,
    originations: BTreeMap<Prefix, OriginSource>,
    attributes: Interner<PathAttributes>,
    /// Destinations to be decided by the next flush.
    dirty: Vec<u32>,
    routes: usize,
    // Working memory of flush.
    decision: Decision,
    candidates: Vec<Candidate>,
}

impl Rib {
    pub fn new(config: RibConfig) -> Self {
        Self {
            config,
            peers: PeerTable::default(),
            paths: Paths::default(),
            destinations: Vec::new(),
            free_destinations: Vec::new(),
            by_prefix: HashMap::new(),
            next_hops: NextHopTable::default(),
            underlay: UnderlayTable::default(),
            originations: BTreeMap::new(),
            attributes: Interner::default(),
            dirty: Vec::new(),
            routes: 0,
            decision: Decision::default(),
            candidates: Vec::new(),
        }
    }

    pub const fn config(&self) -> &RibConfig {
        &self.config
    }

    /// Whether [`Self::flush`] has anything to decide.
    pub const fn is_settled(&self) -> bool {
        self.dirty.is_empty()
    }

    fn destination(&self, id: u32) -> &Destination {
        self.destinations[id as usize].as_ref().expect("paths and the index hold live ones only")
    }

    fn destination_mut(&mut self, id: u32) -> &mut Destination {
        self.destinations[id as usize].as_mut().expect("paths and the index hold live ones only")
    }

    fn mark_dirty(&mut self, id: u32) {
        if !std::mem::replace(&mut self.destination_mut(id).dirty, true) {
            self.dirty.push(id);
        }
    }
}
