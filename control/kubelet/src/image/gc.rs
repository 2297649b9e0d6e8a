//! Which images are removed when the disk is filling up. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

/// When images are removed, and until when; Kubernetes' own meaning and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcPolicy {
    /// Of the disk, in use: from here on images are removed.
    pub high_percent: u8,
    /// Down to here.
    pub low_percent: u8,
    /// An image that was used or imported less long ago stays.
    pub min_age: Duration,
}

impl Default for GcPolicy {
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, min_age: Duration::from_secs(600) }
    }
}

/// The filesystem of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total_bytes: u64,
    pub(super) used_bytes: u64,
}

impl Space {
    /// How much has to go, where anything has.
    pub(super) fn excess(&self, policy: &GcPolicy) -> Option<u64> {
        let share = |percent: u8| {
            let bytes = u128::from(self.total_bytes) * u128::from(percent) / 100;
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        if self.used_bytes < share(policy.high_percent) {
            return None;
        }
        Some(self.used_bytes.saturating_sub(share(policy.low_percent))).filter(|bytes| *bytes > 0)
    }
}

/// An image as the decision sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) reference: String,
    pub(super) layers: Vec<String>,
    pub(super) last_used: SystemTime,
    /// Some pod of some node may start from it, or it is pinned.
    pub(super) stays: bool,
}

/// The images to remove, the one unused for longest first, until so many bytes are free. A layer
/// frees its bytes with the last image that has it.
pub(super) fn to_remove(
    candidates: &[Candidate],
    layer_bytes: &BTreeMap<String, u64>,
    excess_bytes: u64,
    policy: &GcPolicy,
    now: SystemTime,
) -> Vec<String> {
    let mut holders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for candidate in candidates {
        for layer in &candidate.layers {
            holders.entry(layer).or_default().insert(&candidate.reference);
        }
    }
    let old_enough = |candidate: &&Candidate| {
        let age = now.duration_since(candidate.last_used).unwrap_or_default();
        !candidate.stays && age >= policy.min_age
    };
    let mut unused: Vec<&Candidate> = candidates.iter().filter(old_enough).collect();
    unused.sort_by_key(|candidate| (candidate.last_used, &candidate.reference));
    let mut removed = Vec::new();
    let mut freed = 0_u64;
    for candidate in unused {
        if freed >= excess_bytes {
            break;
        }
        for layer in &candidate.layers {
            let Some(left) = holders.get_mut(layer.as_str()) else { continue };
            if left.remove(candidate.reference.as_str()) && left.is_empty() {
                freed = freed.saturating_add(layer_bytes.get(layer).copied().unwrap_or(0));
            }
        }
        removed.push(candidate.reference.clone());
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn candidate(reference: &str, layers: &[&str], last_used_secs: u64) -> Candidate {
        Candidate {
            reference: reference.to_owned(),
            layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
            last_used: at(last_used_secs),
            stays: false,
        }
    }

    fn policy() -> GcPolicy {
        GcPolicy { min_age: Duration::from_secs(100), ..GcPolicy::default() }
    }

    fn chosen(candidates: &[Candidate], excess_bytes: u64) -> Vec<String> {
        let layers = ["base", "a", "b", "c"].map(|layer| (layer.to_owned(), 10));
        to_remove(candidates, &layers.into(), excess_bytes, &policy(), at(1000))
    }

    #[test]
    fn nothing_goes_below_the_high_threshold() {
        let space = |used_bytes| Space { total_bytes: 1000, used_bytes };
        assert_eq!(space(849).excess(&policy()), None);
        assert_eq!(space(850).excess(&policy()), Some(50));
        assert_eq!(space(1000).excess(&policy()), Some(200));
    }

    #[test]
    fn the_one_unused_for_longest_goes_first_and_no_more_than_is_needed() {
        let images =
            [candidate("x", &["a"], 3), candidate("y", &["b"], 1), candidate("z", &["c"], 2)];
        assert_eq!(chosen(&images, 1), ["y"]);
        assert_eq!(chosen(&images, 10), ["y"]);
        assert_eq!(chosen(&images, 11), ["y", "z"]);
        assert_eq!(chosen(&images, 99), ["y", "z", "x"]);
    }

    #[test]
    fn a_shared_layer_frees_nothing_before_its_last_image_goes() {
        let images = [candidate("x", &["base", "a"], 1), candidate("y", &["base"], 2)];
        assert_eq!(chosen(&images, 15), ["x", "y"]);
        assert_eq!(chosen(&images, 10), ["x"]);
    }

    #[test]
    fn what_is_in_use_pinned_or_young_stays() {
        let mut images = [candidate("x", &["a"], 1), candidate("y", &["b"], 950)];
        images[0].stays = true;
        assert_eq!(chosen(&images, 99), [""; 0]);
    }
}
