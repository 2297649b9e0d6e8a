//! What a rule asks of a route.

use bgp_wire::{AttributeSet, Community, ExtendedCommunity, LargeCommunity, Origin, PeerKind};
use viaduct_net::{Asn, Prefix};

use crate::{AsPathPattern, PrefixSet, Ranges, Route, as_path};

/// Whom a route came from, as seen by this speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Originated here.
    Local,
    /// A peer of the same AS.
    Internal,
    /// A peer of another AS.
    External,
}

impl From<PeerKind> for Source {
    fn from(kind: PeerKind) -> Self {
        match kind {
            PeerKind::Internal | PeerKind::Confederation => Self::Internal,
            PeerKind::External => Self::External,
        }
    }
}

/// A route matches where each list that is not empty has something that fits it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    pub prefixes: PrefixSet,
    pub sources: Vec<Source>,
    /// The address of the peer that has told us the route; what is originated here has none.
    pub peers: PrefixSet,
    /// The address as a host's prefix; what is originated here has none.
    pub next_hops: PrefixSet,
    /// The neighbouring AS, the first of AS_PATH.
    pub neighbor_asns: Vec<Asn>,
    pub as_paths: Vec<AsPathPattern>,
    pub origins: Vec<Origin>,
    pub communities: Ranges<Community>,
    pub extended_communities: Ranges<ExtendedCommunity>,
    pub large_communities: Ranges<LargeCommunity>,
}

/// Attributes, with their path as expressions see it once one has asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) set: AttributeSet,
    path: Option<String>,
}

impl Seen {
    pub(crate) const fn new(set: AttributeSet) -> Self {
        Self { set, path: None }
    }
}

impl Matches {
    /// Whether a look at the attributes, or at the next hop, is needed.
    pub fn needs_attributes(&self) -> bool {
        !self.next_hops.is_empty() || self.asks_attributes()
    }

    pub(crate) fn asks_attributes(&self) -> bool {
        !self.neighbor_asns.is_empty()
            || !self.as_paths.is_empty()
            || !self.origins.is_empty()
            || !self.communities.is_empty()
            || !self.extended_communities.is_empty()
            || !self.large_communities.is_empty()
    }

    /// What is known without attributes and next hop.
    pub(crate) fn fit(&self, route: &Route) -> bool {
        let from = |peer| self.peers.contains(Prefix::host(peer));
        (self.sources.is_empty() || self.sources.contains(&route.source))
            && (self.prefixes.is_empty() || self.prefixes.contains(route.prefix))
            && (self.peers.is_empty() || route.peer.is_some_and(from))
    }

    pub(crate) fn fit_next_hop(&self, next_hop: Option<std::net::IpAddr>) -> bool {
        let is_one = |address| self.next_hops.contains(Prefix::host(address));
        self.next_hops.is_empty() || next_hop.is_some_and(is_one)
    }

    /// What the attributes say; the dearest question last.
    pub(crate) fn fit_attributes(&self, seen: &mut Seen) -> bool {
        let set = &seen.set;
        let facts = set.facts();
        let is_neighbor = |asn| self.neighbor_asns.contains(&asn);
        let cheap = (self.neighbor_asns.is_empty() || facts.neighbor_as().is_some_and(is_neighbor))
            && (self.origins.is_empty() || self.origins.contains(&facts.origin()))
            && (self.communities.is_empty() || self.communities.meets(set.communities()))
            && (self.extended_communities.is_empty()
                || self.extended_communities.meets(set.extended_communities()))
            && (self.large_communities.is_empty()
                || self.large_communities.meets(set.large_communities()));
        if !cheap || self.as_paths.is_empty() {
            return cheap;
        }
        let path = &*seen.path.get_or_insert_with(|| as_path::render(&seen.set));
        self.as_paths.iter().any(|pattern| pattern.matches(path))
    }
}
