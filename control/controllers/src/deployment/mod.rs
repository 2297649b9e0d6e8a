//! Brings ReplicaSets to what a Deployment asks for, a revision at a time.
//!
//! A round looks at the sets as they are, plans what each is to become ([`Rollout`]), and tells the
//! status last. Nothing is kept between rounds: which set is the newest follows from the templates,
//! how far things are from the sets' own status, so a controller that starts anew goes on where the
//! last one was.

mod bounds;
mod recreate;
mod revision;
mod rolling;
mod scaling;
mod sets;
mod status;
mod template;

use k8s_openapi::api::apps::v1::Deployment;

use self::{
    revision::{Creation, NewSet},
    sets::Rollout,
    status::Status,
};
use crate::{
    claim::claim,
    kinds::{Key, Kind, Object},
    operation::{Now, Outcome},
    world::World,
};

const COMPONENT: &str = "deployment-controller";

/// What a rollout can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advance {
    /// The sizes are planned as far as they can be.
    Planned,
    /// There is no set of the newest template, and now is the time to make it.
    NeedsSet,
}

pub(crate) fn reconcile(key: &Key, world: &World, now: Now) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(deployment) = world.objects.deployments.get(key) else { return outcome };
    let object = Object::Deployment(deployment.clone());
    let claim = claim(&object, &deployment.spec.selector, Kind::ReplicaSet, |_| true, world);
    if !claim.operations.is_empty() {
        // The next round sees the sets as they then are.
        claim.operations.into_iter().for_each(|operation| outcome.push(operation));
        return outcome;
    }
    let sets = claim.mine.into_iter().filter_map(|object| match object {
        Object::ReplicaSet(set) => Some(set),
        _ => None,
    });
    let mut rollout = Rollout::new(deployment, sets);
    let mut status = Status::new(deployment, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        status.count(&rollout);
        status.push(&object, &mut outcome);
        return outcome;
    }
    status.pause_or_resume();
    let paused = deployment.spec.paused == Some(true);
    let only_sizes = paused || rollout.is_resized();
    if only_sizes {
        scaling::scale(&mut rollout);
    } else if advance(&mut rollout, world) == Advance::NeedsSet {
        status.count(&rollout);
        match revision::create(&rollout, &object, world) {
            NewSet::Collides => status.collide(),
            NewSet::Create(creation) => {
                let Creation { step, name, revision } = *creation;
                outcome.if_refused = status.refused(&object, &name);
                outcome.push(step);
                status.created(&name, revision);
            }
        }
        status.push(&object, &mut outcome);
        return outcome;
    }
    if let Some(new) = revision::sync(&mut rollout) {
        status.found(&new);
    }
    status.count(&rollout);
    if !only_sizes {
        status.estimate(&rollout, &mut outcome);
    }
    rollout.push_changes(&object, &mut outcome);
    if paused || !only_sizes && status.is_complete() {
        revision::clean_up(&rollout, &mut outcome);
    }
    status.push(&object, &mut outcome);
    outcome
}

fn advance(rollout: &mut Rollout<'_>, world: &World) -> Advance {
    if is_recreated(rollout.deployment) {
        recreate::advance(rollout, world)
    } else {
        rolling::advance(rollout)
    }
}

/// Whether the old pods go before the new ones come.
pub(crate) fn is_recreated(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

#[cfg(test)]
mod tests;
