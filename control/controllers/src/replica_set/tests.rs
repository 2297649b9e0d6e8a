use super::*;
use crate::operation::controller_of;
use crate::testing::{NOW, apply, object, pod, ready_node, running_pod, world};

fn set(changes: Value) -> ReplicaSet {
    object(
        json!({
            "metadata": {"name": "web", "namespace": "default", "generation": 1},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "echo"}]},
                },
            },
        }),
        changes,
    )
}

fn with(set_: ReplicaSet, pods: impl IntoIterator<Item = Pod>) -> World {
    let mut world = world([ready_node("n1"), ready_node("n2")]);
    world.observe(set_, NOW);
    for pod in pods {
        world.observe(pod, NOW);
    }
    world
}

fn owned(mut pod: Pod) -> Pod {
    pod.metadata.owner_references = Some(vec![controlled_by(&set(json!({})).into())]);
    pod
}

fn key() -> Key {
    Key::new("default", "web")
}

fn settle(world: &mut World) -> usize {
    let mut rounds = 0;
    loop {
        let outcome = reconcile(&key(), world, NOW);
        if outcome.steps.is_empty() {
            return rounds;
        }
        apply(world, &outcome);
        rounds += 1;
        assert!(rounds < 20, "{outcome:?}");
    }
}

fn kinds(outcome: &Outcome) -> Vec<&'static str> {
    let name = |step: &Step| match &step.operation {
        Operation::Create { .. } => "create",
        Operation::Delete { .. } => "delete",
        Operation::Patch { subresource: Some("status"), .. } => "status",
        Operation::Patch { .. } => "patch",
        _ => "other",
    };
    outcome.steps.iter().map(name).collect()
}

#[test]
fn makes_what_is_missing_and_no_more() {
    let mut world = with(set(json!({})), []);
    let outcome = reconcile(&key(), &world, NOW);
    assert_eq!(kinds(&outcome), ["create", "create", "create", "status"]);
    let Operation::Create { object, .. } = &outcome.steps[0].operation else { panic!() };
    assert_eq!(object["metadata"]["generateName"], "web-");
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "uid-web");
    assert_eq!(object["spec"]["containers"][0]["image"], "echo");
    assert!(object["metadata"].get("annotations").is_none());
    assert_eq!(outcome.steps[0].done.as_ref().unwrap().message, "Created pod: {}");
    settle(&mut world);
    assert_eq!(world.objects.pods.len(), 3);
    assert_eq!(world.objects.replica_sets[&key()].status.as_ref().unwrap().replicas, 3);
}

#[test]
fn many_are_made_in_rounds() {
    let mut world = with(set(json!({"spec": {"replicas": 120}})), []);
    let outcome = reconcile(&key(), &world, NOW);
    assert_eq!(outcome.steps.len(), BATCH + 1);
    assert_eq!(outcome.again_after, Some(Duration::ZERO));
    settle(&mut world);
    assert_eq!(world.objects.pods.len(), 120);
}

#[test]
fn a_pod_that_ended_or_leaves_is_replaced() {
    let ended = owned(pod("ended", json!({"status": {"phase": "Failed"}})));
    let mut leaving = owned(running_pod("leaving", "n1", 1));
    leaving.metadata.deletion_timestamp = Some(NOW.time());
    let mut world = with(set(json!({"spec": {"replicas": 1}})), [ended, leaving]);
    settle(&mut world);
    assert_eq!(world.objects.pods.len(), 3);
    let status = world.objects.replica_sets[&key()].status.clone().unwrap();
    assert_eq!((status.replicas, status.terminating_replicas), (1, Some(1)));
}

#[test]
fn the_least_missed_go_first() {
    let pods = [
        owned(running_pod("ready-1", "n1", 1)),
        owned(running_pod("ready-2", "n1", 2)),
        owned(running_pod("ready-3", "n2", 3)),
        owned(pod("waiting", json!({}))),
        owned(pod("starting", json!({"spec": {"nodeName": "n2"}}))),
    ];
    let order = |replicas: usize| {
        let world = with(set(json!({"spec": {"replicas": replicas}})), pods.clone());
        let outcome = reconcile(&key(), &world, NOW);
        let deleted = outcome.steps.into_iter().filter_map(|step| match step.operation {
            Operation::Delete { target, .. } => Some(target.key.name),
            _ => None,
        });
        deleted.collect::<Vec<_>>()
    };
    assert_eq!(order(4), ["waiting"]);
    assert_eq!(order(2), ["waiting", "starting", "ready-1"]);
    assert_eq!(order(0).len(), 5);
}

