//! What becomes of a node that falls silent, and of the pods on it.

mod taints;

use std::{sync::Arc, time::Duration};

use control_scheduler::{NOT_READY, UNREACHABLE, tolerates};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint, Toleration};
use serde_json::json;

use crate::{
    ControllersConfig,
    kinds::{Key, Object},
    operation::{Note, Now, Operation, Outcome, Step, delete_at_once, patch},
    pods,
    world::World,
};

use taints::{Sight, taint};

const COMPONENT: &str = "node-controller";
const SILENT_REASON: &str = "NodeStatusUnknown";
const SILENT_MESSAGE: &str = "Kubelet stopped posting node status.";
/// Conditions that only the node itself can know.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub(crate) fn reconcile(
    name: &str,
    world: &World,
    config: &ControllersConfig,
    now: Now,
) -> Outcome {
    let mut outcome = Outcome::default();
    let key = Key::new("", name);
    let on_node: Vec<&Arc<Pod>> =
        world.objects.pods.values().filter(|pod| pods::node_of(pod) == Some(name)).collect();
    let Some(node) = world.objects.nodes.get(&key) else {
        orphans(name, &on_node, world, config, now, &mut outcome);
        return outcome;
    };
    let sight = sight(name, world, config, now, &mut outcome);
    let silent = sight != Sight::Seen;
    if silent {
        mark_silent(node, now, &mut outcome);
        for pod in &on_node {
            mark_unready(pod, now, &mut outcome);
        }
    }
    taint(node, sight, now, &mut outcome);
    if sight != Sight::AllSilent {
        for pod in on_node {
            evict(node, pod, silent, config, now, &mut outcome);
        }
    }
    outcome
}

fn sight(
    name: &str,
    world: &World,
    config: &ControllersConfig,
    now: Now,
    outcome: &mut Outcome,
) -> Sight {
    let is_silent = |name: &str| matches!(silence(name, world, config, now), Silence::Expired);
    match silence(name, world, config, now) {
        Silence::Until(left) => {
            outcome.again(left);
            Sight::Seen
        }
        // When no node is heard of it is us who are cut off, and nothing would be gained by moving.
        Silence::Expired if world.objects.nodes.keys().all(|key| is_silent(&key.name)) => {
            // That another comes back is told of that one only.
            outcome.again((config.node_grace / 4).max(Duration::from_secs(1)));
            Sight::AllSilent
        }
        Silence::Expired => Sight::Silent,
    }
}

enum Silence {
    /// The node is alive, for all we know, for that long.
    Until(Duration),
    Expired,
}

fn silence(name: &str, world: &World, config: &ControllersConfig, now: Now) -> Silence {
    let seen_at = world.heartbeats.get(name).map_or(now.uptime, |heartbeat| heartbeat.seen_at);
    match (seen_at + config.node_grace).checked_sub(now.uptime) {
        Some(left) if !left.is_zero() => Silence::Until(left),
        _ => Silence::Expired,
    }
}

fn mark_silent(node: &Arc<Node>, now: Now, outcome: &mut Outcome) {
    let mut conditions: Vec<NodeCondition> =
        node.status.iter().flat_map(|s| s.conditions.iter().flatten()).cloned().collect();
    if !conditions.iter().any(|condition| condition.type_ == "Ready") {
        conditions.push(NodeCondition { type_: "Ready".into(), ..NodeCondition::default() });
    }
    let mut changed = false;
    for condition in &mut conditions {
        if CONDITIONS.contains(&condition.type_.as_str()) && condition.status != "Unknown" {
            condition.status = "Unknown".into();
            condition.reason = Some(SILENT_REASON.into());
            condition.message = Some(SILENT_MESSAGE.into());
            condition.last_transition_time = Some(now.time());
            changed = true;
        }
    }
    if changed {
        let object = Object::Node(node.clone());
        let name = node.metadata.name.clone().unwrap_or_default();
        outcome.push(Step {
            done: Some(Note::normal(
                COMPONENT,
                &object,
                "NodeNotReady",
                format!("Node {name} status is now: NodeNotReady"),
            )),
            operation: patch(
                &object,
                Some("status"),
                json!({"status": {"conditions": conditions}}),
            ),
            failed: None,
        });
    }
}

