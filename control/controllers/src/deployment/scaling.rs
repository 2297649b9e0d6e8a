//! A Deployment that was scaled, or that is paused: sizes change, no revision goes forward.

use std::cmp::Reverse;

use super::sets::{MAX_REPLICAS, Rollout, Set};

pub(super) fn scale(rollout: &mut Rollout<'_>) {
    let bounds = rollout.bounds;
    if let Some(only) = only_active_or_latest(rollout) {
        only.resize(bounds.wanted, &bounds);
    } else if rollout.new.as_ref().is_some_and(|new| new.is_saturated(&bounds)) {
        for set in rollout.old.iter_mut().filter(|set| set.is_active()) {
            set.resize(0, &bounds);
        }
    } else if !super::is_recreated(rollout.deployment) {
        in_proportion(rollout);
    }
}

/// The set that takes all of the change: the one that has pods, or where none has, the newest.
/// `None` where several have pods.
fn only_active_or_latest<'a>(rollout: &'a mut Rollout<'_>) -> Option<&'a mut Set> {
    match rollout.all().filter(|set| set.is_active()).count() {
        0 => rollout.new.as_mut().or(rollout.old.last_mut()),
        1 => rollout.all_mut().find(|set| set.is_active()),
        _ => None,
    }
}

/// In the middle of a rollout every set bears its part, so that a wrong new revision does not get
/// all that is added.
fn in_proportion(rollout: &mut Rollout<'_>) {
    let (bounds, deployment) = (rollout.bounds, rollout.deployment);
    let counted = deployment.status.as_ref().and_then(|status| status.replicas);
    let counted = counted.map_or(0, i64::from);
    let mut active: Vec<&mut Set> = rollout.all_mut().filter(|set| set.is_active()).collect();
    let total: i64 = active.iter().map(|set| set.size).sum();
    let allowed = if bounds.wanted > 0 { bounds.most() } else { 0 };
    let to_add = allowed - total;
    // The largest first; of equals the newest gains, the oldest loses. Older ones stand in front.
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| Reverse(set.size));
    let mut added = 0;
    let mut sizes: Vec<i64> = Vec::with_capacity(active.len());
    for set in &active {
        let left = to_add - added;
        let part = match to_add {
            0 => 0,
            1.. => part_of(set, &bounds, counted).min(left),
            _ => part_of(set, &bounds, counted).max(left),
        };
        added += part;
        sizes.push(set.size + part);
    }
    // What rounding left goes to the largest.
    if let Some(first) = sizes.first_mut() {
        *first += to_add - added;
    }
    for (set, size) in active.into_iter().zip(sizes) {
        set.resize(size, &bounds);
    }
}

/// What a set gains or loses, as its share of all was when it was planned.
fn part_of(set: &Set, bounds: &super::bounds::Bounds, counted: i64) -> i64 {
    if bounds.wanted == 0 {
        return -set.size;
    }
    let before = set.number(MAX_REPLICAS).filter(|number| *number > 0).unwrap_or(counted);
    if before <= 0 {
        return 0;
    }
    let doubled = set.size.saturating_mul(bounds.most()).saturating_mul(2);
    doubled.saturating_add(before) / (2 * before) - set.size
}
