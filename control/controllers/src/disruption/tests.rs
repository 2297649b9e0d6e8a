use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::*;
use crate::testing::{NOW, apply, object, pod, running_pod, world};

fn budget(spec: Value) -> PodDisruptionBudget {
    let selector = json!({"selector": {"matchLabels": {"app": "web"}}});
    let mut budget: PodDisruptionBudget = object(
        json!({"metadata": {"name": "b", "namespace": "default", "generation": 3},
            "spec": selector}),
        json!({"spec": spec}),
    );
    budget.status = None;
    budget
}

/// A set of `replicas` with that many pods, of which `ready` are.
fn cluster(spec: Value, replicas: i32, ready: usize) -> World {
    let mut world = world([]);
    let set: ReplicaSet = object(
        json!({"metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}}}),
        json!({}),
    );
    world.observe(set, NOW);
    for number in 0..u8::try_from(replicas).unwrap() {
        let name = format!("p{number}");
        let mut pod = match usize::from(number) < ready {
            true => running_pod(&name, "n1", number + 1),
            false => pod(&name, json!({})),
        };
        pod.metadata.owner_references = serde_json::from_value(json!([{"apiVersion": "apps/v1",
            "kind": "ReplicaSet", "name": "web", "uid": "uid-web", "controller": true}]))
        .unwrap();
        world.observe(pod, NOW);
    }
    world.observe(budget(spec), NOW);
    world
}

fn key() -> Key {
    Key::new("default", "b")
}

fn run(world: &mut World, now: Now) -> Outcome {
    let outcome = reconcile(&key(), world, now);
    apply(world, &outcome);
    outcome
}

/// Expected, desired, healthy, allowed, and the reason of the condition.
fn told(world: &World) -> (i32, i32, i32, i32, String) {
    let status = world.objects.budgets[&key()].status.clone().unwrap();
    let conditions = status.conditions.unwrap();
    let number = Option::unwrap_or_default;
    (
        number(status.expected_pods),
        number(status.desired_healthy),
        number(status.current_healthy),
        number(status.disruptions_allowed),
        conditions[0].reason.clone(),
    )
}

#[test]
fn numbers_and_percentages_of_what_the_controllers_keep() {
    let enough = "SufficientPods";
    let short = "InsufficientPods";
    for (spec, replicas, ready, expected) in [
        (json!({"minAvailable": 2}), 3, 3, (3, 2, 3, 1, enough)),
        (json!({"minAvailable": 2}), 3, 2, (3, 2, 2, 0, short)),
        (json!({"minAvailable": 5}), 3, 3, (3, 5, 3, 0, short)),
        (json!({"maxUnavailable": 1}), 3, 3, (3, 2, 3, 1, enough)),
        (json!({"maxUnavailable": 1}), 3, 1, (3, 2, 1, 0, short)),
        (json!({"maxUnavailable": "50%"}), 3, 3, (3, 1, 3, 2, enough)),
        (json!({"minAvailable": "50%"}), 3, 3, (3, 2, 3, 1, enough)),
        (json!({"minAvailable": "100%"}), 3, 3, (3, 3, 3, 0, short)),
        (json!({"minAvailable": 1}), 0, 0, (0, 1, 0, 0, short)),
        (json!({}), 3, 3, (0, 0, 3, 0, short)),
    ] {
        let mut world = cluster(spec.clone(), replicas, ready);
        run(&mut world, NOW);
        let (expected, desired, healthy, allowed, reason) = expected;
        let wanted = (expected, desired, healthy, allowed, reason.to_owned());
        assert_eq!(told(&world), wanted, "{spec} of {replicas}, {ready} ready");
        let status = world.objects.budgets[&key()].status.clone().unwrap();
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(reconcile(&key(), &world, NOW).steps, []);
    }
}

#[test]
fn a_pod_that_was_evicted_counts_as_gone_until_it_is_or_is_not() {
    let mut world = cluster(json!({"minAvailable": 2}), 3, 3);
    run(&mut world, NOW);
    let mut charged = (*world.objects.budgets[&key()]).clone();
    let status = charged.status.as_mut().unwrap();
    status.disruptions_allowed = Some(0);
    status.disrupted_pods = Some([("p0".to_owned(), NOW.time())].into());
    world.observe(charged, NOW);
    let outcome = run(&mut world, NOW);
    assert_eq!(told(&world), (3, 2, 2, 0, "InsufficientPods".to_owned()));
    assert_eq!(outcome.again_after, Some(Duration::from_secs(121)));
    // It never went.
    let late = NOW.after_secs(121);
    let outcome = run(&mut world, late);
    assert_eq!(outcome.notes[0].reason, "NotDeleted");
    assert_eq!(told(&world), (3, 2, 3, 1, "SufficientPods".to_owned()));
    let status = world.objects.budgets[&key()].status.clone().unwrap();
    assert_eq!(status.disrupted_pods.unwrap_or_default(), BTreeMap::new());
    assert_eq!(reconcile(&key(), &world, late).steps, []);
}

#[test]
fn a_pod_whose_controller_is_unknown_lets_none_go() {
    let mut world = cluster(json!({"maxUnavailable": 1}), 2, 2);
    run(&mut world, NOW);
    let set = world.objects.get(crate::kinds::Kind::ReplicaSet, &Key::new("default", "web"));
    world.remove(&set.unwrap().reference(), "uid-web", NOW);
    run(&mut world, NOW);
    assert_eq!(told(&world), (2, 1, 2, 0, "SyncFailed".to_owned()));
    let status = world.objects.budgets[&key()].status.clone().unwrap();
    let message = &status.conditions.unwrap()[0].message;
    assert!(message.contains("found no controllers for pod \"p0\""), "{message}");
}

#[test]
fn pods_without_a_controller_are_told_of() {
    let mut world = world([]);
    world.observe(running_pod("alone", "n1", 1), NOW);
    world.observe(budget(json!({"maxUnavailable": 1})), NOW);
    let outcome = run(&mut world, NOW);
    assert_eq!(outcome.steps[0].done.as_ref().unwrap().reason, "UnmanagedPods");
    assert_eq!(told(&world), (0, 0, 1, 0, "InsufficientPods".to_owned()));
}

#[test]
fn while_a_deployment_rolls_its_own_number_counts() {
    let mut world = cluster(json!({"minAvailable": "50%"}), 3, 3);
    let deployment: Deployment = object(
        json!({"metadata": {"name": "d", "namespace": "default"},
            "spec": {"replicas": 8, "selector": {"matchLabels": {"app": "web"}},
                "template": {}}}),
        json!({}),
    );
    world.observe(deployment, NOW);
    let mut set = (*world.objects.replica_sets[&Key::new("default", "web")]).clone();
    set.metadata.owner_references = serde_json::from_value(json!([{"apiVersion": "apps/v1",
        "kind": "Deployment", "name": "d", "uid": "uid-d", "controller": true}]))
    .unwrap();
    world.observe(set, NOW);
    run(&mut world, NOW);
    assert_eq!(told(&world), (8, 4, 3, 0, "InsufficientPods".to_owned()));
}
