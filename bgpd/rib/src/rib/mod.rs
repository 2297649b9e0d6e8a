//! The table and what goes in and out of it.

mod announce;
mod flush;
mod handover;
mod update;
mod view;
mod walk;
mod watch;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use bgp_wire::{AttributeSet, BgpNextHop, PeerKind};
use viaduct_net::{Asn, Family, OriginSource, Prefix, RouterId};

use crate::{
    DecisionRules, FamilyCounts, PeerId,
    decision::{Candidate, Decision},
    destinations::{Destination, Destinations},
    interner::AttributeInterner,
    next_hop::{NextHopId, NextHopTable},
    paths::{NIL, Paths},
    peer::PeerTable,
    routes::Routes,
    underlay::UnderlayTable,
};

pub use handover::{
    DestinationRecord, NextHopRecord, PathRecord, TableError, TablePiece, Takeover,
};
pub(crate) use update::with_community;
pub use view::{PathView, RibCounts};
pub use walk::{AnyCommunity, PathFilter, Step};
pub use watch::Changes;

/// This speaker, as far as its decisions depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RibConfig {
    pub asn: Asn,
    pub router_id: RouterId,
    /// Where we reflect: a path that has been in this cluster has come round (RFC 4456 §8).
    pub cluster_id: Option<Ipv4Addr>,
    /// Our own addresses: a path that names one as its next hop is unusable (RFC 4271 §5.1.3).
    pub addresses: Vec<IpAddr>,
    /// The AS that we are to the outside, where we are a member of a confederation (RFC 5065 §3).
    pub confederation: Option<Asn>,
    pub decision: DecisionRules,
}

impl RibConfig {
    pub const fn new(asn: Asn, router_id: RouterId, addresses: Vec<IpAddr>) -> Self {
        Self {
            asn,
            router_id,
            cluster_id: None,
            addresses,
            confederation: None,
            decision: DecisionRules::DEFAULT,
        }
    }
}

/// Where a path came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathSource {
    Local(OriginSource),
    Peer {
        peer: PeerId,
        address: IpAddr,
        kind: PeerKind,
        /// The peer's, which becomes the ORIGINATOR_ID of what is reflected.
        router_id: RouterId,
        reflector_client: bool,
    },
}

impl PathSource {
    /// `None` where it is ours.
    pub const fn kind(self) -> Option<PeerKind> {
        match self {
            Self::Local(_) => None,
            Self::Peer { kind, .. } => Some(kind),
        }
    }

    pub const fn peer(self) -> Option<PeerId> {
        match self {
            Self::Local(_) => None,
            Self::Peer { peer, .. } => Some(peer),
        }
    }

    /// The peer's; `None` where it is ours.
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Local(_) => None,
            Self::Peer { address, .. } => Some(address),
        }
    }
}

/// A path that peers are told of, in words that outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestPath {
    /// Ours for the path, where peers are told of several for a prefix (RFC 7911 §3): never zero, and the
    /// same for as long as the path is in the table.
    pub path_id: u32,
    pub source: PathSource,
    /// One allocation for all paths with equal attributes.
    pub attributes: AttributeSet,
    /// As the peer said it, or as import has made it; `None` for what is originated here.
    pub next_hop: Option<BgpNextHop>,
}

/// The best path of a prefix is another, or says something else; or one of those does that are told
/// beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestChange {
    pub prefix: Prefix,
    pub old: Option<BestPath>,
    pub new: Option<BestPath>,
    /// What [`Rib::set_additional_paths`] asks for, before and after; the better ones first.
    pub old_additional: Vec<BestPath>,
    pub new_additional: Vec<BestPath>,
}

/// What was announced could not all be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// The session is to end with Cease, maximum number of prefixes reached (RFC 4486 §4).
    #[error("more than {limit} prefixes")]
    PrefixLimit { limit: u32 },
    /// The same, of a limit of one family.
    #[error("more than {limit} {family} prefixes")]
    FamilyLimit { family: Family, limit: u32 },
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

/// What peers were last told of a prefix.
#[derive(Clone, Debug)]
struct Told {
    path: u32,
    attributes: AttributeSet,
    source: PathSource,
    next_hop: Option<NextHopId>,
}

/// A prefix to be decided anew.
#[derive(Debug)]
struct Dirty {
    destination: u32,
    /// The best path as it was told, from before the first change since. Its next hop holds a
    /// reference.
    told: Option<Told>,
    /// And those told beside it; their next hops hold references too.
    additional: Box<[Told]>,
}

