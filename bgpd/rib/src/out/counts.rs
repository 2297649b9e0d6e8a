//! How much of the table concerns a peer.

use viaduct_net::Family;

use crate::FamilyCounts;

/// Paths in the two views that a peer's Adj-RIB-Out has (RFC 8671 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdjRibOutCounts {
    /// What the export policy was asked about.
    pub pre_policy: FamilyCounts,
    /// What it has let pass.
    pub post_policy: FamilyCounts,
}

/// How far a path has come on its way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    PrePolicy,
    PostPolicy,
}

impl AdjRibOutCounts {
    pub(super) fn step(&mut self, family: Family, reached: Reached, step: isize) {
        self.pre_policy.step(family, step);
        if reached == Reached::PostPolicy {
            self.post_policy.step(family, step);
        }
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self {
            pre_policy: self.pre_policy.without(other.pre_policy),
            post_policy: self.post_policy.without(other.post_policy),
        }
    }
}
