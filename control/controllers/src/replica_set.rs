//! Keeps as many pods as a ReplicaSet asks for.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetCondition},
    core::v1::Pod,
};
use serde_json::{Value, json};

use crate::{
    claim::claim,
    kinds::{Key, Kind, Object},
    operation::{Note, Now, Operation, Outcome, Step, controlled_by, delete, patch},
    pods, selector,
    world::World,
};

const COMPONENT: &str = "replicaset-controller";
/// Pods made or deleted in one round.
const BATCH: usize = 50;
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The condition of a set whose pods the API refuses.
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(crate) fn reconcile(key: &Key, world: &World, now: Now) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(set) = world.objects.replica_sets.get(key) else { return outcome };
    let object = Object::ReplicaSet(set.clone());
    let spec = &set.spec;
    let deleting = set.metadata.deletion_timestamp.is_some();
    let may_adopt = |pod: &Object| matches!(pod, Object::Pod(pod) if pods::is_active(pod));
    let claim = claim(&object, &spec.selector, Kind::Pod, may_adopt, world);
    claim.operations.into_iter().for_each(|operation| outcome.push(operation));
    let pods = claim.mine.into_iter().filter_map(|object| match object {
        Object::Pod(pod) => Some(pod),
        _ => None,
    });
    let mine: Vec<Arc<Pod>> = pods.collect();
    let active: Vec<Arc<Pod>> = mine.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    if !deleting {
        scale(set, &object, wanted, &active, now, &mut outcome);
    }
    status(set, &object, &mine, &active, now, &mut outcome);
    outcome
}

fn scale(
    set: &ReplicaSet,
    object: &Object,
    wanted: usize,
    active: &[Arc<Pod>],
    now: Now,
    outcome: &mut Outcome,
) {
    if active.len() < wanted {
        let missing = wanted - active.len();
        for _ in 0..missing.min(BATCH) {
            outcome.push(create(set, object));
        }
        if missing > BATCH {
            outcome.again(Duration::ZERO);
        }
        return;
    }
    let surplus = active.len() - wanted;
    let min_ready_secs = set.spec.min_ready_seconds.unwrap_or_default();
    for pod in least_missed(active, min_ready_secs, now).into_iter().take(surplus) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        outcome.push(Step {
            operation: delete(&Object::Pod(pod)),
            done: Some(Note::normal(
                COMPONENT,
                object,
                "SuccessfulDelete",
                format!("Deleted pod: {name}"),
            )),
            failed: None,
        });
    }
}

fn create(set: &ReplicaSet, owner: &Object) -> Step {
    let template = set.spec.template.clone().unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let name = set.metadata.name.clone().unwrap_or_default();
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": format!("{name}-"),
            "namespace": namespace,
            "labels": metadata.labels,
            "annotations": metadata.annotations,
            "finalizers": metadata.finalizers,
            "ownerReferences": [controlled_by(owner)],
        },
        "spec": template.spec,
    });
    let done = Note::normal(COMPONENT, owner, "SuccessfulCreate", "Created pod: {}");
    let failed = Note::warning(COMPONENT, owner, "FailedCreate", "Error creating: {}");
    Step {
        operation: Operation::Create { kind: Kind::Pod, namespace, object: without_nulls(pod) },
        done: Some(done),
        failed: Some(failed),
    }
}

/// Fields that a template leaves out, not fields it sets to nothing.
fn without_nulls(mut value: Value) -> Value {
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(metadata) = value["metadata"].as_object_mut()
            && metadata.get(field).is_some_and(Value::is_null)
        {
            metadata.remove(field);
        }
    }
    value
}