/// The routing information base. See the crate's documentation.
#[derive(Debug)]
pub struct Rib {
    config: RibConfig,
    peers: PeerTable,
    paths: Paths,
    destinations: Destinations,
    next_hops: NextHopTable,
    routes: Routes,
    pub(crate) underlay: UnderlayTable,
    /// What [`Self::set_lost`] was told.
    lost: BTreeSet<IpAddr>,
    originations: BTreeMap<Prefix, OriginSource>,
    attributes: AttributeInterner,
    /// To be decided by the next flush.
    dirty: Vec<Dirty>,
    /// How often one of them was changed.
    touched: usize,
    /// How many paths of a prefix are told beside the best one; `None` where paths have no names.
    additional_paths: Option<usize>,
    /// Whether anybody forwards by the routes.
    has_fib: bool,
    /// How many prefixes have a route in the FIB.
    routed: usize,
    /// How many had a best path after the last flush.
    chosen: FamilyCounts,
    /// What has changed, where somebody watches.
    watched: Option<Changes>,
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
            destinations: Destinations::default(),
            next_hops: NextHopTable::default(),
            routes: Routes::default(),
            underlay: UnderlayTable::default(),
            lost: BTreeSet::new(),
            originations: BTreeMap::new(),
            attributes: AttributeInterner::default(),
            dirty: Vec::new(),
            touched: 0,
            additional_paths: None,
            has_fib: true,
            routed: 0,
            chosen: FamilyCounts::default(),
            watched: None,
            decision: Decision::default(),
            candidates: Vec::new(),
        }
    }

    /// Nobody forwards by the routes, as with a reflector: then none are made. To be said before there
    /// are any.
    pub const fn without_fib(&mut self) {
        self.has_fib = false;
    }

    /// Changes are to say which paths are told beside the best one, up to so many: for peers that take
    /// several (RFC 7911). `None`: nobody is told by which name a path goes. To be said of a table that
    /// is settled, or was never flushed.
    pub fn set_additional_paths(&mut self, count: Option<usize>) {
        if self.additional_paths != count {
            debug_assert!(self.is_settled() || !self.has_best(), "flush first");
            self.additional_paths = count;
        }
    }

    pub const fn config(&self) -> &RibConfig {
        &self.config
    }

    /// Whether [`Self::flush`] has anything to decide.
    pub const fn is_settled(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Prefixes that are to be decided.
    pub const fn undecided(&self) -> usize {
        self.dirty.len()
    }

    /// How often they were changed, one by one, since all was decided.
    pub const fn touched(&self) -> usize {
        self.touched
    }

    fn destination(&self, id: u32) -> &Destination {
        self.destinations.at(id)
    }

    /// To be called before anything of the prefix changes, because it notes what was told of it.
    fn mark_dirty(&mut self, id: u32) {
        self.touched += 1;
        let destination = self.destinations.at_mut(id);
        if std::mem::replace(&mut destination.dirty, true) {
            return;
        }
        let best = destination.best;
        let told = (best != NIL).then(|| self.told(best));
        let additional = self.additional(id, self.additional_paths.unwrap_or_default());
        for next_hop in told.iter().chain(&additional).filter_map(|told| told.next_hop) {
            self.next_hops.retain(next_hop);
        }
        self.dirty.push(Dirty { destination: id, told, additional });
    }

    /// The paths told beside the best one: of those that could stand in for it the ones that have lost
    /// last. None where no path is the best.
    fn additional(&self, id: u32, count: usize) -> Box<[Told]> {
        let Destination { head, best, .. } = *self.destination(id);
        if count == 0 || best == NIL || self.paths.next(head) == NIL {
            return Box::default();
        }
        let usable =
            self.paths.list(head).filter(|(id, path)| *id != best && path.reason.is_usable());
        let mut others: Vec<_> = usable.map(|(id, path)| (path.reason.rank(), id)).collect();
        others.sort_unstable();
        others.into_iter().take(count).map(|(_, path)| self.told(path)).collect()
    }

    /// What is to be told of a path that is the best.
    fn told(&self, id: u32) -> Told {
        let path = self.paths.at(id);
        Told {
            path: id,
            attributes: path.attributes().clone(),
            source: self.source_of(path),
            next_hop: path.next_hop(),
        }
    }
}