#[test]
fn strays_are_adopted_and_strangers_released() {
    let stray = running_pod("stray", "n1", 1);
    let mut stranger = owned(running_pod("stranger", "n1", 2));
    stranger.metadata.labels = None;
    let elsewhere = pod("elsewhere", json!({"metadata": {"namespace": "other"}}));
    let mut world = with(set(json!({"spec": {"replicas": 1}})), [stray, stranger, elsewhere]);
    assert_eq!(kinds(&reconcile(&key(), &world, NOW)), ["patch", "patch", "status"]);
    settle(&mut world);
    let owner = |name: &str| {
        let pod = &world.objects.pods[&Key::new("default", name)];
        controller_of(&pod.metadata).map(|owner| owner.uid.clone())
    };
    assert_eq!(owner("stray"), Some("uid-web".into()));
    assert_eq!(owner("stranger"), None);
    assert_eq!(world.objects.pods.len(), 3);
}

#[test]
fn a_set_that_is_deleted_makes_nothing() {
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let world = with(set(leaving), [running_pod("stray", "n1", 1)]);
    assert_eq!(kinds(&reconcile(&key(), &world, NOW)), ["status"]);
    assert!(reconcile(&Key::new("default", "gone"), &world, NOW).steps.is_empty());
}

#[test]
fn ready_is_available_only_after_a_while() {
    let mut pod = owned(running_pod("a", "n1", 1));
    let conditions = pod.status.as_mut().unwrap().conditions.as_mut().unwrap();
    conditions[0].last_transition_time = Some(NOW.time());
    let changes = json!({"spec": {"replicas": 1, "minReadySeconds": 10}});
    let mut world = with(set(changes), [pod]);
    let outcome = reconcile(&key(), &world, NOW);
    assert_eq!(outcome.again_after, Some(Duration::from_secs(10)));
    apply(&mut world, &outcome);
    let status = world.objects.replica_sets[&key()].status.clone().unwrap();
    assert_eq!((status.ready_replicas, status.available_replicas), (Some(1), Some(0)));
    let later = reconcile(&key(), &world, NOW.after_secs(10));
    let Operation::Patch { patch, .. } = &later.steps[0].operation else { panic!() };
    assert_eq!(patch["status"]["availableReplicas"], 1);
}

#[test]
fn of_the_ready_ones_those_go_first_that_are_not_available_yet() {
    // The older pod has just come back; the younger one has served all the time.
    let mut back = owned(running_pod("back", "n1", 1));
    let mut serving = owned(running_pod("serving", "n1", 2));
    serving.metadata.creation_timestamp = Some(NOW.time());
    let now = NOW.after_secs(9);
    back.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].last_transition_time =
        Some(now.time());
    let changes = json!({"spec": {"replicas": 1, "minReadySeconds": 5}});
    let world = with(set(changes), [back, serving]);
    let outcome = reconcile(&key(), &world, now);
    let Operation::Delete { target, .. } = &outcome.steps[0].operation else { panic!() };
    assert_eq!(target.key.name, "back");
}

#[test]
fn a_refusal_is_told_with_the_counts_and_taken_back() {
    let mut world = with(set(json!({})), [owned(running_pod("a", "n1", 1))]);
    let outcome = reconcile(&key(), &world, NOW);
    let told = outcome.if_refused.clone().unwrap();
    let Operation::Patch { patch, subresource: Some("status"), .. } = &told else { panic!() };
    assert_eq!(patch["status"]["readyReplicas"], 1);
    let condition = &patch["status"]["conditions"][0];
    let words = ["type", "status", "reason", "message"].map(|field| condition[field].as_str());
    assert_eq!(words, ["ReplicaFailure", "True", "FailedCreate", "{}"].map(Some));
    apply(&mut world, &Outcome { steps: vec![told.clone().into()], ..Outcome::default() });
    // Told again it is the same, so that nothing comes of it.
    let again = reconcile(&key(), &world, NOW.after_secs(5)).if_refused.unwrap();
    let status = |operation: Operation| match operation {
        Operation::Patch { patch, .. } => patch["status"].clone(),
        _ => Value::Null,
    };
    assert_eq!(status(again), status(told));
    settle(&mut world);
    let status = world.objects.replica_sets[&key()].status.clone().unwrap();
    assert_eq!((status.replicas, status.conditions), (3, Some(vec![])));
}
