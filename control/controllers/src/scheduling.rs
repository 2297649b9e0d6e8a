//! Puts pods that have no node on one.

use std::{cmp::Reverse, sync::Arc};

use control_scheduler::{Snapshot, Unschedulable, preempt, schedule};
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
    let objects = &world.objects;
    let mut pending: Vec<_> = objects.pods.iter().filter(|(_, pod)| is_pending(pod)).collect();
    let mut outcome = Outcome { parallel: true, ..Outcome::default() };
    if pending.is_empty() {
        return outcome;
    }
    // The more important first, then those for whom others have made room, then the older.
    pending.sort_by_key(|(key, pod)| {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
        let created = pod.metadata.creation_timestamp.clone().map(|time| time.0);
        (Reverse(priority), nominated(pod).is_none(), created, *key)
    });
    let nodes = objects.nodes.values().map(AsRef::as_ref);
    let mut snapshot = Snapshot::new(nodes, objects.pods.values().map(AsRef::as_ref))
        .with_namespaces(objects.namespaces.values().map(AsRef::as_ref))
        .with_budgets(objects.budgets.values().map(AsRef::as_ref));
    for (key, pod) in pending {
        if outcome.steps.len() >= BATCH {
            outcome.again(std::time::Duration::ZERO);
            break;
        }
        match schedule(pod, &snapshot) {
            Ok(placement) => {
                snapshot.assume(pod, &placement.node);
                outcome.push(bind(key, pod, placement.node));
            }
            Err(why) => make_room(pod, &why, &mut snapshot, world, now, &mut outcome),
        }
    }
    outcome
}

/// Sends away whom the pod may displace, and says what becomes of it.
fn make_room(
    pod: &Pod,
    why: &Unschedulable,
    snapshot: &mut Snapshot,
    world: &World,
    now: Now,
    outcome: &mut Outcome,
) {
    if why.reasons.is_empty() {
        outcome.steps.extend(explain(pod, why.to_string(), None, now));
        return;
    }
    match preempt(pod, snapshot, why) {
        Ok(preemption) => {
            let steps = preemption.victims.iter().filter_map(|victim| {
                let victim =
                    world.objects.pods.get(&Key::new(&*victim.namespace, &*victim.name))?;
                Some(displace(victim, pod, &preemption.node))
            });
            outcome.steps.extend(steps);
            snapshot.displace(&preemption.victims, &preemption.node);
            snapshot.reserve(pod, &preemption.node);
            outcome.steps.extend(explain(pod, why.to_string(), Some(&preemption.node), now));
        }
        Err(no) => outcome.steps.extend(explain(pod, format!("{why} preemption: {no}"), None, now)),
    }
}

fn displace(victim: &Arc<Pod>, by: &Pod, node: &str) -> Step {
    let object = Object::Pod(victim.clone());
    let uid = by.metadata.uid.as_deref().unwrap_or_default();
    let message = format!("Preempted by pod {uid} on node {node}");
    Step {
        operation: Operation::Disrupt {
            pod: Key::of(&victim.metadata),
            uid: object.uid().to_owned(),
            reason: "PreemptionByScheduler",
            message: format!("{COMPONENT}: preempting to accommodate a higher priority pod"),
        },
        done: Some(Note::normal(COMPONENT, &object, "Preempted", message)),
        failed: None,
    }
}

/// The node on which others make room for the pod.
fn nominated(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    status.nominated_node_name.as_deref().filter(|node| !node.is_empty())
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

/// Says in the pod's status and in an Event why no node takes it, and which one will, where that is
/// not said yet.
fn explain(pod: &Pod, why: String, node: Option<&str>, now: Now) -> Option<Step> {
    let before = pods::condition(pod, "PodScheduled");
    let told = before.is_some_and(|c| c.status == "False" && c.message.as_ref() == Some(&why));
    if told && nominated(pod) == node {
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
    let mut status = json!({"conditions": conditions});
    if nominated(pod) != node {
        status["nominatedNodeName"] = json!(node);
    }
    let object = Object::from(pod.clone());
    Some(Step {
        done: Some(Note::warning(COMPONENT, &object, "FailedScheduling", why)),
        operation: patch(&object, Some("status"), json!({"status": status})),
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

    #[test]
    fn the_important_displaces_the_others_and_waits_for_its_room() {
        let one = json!({"status": {"allocatable": {"cpu": "1"}}});
        let mut world = world([crate::testing::node("n1", one)]);
        let asks = |priority: i32| {
            json!({"spec": {"priority": priority, "containers": [
                {"name": "c", "resources": {"requests": {"cpu": "1"}}}]}})
        };
        let mut low = pod("low", asks(0));
        low.spec.as_mut().unwrap().node_name = Some("n1".into());
        world.observe(low, NOW);
        world.observe(pod("high", asks(10)), NOW);
        world.observe(pod("equal", asks(0)), NOW);
        let outcome = reconcile(&world, NOW);
        let Operation::Disrupt { pod: victim, reason, .. } = &outcome.steps[0].operation else {
            panic!("{outcome:?}")
        };
        assert_eq!((victim.name.as_str(), *reason), ("low", "PreemptionByScheduler"));
        let note = outcome.steps[0].done.as_ref().unwrap();
        assert_eq!(note.reason, "Preempted");
        assert_eq!(note.message, "Preempted by pod uid-high on node n1");
        assert_eq!(outcome.steps.len(), 3);
        apply(&mut world, &outcome);
        let status = |world: &World, name: &str| {
            let pod = world.objects.pods[&Key::new("default", name)].clone();
            let message = pods::condition(&pod, "PodScheduled").unwrap().message.clone().unwrap();
            (nominated(&pod).map(str::to_owned), message)
        };
        assert_eq!(
            status(&world, "high"),
            (Some("n1".into()), "0/1 nodes are available: 1 Insufficient cpu.".into())
        );
        assert_eq!(
            status(&world, "equal"),
            (
                None,
                "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are \
                    available: 1 No preemption victims found for incoming pod."
                    .into()
            )
        );
        // Nothing more is done while the other leaves.
        assert_eq!(reconcile(&world, NOW).steps, []);
        let low = world.objects.pods[&Key::new("default", "low")].clone();
        world.remove(&Object::Pod(low).reference(), "uid-low", NOW);
        let outcome = reconcile(&world, NOW);
        let Operation::Bind { pod, .. } = &outcome.steps[0].operation else {
            panic!("{outcome:?}")
        };
        assert_eq!(pod.name, "high");
    }
}
