//! Puts pods that have no node on one.

use std::cmp::Reverse;

use control_scheduler::{Snapshot, schedule};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::json;

use crate::{
    kinds::{Key, Object},
    operation::{Note, Now, Operation, Outcome, Step, patch},
    pods,
    world::World,
};

const COMPONENT: &str = "default-scheduler";
const SCHEDULER_NAME: &str = "default-scheduler";
/// Steps of one round; what is left waits for the next, which sees what this one has done.
const BATCH: usize = 100;

pub(crate) fn reconcile(world: &World, now: Now) -> Outcome {
    let mut pending: Vec<_> =
        world.objects.pods.iter().filter(|(_, pod)| is_pending(pod)).collect();
    let mut outcome = Outcome { parallel: true, ..Outcome::default() };
    if pending.is_empty() {
        return outcome;
    }
    // The more important first, then the older.
    pending.sort_by_key(|(key, pod)| {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
        (Reverse(priority), pod.metadata.creation_timestamp.clone().map(|time| time.0), *key)
    });
    let nodes = world.objects.nodes.values().map(AsRef::as_ref);
    let mut snapshot = Snapshot::new(nodes, world.objects.pods.values().map(AsRef::as_ref));
    for (key, pod) in pending {
        if outcome.steps.len() == BATCH {
            outcome.again(std::time::Duration::ZERO);
            break;
        }
        match schedule(pod, &snapshot) {
            Ok(placement) => {
                snapshot.assume(pod, &placement.node);
                outcome.push(bind(key, pod, placement.node));
            }
            Err(unschedulable) => {
                if let Some(step) = explain(pod, unschedulable.to_string(), now) {
                    outcome.push(step);
                }
            }
        }
    }
    outcome
}

fn is_pending(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ours = spec.scheduler_name.as_deref().is_none_or(|name| name == SCHEDULER_NAME);
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    pods::node_of(pod).is_none() && pods::is_active(pod) && ours && !gated
}

fn bind(key: &Key, pod: &Pod, node: String) -> Step {
    let message = format!("Successfully assigned {key} to {node}");
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    Step {
        done: Some(Note::normal(COMPONENT, &Object::from(pod.clone()), "Scheduled", message)),
        operation: Operation::Bind { pod: key.clone(), uid, node },
        failed: None,
    }
}

/// Says in the pod's status and in an Event why no node takes it, where that is not said yet.
fn explain(pod: &Pod, why: String, now: Now) -> Option<Step> {
    let before = pods::condition(pod, "PodScheduled");
    if before.is_some_and(|c| c.status == "False" && c.message.as_ref() == Some(&why)) {
        return None;
    }
    let since = before.filter(|c| c.status == "False").and_then(|c| c.last_transition_time.clone());
    let condition = PodCondition {
        type_: "PodScheduled".into(),
        status: "False".into(),
        reason: Some("Unschedulable".into()),
        message: Some(why.clone()),
        last_transition_time: Some(since.unwrap_or(now.time())),
        ..PodCondition::default()
    };
    let others = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let mut conditions: Vec<_> = others.filter(|c| c.type_ != "PodScheduled").cloned().collect();
    conditions.push(condition);
    let object = Object::from(pod.clone());
    Some(Step {
        done: Some(Note::warning(COMPONENT, &object, "FailedScheduling", why)),
        operation: patch(&object, Some("status"), json!({"status": {"conditions": conditions}})),
        failed: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{NOW, apply, pod, ready_node, world};

    #[test]
    fn pods_are_bound_and_counted_at_once() {
        let mut world = world([ready_node("n1"), ready_node("n2")]);
        for name in ["a", "b"] {
            world.observe(pod(name, json!({})), NOW);
        }
        let outcome = reconcile(&world, NOW);
        let nodes: Vec<_> = outcome
            .steps
            .iter()
            .map(|step| match &step.operation {
                Operation::Bind { pod, node, .. } => (pod.name.as_str(), node.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(nodes, [("a", "n1"), ("b", "n2")]);
        assert_eq!(
            outcome.steps[0].done.as_ref().unwrap().message,
            "Successfully assigned default/a to n1"
        );
        apply(&mut world, &outcome);
        assert_eq!(reconcile(&world, NOW).steps, []);
    }

    #[test]
    fn what_cannot_be_placed_is_told_once() {
        let mut world = world([]);
        world.observe(pod("a", json!({})), NOW);
        world.observe(pod("gated", json!({"spec": {"schedulingGates": [{"name": "x"}]}})), NOW);
        world.observe(pod("other", json!({"spec": {"schedulerName": "other"}})), NOW);
        let outcome = reconcile(&world, NOW);
        assert_eq!(outcome.steps.len(), 1);
        let note = outcome.steps[0].done.clone().unwrap();
        assert_eq!((note.reason, note.warning), ("FailedScheduling", true));
        assert_eq!(note.message, "no nodes available to schedule pods");
        apply(&mut world, &outcome);
        assert_eq!(reconcile(&world, NOW).steps, []);
        // Another reason is told again, but the state has lasted as long.
        world.observe(crate::testing::node("n1", json!({"spec": {"unschedulable": true}})), NOW);
        let outcome = reconcile(&world, NOW.after_secs(60));
        apply(&mut world, &outcome);
        let condition =
            pods::condition(&world.objects.pods[&Key::new("default", "a")], "PodScheduled")
                .cloned();
        let condition = condition.unwrap();
        assert!(condition.message.unwrap().starts_with("0/1 nodes are available"));
        assert_eq!(condition.last_transition_time.unwrap(), NOW.time());
    }
}
