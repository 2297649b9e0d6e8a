//! Recreate: all old pods go before the first new one comes.

use super::{
    Advance,
    sets::{Rollout, Set},
};
use crate::{kinds::Kind, operation::controller_of, pods, world::World};

pub(super) fn advance(rollout: &mut Rollout<'_>, world: &World) -> Advance {
    let bounds = rollout.bounds;
    let mut shrinks = false;
    for set in rollout.old.iter_mut().filter(|set| set.is_active()) {
        set.resize(0, &bounds);
        shrinks = true;
    }
    if shrinks || rollout.old.iter().any(|set| set.counted() > 0 || has_pods(set, world)) {
        return Advance::Planned;
    }
    let Some(new) = &mut rollout.new else { return Advance::NeedsSet };
    if new.size != bounds.wanted {
        new.resize(bounds.wanted, &bounds);
    }
    Advance::Planned
}

/// Also those on their way out: they may still write to what the new ones will.
fn has_pods(set: &Set, world: &World) -> bool {
    let uid = set.object.metadata.uid.as_deref().unwrap_or_default();
    world
        .dependents(uid)
        .filter(|reference| reference.kind == Kind::Pod)
        .filter_map(|reference| world.objects.pods.get(&reference.key))
        .any(|pod| {
            let mine = controller_of(&pod.metadata).is_some_and(|owner| owner.uid == uid);
            mine && !pods::has_ended(pod)
        })
}
