//! RollingUpdate: the new set grows as far as the surge lets it, the old ones shrink as far as
//! enough pods stay available.

use super::{
    Advance,
    sets::{Rollout, Set},
};

pub(super) fn advance(rollout: &mut Rollout<'_>) -> Advance {
    let Some(size) = rollout.new.as_ref().map(|new| new.size) else { return Advance::NeedsSet };
    let bounds = rollout.bounds;
    let target = if size > bounds.wanted { bounds.wanted } else { rollout.grown(size) };
    if let Some(new) = rollout.new.as_mut().filter(|new| new.size != target) {
        new.resize(target, &bounds);
    }
    shrink_old(rollout);
    Advance::Planned
}

fn shrink_old(rollout: &mut Rollout<'_>) {
    let bounds = rollout.bounds;
    if !rollout.old.iter().any(Set::is_active) {
        return;
    }
    // Pods of the new set that are not available yet are counted on, not counted.
    let total: i64 = rollout.all().map(|set| set.size).sum();
    let waiting = rollout.new.as_ref().map_or(0, Set::unavailable);
    let mut room = total - bounds.fewest() - waiting;
    // Those that serve nobody first: they are no loss, and might never come back.
    for set in &mut rollout.old {
        let cut = set.unavailable().min(room).max(0);
        if cut > 0 {
            set.resize(set.size - cut, &bounds);
            room -= cut;
        }
    }
    let available: i64 = rollout.all().map(Set::available_at_least).sum();
    let mut room = room.min(available - bounds.fewest());
    for set in &mut rollout.old {
        let cut = set.size.min(room).max(0);
        if cut > 0 {
            set.resize(set.size - cut, &bounds);
            room -= cut;
        }
    }
}
