//! The table in steps, for whoever asks for all of it while it is in use.

use std::str::FromStr;

use bgp_wire::{AttributeSet, Community, CommunityParseError, ExtendedCommunity, LargeCommunity};
use viaduct_net::Prefix;

use super::{PathView, Rib};
use crate::{PeerId, Reason, paths::Path};

/// What one step may cost: a prefix that is passed by is one, a path that is given is
/// [`GIVEN_COST`]. Some two milliseconds either way.
const STEP_COST: usize = 32 << 10;
const GIVEN_COST: usize = 64;

/// Which paths are asked for: those for which all of this holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathFilter {
    /// Of this prefix and of those inside it.
    pub within: Option<Prefix>,
    /// From this peer.
    pub peer: Option<PeerId>,
    /// The best of their prefixes.
    pub best: bool,
    /// Refused by import.
    pub rejected: bool,
    /// With this community.
    pub community: Option<AnyCommunity>,
}

/// A community of any of the three kinds, told by how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyCommunity {
    Standard(Community),
    Extended(ExtendedCommunity),
    Large(LargeCommunity),
}

impl FromStr for AnyCommunity {
    type Err = CommunityParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let begins_as_extended = || !text.starts_with(|first: char| first.is_ascii_digit());
        match text.split(':').count() {
            3 if begins_as_extended() => text.parse().map(Self::Extended),
            3 => text.parse().map(Self::Large),
            _ if text.starts_with("0x") => text.parse().map(Self::Extended),
            _ => text.parse().map(Self::Standard),
        }
    }
}

impl AnyCommunity {
    fn is_in(self, attributes: &AttributeSet) -> bool {
        match self {
            Self::Standard(one) => attributes.communities().any(|other| other == one),
            Self::Extended(one) => attributes.extended_communities().any(|other| other == one),
            Self::Large(one) => attributes.large_communities().any(|other| other == one),
        }
    }
}

impl PathFilter {
    fn takes_prefix(&self, prefix: Prefix) -> bool {
        self.within.is_none_or(|within| within.covers(prefix))
    }

    fn takes(&self, path: &Path) -> bool {
        self.peer.is_none_or(|peer| path.is_of(peer))
            && (!self.best || path.reason == Reason::Best)
            && (!self.rejected || path.reason.is_rejected())
            && self.community.is_none_or(|community| community.is_in(path.attributes()))
    }
}

/// Some of the paths that were asked for.
#[derive(Debug)]
pub struct Step<'a> {
    pub paths: Vec<PathView<'a>>,
    /// Where to go on; `None` where the table is at its end.
    pub next: Option<u32>,
}

impl Rib {
    /// The paths of the next places of the table, as many as two milliseconds are enough for; from zero
    /// on, and then from where the step before has ended. `limit` is how many are wanted at all: what
    /// is behind them in their step is not given by the next.
    ///
    /// The table may change between the steps. A prefix that is there all the time is met once, with
    /// its paths as they are at that moment, the best one first; one that comes or goes meanwhile may be
    /// met or not. The order is that of the table's places, which is nobody's.
    pub fn walk(&self, from: u32, filter: &PathFilter, limit: usize) -> Step<'_> {
        let (mut cost, mut at) = (0, from);
        let mut paths = Vec::new();
        let end = self.destinations.end();
        while at < end && cost < STEP_COST && paths.len() < limit {
            if self.destinations.is_live(at) && filter.takes_prefix(self.destinations.prefix(at)) {
                let before = paths.len();
                self.paths_at(at, filter, &mut paths);
                cost += (paths.len() - before) * GIVEN_COST;
            }
            (cost, at) = (cost + 1, at + 1);
        }
        paths.truncate(limit);
        Step { paths, next: (at < end).then_some(at) }
    }

    /// Those of one prefix, in the order of [`Self::walk`].
    pub fn walk_one(&self, prefix: Prefix, filter: &PathFilter) -> Vec<PathView<'_>> {
        let mut paths = Vec::new();
        if let Some(destination) = self.destinations.find(prefix) {
            self.paths_at(destination, filter, &mut paths);
        }
        paths
    }

    fn paths_at<'a>(
        &'a self,
        destination: u32,
        filter: &PathFilter,
        paths: &mut Vec<PathView<'a>>,
    ) {
        let before = paths.len();
        let all = self.paths.list(self.destination(destination).head);
        let taken = all.filter(|(_, path)| filter.takes(path));
        paths.extend(taken.map(|(id, _)| self.view(destination, id)));
        paths[before..].sort_by_key(|view| {
            let lost = view.reason != Reason::Best;
            (lost, view.peer.map(|peer| peer.address), view.path_id)
        });
    }

    /// The most specific prefix around `inside` that there is a path for, itself included.
    pub fn nearest(&self, inside: Prefix) -> Option<Prefix> {
        let around = (0..=inside.len()).rev().map(|len| inside.truncate(len));
        around.into_iter().find(|prefix| self.destinations.find(*prefix).is_some())
    }
}
