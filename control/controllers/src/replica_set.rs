//! Keeps as many pods as a ReplicaSet asks for.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use serde_json::{Value, json};

use crate::{
    kinds::{Key, Kind, Object},
    operation::{Note, Now, Operation, Outcome, Step, controlled_by, controller_of, delete, patch},
    pods, selector,
    world::World,
};

const COMPONENT: &str = "replicaset-controller";
/// Pods made or deleted in one round.
const BATCH: usize = 50;
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(crate) fn reconcile(key: &Key, world: &World, now: Now) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(set) = world.objects.replica_sets.get(key) else { return outcome };
    let object = Object::ReplicaSet(set.clone());
    let spec = &set.spec;
    let deleting = set.metadata.deletion_timestamp.is_some();
    let mut mine = Vec::new();
    for (pod_key, pod) in &world.objects.pods {
        if pod_key.namespace != key.namespace {
            continue;
        }
        let selected = selector::matches(&spec.selector, pod.metadata.labels.as_ref());
        match controller_of(&pod.metadata) {
            Some(owner) if owner.uid == object.uid() => {
                if selected {
                    mine.push(pod.clone());
                } else if !pods::is_deleting(pod) {
                    outcome.push(release(pod, &object));
                }
            }
            None if selected && !deleting && pods::is_active(pod) => {
                outcome.push(adopt(pod, &object));
                mine.push(pod.clone());
            }
            _ => {}
        }
    }
    let active: Vec<Arc<Pod>> = mine.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    if !deleting {
        scale(set, &object, wanted, &active, &mut outcome);
    }
    status(set, &object, &mine, &active, now, &mut outcome);
    outcome
}

fn scale(
    set: &ReplicaSet,
    object: &Object,
    wanted: usize,
    active: &[Arc<Pod>],
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
    for pod in least_missed(active).into_iter().take(surplus) {
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

/// Those to be deleted first in front: pods that serve nobody yet, then those that share their
/// node with others of the set, then the youngest.
fn least_missed(active: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
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
            cost,
            Reverse(on_node[node.unwrap_or_default()]),
            Reverse(pod.metadata.creation_timestamp.clone().map(|time| time.0)),
            pod.metadata.name.clone(),
        )
    });
    order
}

fn adopt(pod: &Arc<Pod>, owner: &Object) -> Operation {
    let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
    owners.push(controlled_by(owner));
    with_owners(pod, owners)
}

fn release(pod: &Arc<Pod>, owner: &Object) -> Operation {
    let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
    owners.retain(|one| one.uid != owner.uid());
    with_owners(pod, owners)
}

fn with_owners(pod: &Arc<Pod>, owners: Vec<OwnerReference>) -> Operation {
    let change = json!({"metadata": {"ownerReferences": owners}});
    patch(&Object::Pod(pod.clone()), None, change)
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
    let min_ready_secs = i64::from(spec.min_ready_seconds.unwrap_or_default());
    let template_labels = spec.template.as_ref().and_then(|t| t.metadata.as_ref()?.labels.clone());
    let template_labels = template_labels.unwrap_or_default();
    let ready: Vec<_> = active.iter().filter(|pod| pods::is_ready(pod)).collect();
    let mut available = 0;
    for pod in &ready {
        let since = pods::condition(pod, "Ready").and_then(|c| c.last_transition_time.clone());
        let ready_secs = since.map_or(0, |since| now.wall.as_second() - since.0.as_second());
        if ready_secs >= min_ready_secs {
            available += 1;
        } else {
            let left = u64::try_from(min_ready_secs - ready_secs).unwrap_or_default();
            outcome.again(Duration::from_secs(left));
        }
    }
    let labelled = active
        .iter()
        .filter(|pod| selector::matches_all(&template_labels, pod.metadata.labels.as_ref()));
    let terminating =
        mine.iter().filter(|pod| pods::is_deleting(pod) && !pods::has_ended(pod)).count();
    let wanted = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas": labelled.count(),
        "readyReplicas": ready.len(),
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
    if current.as_ref() != Some(&wanted) {
        outcome.push(patch(object, Some("status"), json!({"status": wanted})));
    }
}

#[cfg(test)]
mod tests;
