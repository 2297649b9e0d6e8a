//! Numbers for whoever watches: how much there is, and what import has met with.

use bgp_wire::{AttributeSet, Update};
use viaduct_net::Family;

use crate::{Reason, RibConfig};

/// How many of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyCounts {
    v4: usize,
    v6: usize,
}

impl FamilyCounts {
    pub const fn of(self, family: Family) -> usize {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    pub const fn total(self) -> usize {
        self.v4 + self.v6
    }

    pub(crate) fn step(&mut self, family: Family, step: isize) {
        let count = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        *count = count.saturating_add_signed(step);
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self { v4: self.v4.saturating_sub(other.v4), v6: self.v6.saturating_sub(other.v6) }
    }
}

/// What was met with in a peer's UPDATEs (RFC 7854 §4.8): counted when it comes, whatever becomes of the
/// paths afterwards, over all sessions. Each begins again behind its 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportCounters {
    /// Times a path was told that the import policy has refused.
    pub rejected_by_policy: u32,
    /// Times a path was told that was known to be so.
    pub duplicate_prefixes: u32,
    /// Times a path was withdrawn that was not there.
    pub duplicate_withdrawals: u32,
    /// UPDATEs that have passed our cluster before (RFC 4456 §8).
    pub cluster_loops: u32,
    /// UPDATEs that have passed our AS before (RFC 4271 §9.1.2).
    pub as_path_loops: u32,
    /// UPDATEs whose routes we have brought into the AS ourselves (RFC 4456 §8).
    pub originator_loops: u32,
    /// UPDATEs that have passed our member AS before (RFC 5065 §5).
    pub confederation_loops: u32,
    /// Malformed UPDATEs whose routes were withdrawn (RFC 7606 §2), and those routes.
    pub updates_treated_as_withdraw: u32,
    pub prefixes_treated_as_withdraw: u32,
    /// UPDATEs with routes that have said nothing new.
    pub duplicate_updates: u32,
}

impl ImportCounters {
    /// What attributes were refused for.
    pub(crate) fn note_refused(
        &mut self,
        reason: Reason,
        config: &RibConfig,
        attributes: &AttributeSet,
    ) {
        let counter = match reason {
            Reason::AsLoop if attributes.confederation_contains(config.asn) => {
                &mut self.confederation_loops
            }
            Reason::AsLoop => &mut self.as_path_loops,
            Reason::OriginatorLoop => &mut self.originator_loops,
            Reason::ClusterLoop => &mut self.cluster_loops,
            _ => return,
        };
        add(counter, 1);
    }

    /// An UPDATE has been taken; `before` is what was counted until then.
    pub(crate) fn note_taken(&mut self, update: &Update, before: &Self) {
        if update.is_treated_as_withdraw() {
            add(&mut self.updates_treated_as_withdraw, 1);
            add(&mut self.prefixes_treated_as_withdraw, update.treated_as_withdraw);
            return;
        }
        let announced: usize = update.announced.iter().map(|one| one.prefixes.len()).sum();
        let routes = (announced + update.withdrawn.len()) as u32;
        let known = self.duplicate_prefixes.wrapping_sub(before.duplicate_prefixes);
        let unknown = self.duplicate_withdrawals.wrapping_sub(before.duplicate_withdrawals);
        if routes > 0 && known.wrapping_add(unknown) == routes {
            add(&mut self.duplicate_updates, 1);
        }
    }
}

pub(crate) fn add(counter: &mut u32, count: usize) {
    *counter = counter.wrapping_add(count as u32);
}
