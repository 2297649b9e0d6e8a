use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::json;

use super::*;
use crate::{
    kinds::Key,
    operation::Step,
    testing::{NOW, apply, object, pod},
};

fn set(name: &str, changes: Value) -> ReplicaSet {
    object(
        json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {}},
        }),
        changes,
    )
}

fn owned_by(owners: &[&str]) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|name| {
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name,
                "uid": format!("uid-{name}"), "blockOwnerDeletion": true})
        })
        .collect();
    json!({"metadata": {"ownerReferences": owners}})
}

fn pod_ref() -> Ref {
    Ref { kind: Kind::Pod, key: Key::new("default", "p") }
}

fn set_ref(name: &str) -> Ref {
    Ref { kind: Kind::ReplicaSet, key: Key::new("default", name) }
}

fn steps(reference: &Ref, world: &World) -> Vec<Operation> {
    let operation = |step: Step| step.operation;
    reconcile(reference, world).steps.into_iter().map(operation).collect()
}

fn deleting(finalizer: &str) -> Value {
    json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer, "x/y"]}})
}

#[test]
fn an_object_goes_when_the_last_of_its_owners_is_gone() {
    let mut world = World::default();
    world.observe(set("a", json!({})), NOW);
    world.observe(set("b", json!({})), NOW);
    world.observe(pod("p", owned_by(&["a", "b"])), NOW);
    assert_eq!(steps(&pod_ref(), &world), []);
    world.remove(&set_ref("a"), "uid-a", NOW);
    assert_eq!(steps(&pod_ref(), &world), []);
    world.remove(&set_ref("b"), "uid-b", NOW);
    assert!(matches!(&steps(&pod_ref(), &world)[..], [Operation::Delete { .. }]));
}

#[test]
fn an_owner_that_was_never_seen_is_asked_for_first() {
    let mut world = World::default();
    world.observe(pod("p", owned_by(&["a"])), NOW);
    let [Operation::Collect { owners, uid, .. }] = &steps(&pod_ref(), &world)[..] else { panic!() };
    assert_eq!((owners[0].name.as_str(), uid.as_str()), ("a", "uid-p"));
}

#[test]
fn owners_of_a_kind_we_do_not_know_are_trusted() {
    let mut world = World::default();
    let owner = json!([{"apiVersion": "example.org/v1", "kind": "App", "name": "x", "uid": "u"}]);
    world.observe(pod("p", json!({"metadata": {"ownerReferences": owner}})), NOW);
    assert_eq!(steps(&pod_ref(), &world), []);
}

#[test]
fn in_the_foreground_the_dependents_go_first() {
    let mut world = World::default();
    world.observe(set("a", deleting(FOREGROUND)), NOW);
    world.observe(pod("p", owned_by(&["a"])), NOW);
    let outcome = reconcile(&set_ref("a"), &world);
    assert!(matches!(
        &outcome.steps[..],
        [Step { operation: Operation::Delete { propagation: Propagation::Foreground, .. }, .. }]
    ));
    let mut leaving = pod("p", owned_by(&["a"]));
    leaving.metadata.deletion_timestamp = Some(NOW.time());
    world.observe(leaving, NOW);
    assert_eq!(steps(&set_ref("a"), &world), []);
    world.remove(&pod_ref(), "uid-p", NOW);
    let outcome = reconcile(&set_ref("a"), &world);
    apply(&mut world, &outcome);
    let set = &world.objects.replica_sets[&set_ref("a").key];
    assert_eq!(set.metadata.finalizers.as_deref(), Some(&["x/y".to_owned()][..]));
    assert_eq!(steps(&set_ref("a"), &world), []);
}

#[test]
fn orphans_stay_without_an_owner() {
    let mut world = World::default();
    world.observe(set("a", deleting(ORPHAN)), NOW);
    world.observe(pod("p", owned_by(&["a"])), NOW);
    let outcome = reconcile(&set_ref("a"), &world);
    apply(&mut world, &outcome);
    let pod = &world.objects.pods[&pod_ref().key];
    assert_eq!(pod.metadata.owner_references, None);
    assert_eq!(steps(&set_ref("a"), &world), []);
    world.remove(&set_ref("a"), "uid-a", NOW);
    assert_eq!(steps(&pod_ref(), &world), []);
}