/// Those to be deleted first in front: pods that serve nobody yet or do not count as available,
/// then those that share their node with others of the set, then the youngest.
fn least_missed(active: &[Arc<Pod>], min_ready_secs: i32, now: Now) -> Vec<Arc<Pod>> {
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in active {
        *on_node.entry(pods::node_of(pod).unwrap_or_default()).or_default() += 1;
    }
    let mut order = active.to_vec();
    order.sort_by_cached_key(|pod| {
        let running = match pods::phase(pod) {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        let annotations = pod.metadata.annotations.as_ref();
        let cost: i32 =
            annotations.and_then(|all| all.get(DELETION_COST)?.parse().ok()).unwrap_or_default();
        let node = pods::node_of(pod);
        (
            node.is_some(),
            running,
            pods::is_ready(pod),
            pods::available_in_secs(pod, min_ready_secs, now) == Some(0),
            cost,
            Reverse(on_node[node.unwrap_or_default()]),
            Reverse(pod.metadata.creation_timestamp.clone().map(|time| time.0)),
            pod.metadata.name.clone(),
        )
    });
    order
}

fn status(
    set: &ReplicaSet,
    object: &Object,
    mine: &[Arc<Pod>],
    active: &[Arc<Pod>],
    now: Now,
    outcome: &mut Outcome,
) {
    let spec = &set.spec;
    let min_ready_secs = spec.min_ready_seconds.unwrap_or_default();
    let template_labels = spec.template.as_ref().and_then(|t| t.metadata.as_ref()?.labels.clone());
    let template_labels = template_labels.unwrap_or_default();
    let (mut ready, mut available) = (0, 0);
    for pod in active {
        match pods::available_in_secs(pod, min_ready_secs, now) {
            None => continue,
            Some(0) => available += 1,
            Some(left) => outcome.again(Duration::from_secs(left)),
        }
        ready += 1;
    }
    let labelled = active
        .iter()
        .filter(|pod| selector::matches_all(&template_labels, pod.metadata.labels.as_ref()));
    let terminating =
        mine.iter().filter(|pod| pods::is_deleting(pod) && !pods::has_ended(pod)).count();
    let wanted = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas": labelled.count(),
        "readyReplicas": ready,
        "availableReplicas": available,
        "terminatingReplicas": terminating,
        "observedGeneration": set.metadata.generation.unwrap_or_default(),
    });
    let current = set.status.as_ref().map(|status| {
        json!({
            "replicas": status.replicas,
            "fullyLabeledReplicas": status.fully_labeled_replicas.unwrap_or_default(),
            "readyReplicas": status.ready_replicas.unwrap_or_default(),
            "availableReplicas": status.available_replicas.unwrap_or_default(),
            "terminatingReplicas": status.terminating_replicas.unwrap_or_default(),
            "observedGeneration": status.observed_generation.unwrap_or_default(),
        })
    });
    let failure = failure(set);
    let mut others = set.status.clone().and_then(|status| status.conditions).unwrap_or_default();
    others.retain(|condition| condition.type_.as_deref() != Some(REPLICA_FAILURE));
    outcome.if_refused =
        Some(with_conditions(object, &wanted, &others, Some(refused(failure, now))));
    // This is the last step: when it comes to it, the API has refused nothing.
    if failure.is_some() {
        outcome.push(with_conditions(object, &wanted, &others, None));
    } else if current.as_ref() != Some(&wanted) {
        outcome.push(patch(object, Some("status"), json!({ "status": wanted })));
    }
}

fn failure(set: &ReplicaSet) -> Option<&ReplicaSetCondition> {
    let mut conditions = set.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE))
}

/// The condition after a refusal, `{}` for the reason of the API.
fn refused(before: Option<&ReplicaSetCondition>, now: Now) -> ReplicaSetCondition {
    let since = before.and_then(|condition| condition.last_transition_time.clone());
    ReplicaSetCondition {
        type_: Some(REPLICA_FAILURE.into()),
        status: Some("True".into()),
        reason: Some("FailedCreate".into()),
        message: Some("{}".into()),
        last_transition_time: Some(since.unwrap_or(now.time())),
    }
}

fn with_conditions(
    object: &Object,
    counts: &Value,
    others: &[ReplicaSetCondition],
    more: Option<ReplicaSetCondition>,
) -> Operation {
    let mut status = counts.clone();
    status["conditions"] = json!(others.iter().cloned().chain(more).collect::<Vec<_>>());
    patch(object, Some("status"), json!({ "status": status }))
}

#[cfg(test)]
mod tests;
