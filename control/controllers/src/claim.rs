//! Which objects an owner with a selector has, and which it takes or lets go.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use serde_json::json;

use crate::{
    kinds::{Kind, Object},
    operation::{Operation, controlled_by, controller_of, patch},
    selector,
    world::World,
};

/// What belongs to an owner once the operations are made.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    pub mine: Vec<Object>,
    pub operations: Vec<Operation>,
}

/// Those of a kind that the owner controls and selects. It lets go of what it no longer selects,
/// and takes what nobody has, if `may_adopt` says so of the object.
pub(crate) fn claim(
    owner: &Object,
    selector: &LabelSelector,
    kind: Kind,
    may_adopt: impl Fn(&Object) -> bool,
    world: &World,
) -> Claim {
    let mut claim = Claim::default();
    let namespace = owner.metadata().namespace.as_deref().unwrap_or_default();
    let find = |key| world.objects.get(kind, key);
    let is_deleting = |object: &Object| object.metadata().deletion_timestamp.is_some();
    let selected = |object: &Object| selector::matches(selector, object.metadata().labels.as_ref());
    let owned = world.dependents(owner.uid()).filter(|reference| reference.kind == kind);
    for object in owned.filter_map(|reference| find(&reference.key)) {
        let metadata = object.metadata();
        let controlled = controller_of(metadata).is_some_and(|one| one.uid == owner.uid());
        if !controlled || metadata.namespace.as_deref().unwrap_or_default() != namespace {
            continue;
        }
        if selected(&object) {
            claim.mine.push(object);
        } else if !is_deleting(&object) {
            claim.operations.push(release(&object, owner));
        }
    }
    if is_deleting(owner) {
        return claim;
    }
    for object in world.strays(kind, namespace).filter_map(find) {
        if selected(&object) && !is_deleting(&object) && may_adopt(&object) {
            claim.operations.push(adopt(&object, owner));
            claim.mine.push(object);
        }
    }
    claim
}

fn adopt(object: &Object, owner: &Object) -> Operation {
    let mut owners = object.metadata().owner_references.clone().unwrap_or_default();
    owners.push(controlled_by(owner));
    with_owners(object, owners)
}

fn release(object: &Object, owner: &Object) -> Operation {
    let mut owners = object.metadata().owner_references.clone().unwrap_or_default();
    owners.retain(|one| one.uid != owner.uid());
    with_owners(object, owners)
}

fn with_owners(object: &Object, owners: Vec<OwnerReference>) -> Operation {
    patch(object, None, json!({"metadata": {"ownerReferences": owners}}))
}
