//! Collects objects whose owners are gone, in the three ways a deletion may ask for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use crate::{
    kinds::{Kind, Object, Ref},
    operation::{Operation, Outcome, Propagation, delete, patch},
    world::World,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

pub(crate) fn reconcile(reference: &Ref, world: &World) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(object) = world.objects.get(reference.kind, &reference.key) else { return outcome };
    let finalizers = object.metadata().finalizers.clone().unwrap_or_default();
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if object.metadata().deletion_timestamp.is_none() {
        if_orphaned(&object, world, &mut outcome);
    } else if has(ORPHAN) {
        orphan_dependents(&object, &finalizers, world, &mut outcome);
    } else if has(FOREGROUND) {
        delete_dependents(&object, &finalizers, world, &mut outcome);
    }
    outcome
}

/// Deletes an object that has owners, but none that is left.
fn if_orphaned(object: &Object, world: &World, outcome: &mut Outcome) {
    let owners = object.metadata().owner_references.clone().unwrap_or_default();
    // An owner of a kind we do not know of may well be there.
    let unknown = |owner: &OwnerReference| Kind::find(&owner.api_version, &owner.kind).is_none();
    let present = |owner: &OwnerReference| world.by_uid(&owner.uid).is_some();
    if owners.is_empty() || owners.iter().any(unknown) || owners.iter().any(present) {
        return;
    }
    if owners.iter().all(|owner| world.was_deleted(&owner.uid)) {
        outcome.push(delete(object));
    } else {
        outcome.push(Operation::Collect {
            target: object.reference(),
            uid: object.uid().to_owned(),
            owners,
        });
    }
}

/// Foreground: the dependents first, and the owner when they are gone.
fn delete_dependents(owner: &Object, finalizers: &[String], world: &World, outcome: &mut Outcome) {
    let mut blocked = false;
    for dependent in dependents(owner, world) {
        let reference = dependent.metadata().owner_references.iter().flatten();
        let mine = reference.clone().find(|one| one.uid == owner.uid());
        let others = reference
            .into_iter()
            .any(|one| one.uid != owner.uid() && world.by_uid(&one.uid).is_some());
        if others {
            // It has someone else to live for.
            outcome.push(without_owner(&dependent, owner.uid()));
            continue;
        }
        blocked |= mine.is_some_and(|one| one.block_owner_deletion == Some(true));
        if dependent.metadata().deletion_timestamp.is_none() {
            outcome.push(Operation::Delete {
                target: dependent.reference(),
                uid: dependent.uid().to_owned(),
                grace_secs: None,
                propagation: Propagation::Foreground,
            });
        }
    }
    if !blocked {
        outcome.push(without_finalizer(owner, finalizers, FOREGROUND));
    }
}

/// Orphan: the dependents forget their owner and stay.
fn orphan_dependents(owner: &Object, finalizers: &[String], world: &World, outcome: &mut Outcome) {
    for dependent in dependents(owner, world) {
        outcome.push(without_owner(&dependent, owner.uid()));
    }
    outcome.push(without_finalizer(owner, finalizers, ORPHAN));
}

fn dependents(owner: &Object, world: &World) -> Vec<Object> {
    world
        .dependents(owner.uid())
        .filter_map(|reference| world.objects.get(reference.kind, &reference.key))
        .collect()
}

fn without_owner(dependent: &Object, uid: &str) -> Operation {
    let mut owners = dependent.metadata().owner_references.clone().unwrap_or_default();
    owners.retain(|owner| owner.uid != uid);
    let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
    patch(dependent, None, json!({"metadata": {"ownerReferences": owners}}))
}

fn without_finalizer(owner: &Object, finalizers: &[String], name: &str) -> Operation {
    let left: Vec<&String> = finalizers.iter().filter(|finalizer| *finalizer != name).collect();
    let left = if left.is_empty() { Value::Null } else { json!(left) };
    patch(owner, None, json!({"metadata": {"finalizers": left}}))
}

#[cfg(test)]
mod tests;
