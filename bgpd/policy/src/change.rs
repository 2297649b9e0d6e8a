//! What a policy changes of a route.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use bgp_wire::{AttributeSet, Community, ExtendedCommunity, LargeCommunity, Rewrite};
use viaduct_net::Asn;

use crate::ranges::{Ranged, Ranges};

/// What one rule changes. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub local_pref: Option<u32>,
    pub med: Option<MedChange>,
    pub communities: ListChange<Community>,
    pub extended_communities: ListChange<ExtendedCommunity>,
    pub large_communities: ListChange<LargeCommunity>,
    /// In front of AS_PATH so many times, before our own AS is put there on the way to an external
    /// peer.
    pub prepend: Option<(Asn, u8)>,
    pub next_hop: Option<NextHopChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MedChange {
    Set(u32),
    /// To what is there, or to zero; ends at the bounds of the number.
    Add(i64),
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopChange {
    Address(IpAddr),
    /// The address we speak from.
    Own,
    /// As it came, also to external peers (RFC 4271 §5.1.3, third party).
    Unchanged,
}

/// Changes of a list of communities: one takes the place of all, some go, some come; in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListChange<T> {
    pub replace: Option<Vec<T>>,
    pub remove: Ranges<T>,
    /// Behind what is there, where it is not there yet.
    pub add: Vec<T>,
}

impl<T> Default for ListChange<T> {
    fn default() -> Self {
        Self { replace: None, remove: Ranges::default(), add: Vec::new() }
    }
}

impl<T: Ranged> ListChange<T> {
    pub fn is_empty(&self) -> bool {
        self.replace.is_none() && self.remove.is_empty() && self.add.is_empty()
    }

    /// The list as it is to be; `None` where nothing is to change.
    fn apply(&self, old: impl Iterator<Item = T>) -> Option<Vec<T>> {
        if self.is_empty() {
            return None;
        }
        let mut list = self.replace.clone().unwrap_or_else(|| old.collect());
        list.retain(|one| !self.remove.contains(*one));
        let mut missing: BTreeSet<_> = self.add.iter().copied().collect();
        for one in &list {
            missing.remove(one);
        }
        list.extend(self.add.iter().copied().filter(|one| missing.remove(one)));
        Some(list)
    }
}

impl Change {
    /// Asked for each route, so nothing is made for it.
    pub fn is_empty(&self) -> bool {
        self.next_hop.is_none() && !self.changes_attributes()
    }

    /// Whether attributes are changed, and not the next hop alone.
    pub fn changes_attributes(&self) -> bool {
        self.local_pref.is_some()
            || self.med.is_some()
            || self.prepend.is_some()
            || !self.communities.is_empty()
            || !self.extended_communities.is_empty()
            || !self.large_communities.is_empty()
    }

    /// The changed attributes; the same allocation where nothing differs.
    pub fn apply(&self, set: &AttributeSet) -> AttributeSet {
        if !self.changes_attributes() {
            return set.clone();
        }
        let med = self.med.map(|change| match change {
            MedChange::Set(med) => Some(med),
            MedChange::Remove => None,
            MedChange::Add(step) => {
                let sum = i64::from(set.facts().med().unwrap_or(0)).saturating_add(step);
                Some(sum.clamp(0, i64::from(u32::MAX)) as u32)
            }
        });
        let rewrite = Rewrite {
            prepend: self.prepend,
            med,
            local_pref: self.local_pref,
            communities: self.communities.apply(set.communities()),
            extended_communities: self.extended_communities.apply(set.extended_communities()),
            large_communities: self.large_communities.apply(set.large_communities()),
        };
        rewrite.apply(set)
    }
}

/// What all the rules change that a route has met, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<Arc<Change>>);

/// A route as it is after a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub attributes: AttributeSet,
    /// `None` leaves the next hop to what is usual.
    pub next_hop: Option<NextHopChange>,
    /// The MED is the policy's own, and told also where that of a neighbour would not be.
    pub sets_med: bool,
}

impl Applied {
    pub(crate) fn unchanged(set: &AttributeSet) -> Self {
        Self { attributes: set.clone(), next_hop: None, sets_med: false }
    }

    pub(crate) fn change(&mut self, change: &Change) {
        self.attributes = change.apply(&self.attributes);
        self.next_hop = change.next_hop.or(self.next_hop);
        if let Some(med) = change.med {
            self.sets_med = med != MedChange::Remove;
        }
    }
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter().map(|change| &**change)
    }

    pub(crate) fn push(&mut self, change: &Arc<Change>) {
        self.0.push(change.clone());
    }

    pub fn apply(&self, set: &AttributeSet) -> Applied {
        let mut applied = Applied::unchanged(set);
        self.iter().for_each(|change| applied.change(change));
        applied
    }
}