/// The kubelet that would say so cannot: without this the pod would stay a ready endpoint.
fn mark_unready(pod: &Arc<Pod>, now: Now, outcome: &mut Outcome) {
    if !pods::is_ready(pod) {
        return;
    }
    let mut conditions = pod.status.clone().and_then(|s| s.conditions).unwrap_or_default();
    for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
        condition.status = "False".into();
        condition.last_transition_time = Some(now.time());
    }
    let object = Object::Pod(pod.clone());
    outcome.push(patch(&object, Some("status"), json!({"status": {"conditions": conditions}})));
}

fn evict(
    node: &Arc<Node>,
    pod: &Arc<Pod>,
    silent: bool,
    config: &ControllersConfig,
    now: Now,
    outcome: &mut Outcome,
) {
    let object = Object::Pod(pod.clone());
    if let Some(deleted) = &pod.metadata.deletion_timestamp {
        // The timestamp is when the grace period ends. The node will not say that the pod is gone;
        // when it comes back, it finds the pod deleted and ends it.
        if silent {
            match seconds(deleted.0.as_second() - now.wall.as_second()) {
                Duration::ZERO => outcome.push(delete_at_once(&object)),
                left => outcome.again(left),
            }
        }
        return;
    }
    if pods::has_ended(pod) {
        return;
    }
    let tolerations =
        pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let Some(stay) = tolerated_for(taint, tolerations, config) else { continue };
        let since = taint.time_added.as_ref().map_or(now.wall, |time| time.0);
        let elapsed = seconds(now.wall.as_second() - since.as_second());
        match stay.checked_sub(elapsed) {
            Some(left) if !left.is_zero() => outcome.again(left),
            _ => {
                let name = pod.metadata.name.clone().unwrap_or_default();
                let namespace = pod.metadata.namespace.clone().unwrap_or_default();
                outcome.push(Step {
                    operation: Operation::Disrupt {
                        pod: Key::of(&pod.metadata),
                        uid: object.uid().to_owned(),
                        reason: "DeletionByTaintManager",
                        message: "Taint manager: deleting due to NoExecute taint".to_owned(),
                    },
                    done: Some(Note::normal(
                        COMPONENT,
                        &object,
                        "TaintManagerEviction",
                        format!("Deleted pod {namespace}/{name}: node has taint {}", taint.key),
                    )),
                    failed: None,
                });
                return;
            }
        }
    }
}

/// How long the pod may stay with the taint; `None` for ever. A pod that says nothing about nodes
/// that fail is given the configured time.
fn tolerated_for(
    taint: &Taint,
    tolerations: &[Toleration],
    config: &ControllersConfig,
) -> Option<Duration> {
    let tolerating: Vec<&Toleration> = tolerations
        .iter()
        .filter(|toleration| tolerates(std::slice::from_ref(*toleration), taint))
        .collect();
    if tolerating.is_empty() {
        let of_condition = taint.key == NOT_READY || taint.key == UNREACHABLE;
        return Some(if of_condition { config.eviction_delay } else { Duration::ZERO });
    }
    tolerating.into_iter().filter_map(|t| t.toleration_seconds).map(seconds).min()
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or_default())
}

/// Pods of a node that is not there go at once where we saw it go. Otherwise we may just not have
/// been told of it yet: it has as long as a silent one.
fn orphans(
    name: &str,
    on_node: &[&Arc<Pod>],
    world: &World,
    config: &ControllersConfig,
    now: Now,
    outcome: &mut Outcome,
) {
    if on_node.is_empty() {
        return;
    }
    let wait = match world.gone_nodes.get(name) {
        Some(gone) if gone.seen => Duration::ZERO,
        Some(gone) => (gone.at + config.node_grace).saturating_sub(now.uptime),
        None => config.node_grace,
    };
    if wait.is_zero() {
        for pod in on_node {
            outcome.push(delete_at_once(&Object::Pod((*pod).clone())));
        }
    } else {
        outcome.again(wait);
    }
}

#[cfg(test)]
mod tests;
