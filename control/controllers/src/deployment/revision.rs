//! Revisions: the set of a new template, the numbers of all, and how many old ones are kept.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::json;

use super::{
    COMPONENT, is_recreated,
    sets::{Rollout, Set, planned_for, scaled},
    template::{self, HASH_LABEL},
};
use crate::{
    kinds::{Key, Kind, Object},
    operation::{Note, Operation, Outcome, Step, controlled_by, delete},
    world::World,
};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The revisions that a set was before a rollback gave it a new number.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const HISTORY_CHARS: usize = 2000;
/// Annotations of a Deployment that are its own affair.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    super::sets::DESIRED_REPLICAS,
    super::sets::MAX_REPLICAS,
];

/// The number of no limit.
const UNLIMITED: i32 = i32::MAX;

/// A set to be made for the Deployment's template.
pub(super) enum NewSet {
    /// The name is taken by the set of another template, or by that of another owner.
    Collides,
    Create(Box<Creation>),
}

pub(super) struct Creation {
    pub step: Step,
    pub name: String,
    pub revision: i64,
}

/// What is told of the newest set.
pub(super) struct Newest {
    pub name: String,
    pub revision: String,
}

pub(super) fn create(rollout: &Rollout<'_>, owner: &Object, world: &World) -> NewSet {
    let deployment = rollout.deployment;
    let spec = &deployment.spec;
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template::hash(&spec.template, collisions.unwrap_or_default());
    let base = deployment.metadata.name.clone().unwrap_or_default();
    let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
    let name = format!("{base}-{hash}");
    if world.objects.replica_sets.contains_key(&Key::new(namespace.clone(), name.clone())) {
        return NewSet::Collides;
    }
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash);
    let bounds = &rollout.bounds;
    let size = if is_recreated(deployment) { bounds.wanted } else { rollout.grown(0) };
    let revision = next(&rollout.old);
    let mut annotations: BTreeMap<String, String> = copied(rollout).collect();
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.extend(planned_for(bounds));
    let object = json!({
        "apiVersion": Kind::ReplicaSet.api_version(),
        "kind": Kind::ReplicaSet.name(),
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [controlled_by(owner)],
        },
        "spec": {
            "replicas": size,
            "minReadySeconds": spec.min_ready_seconds.unwrap_or_default(),
            "selector": selector,
            "template": template,
        },
    });
    let failed = format!("Failed to create new replica set \"{name}\": {{}}");
    let step = Step {
        operation: Operation::Create { kind: Kind::ReplicaSet, namespace, object },
        done: (size > 0).then(|| scaled(owner, &name, 0, size)),
        failed: Some(Note::warning(COMPONENT, owner, super::status::CREATE_ERROR, failed)),
    };
    NewSet::Create(Box::new(Creation { step, name, revision }))
}

/// One more than any old set has.
fn next(old: &[Set]) -> i64 {
    old.iter().filter_map(|set| set.number(REVISION)).max().unwrap_or_default().max(0) + 1
}

fn copied(rollout: &Rollout<'_>) -> impl Iterator<Item = (String, String)> {
    let all = rollout.deployment.metadata.annotations.iter().flatten();
    all.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
}

/// The newest set bears the Deployment's annotations and the highest number, also when it is an old
/// one that is wanted again.
pub(super) fn sync(rollout: &mut Rollout<'_>) -> Option<Newest> {
    let newest = next(&rollout.old);
    let annotations: Vec<_> = copied(rollout).collect();
    let min_ready_secs = rollout.deployment.spec.min_ready_seconds.unwrap_or_default();
    let new = rollout.new.as_mut()?;
    new.annotations.extend(annotations);
    new.min_ready_secs = min_ready_secs;
    let before = new.annotations.get(REVISION).cloned();
    if new.number(REVISION).unwrap_or_default() < newest {
        new.annotations.insert(REVISION.to_owned(), newest.to_string());
        if let Some(before) = before {
            remember(&mut new.annotations, &before);
        }
    }
    let revision = new.annotations.get(REVISION).cloned().unwrap_or_default();
    Some(Newest { name: new.name().to_owned(), revision })
}

fn remember(annotations: &mut BTreeMap<String, String>, revision: &str) {
    let history = annotations.get(HISTORY).map(String::as_str).unwrap_or_default();
    let mut all: Vec<&str> = history.split(',').filter(|one| !one.is_empty()).collect();
    all.push(revision);
    let mut text = all.join(",");
    while text.len() > HISTORY_CHARS {
        // The oldest are forgotten first.
        all.remove(0);
        text = all.join(",");
    }
    annotations.insert(HISTORY.to_owned(), text);
}

/// Old sets without pods go, the lowest revision first, down to the limit.
pub(super) fn clean_up(rollout: &Rollout<'_>, outcome: &mut Outcome) {
    let limit = rollout.deployment.spec.revision_history_limit.unwrap_or(UNLIMITED);
    let Ok(limit) = usize::try_from(limit) else { return };
    let mut old: Vec<&Set> =
        rollout.old.iter().filter(|set| set.object.metadata.deletion_timestamp.is_none()).collect();
    let surplus = old.len().saturating_sub(limit);
    old.sort_by_key(|set| set.number(REVISION).unwrap_or_default());
    for set in old.into_iter().take(surplus) {
        if set.size == 0 && set.counted() == 0 && is_counted(&set.object) {
            outcome.push(delete(&Object::ReplicaSet(set.object.clone())));
        }
    }
}

/// Whether its status is of its newest wish.
fn is_counted(set: &ReplicaSet) -> bool {
    let observed = set.status.as_ref().and_then(|status| status.observed_generation);
    observed.unwrap_or_default() >= set.metadata.generation.unwrap_or_default()
}
