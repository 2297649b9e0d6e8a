use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use super::*;
use crate::testing::{NOW, object, pod, ready_node};

fn at(revision: u64, changes: Value) -> Object {
    let mut pod = pod("a", changes);
    pod.metadata.resource_version = Some(revision.to_string());
    pod.into()
}

fn reference() -> Ref {
    at(1, json!({})).reference()
}

#[test]
fn what_is_older_than_our_own_write_does_not_undo_it() {
    let mut world = World::default();
    assert!(world.observe(at(5, json!({})), NOW).is_some());
    assert!(world.wrote(at(7, json!({"spec": {"nodeName": "n1"}})), NOW).is_some());
    assert!(world.observe(at(6, json!({})), NOW).is_none());
    assert!(world.observe(at(7, json!({"spec": {"nodeName": "n1"}})), NOW).is_none());
    let pod = &world.objects.pods[&reference().key];
    assert_eq!(pods::node_of(pod), Some("n1"));
}

#[test]
fn a_list_that_began_before_our_write_does_not_undo_it() {
    let mut world = World::default();
    world.wrote(at(7, json!({})), NOW);
    assert!(world.replace(Kind::Pod, Vec::new(), NOW.after_secs(1)).is_empty());
    assert_eq!(world.objects.pods.len(), 1);
    let changes = world.replace(Kind::Pod, Vec::new(), NOW.after_secs(60));
    assert!(changes[0].new.is_none());
    // What a watch has shown is no longer spared.
    world.observe(at(8, json!({"metadata": {"uid": "again"}})), NOW);
    assert_eq!(world.replace(Kind::Pod, Vec::new(), NOW).len(), 1);
}

#[test]
fn what_we_deleted_is_on_its_way_out_whatever_comes_late() {
    let mut world = World::default();
    world.observe(at(5, json!({})), NOW);
    world.deleting(&reference(), "uid-a", NOW);
    world.observe(at(6, json!({"metadata": {"labels": {"x": "y"}}})), NOW);
    assert!(pods::is_deleting(&world.objects.pods[&reference().key]));
    world.remove(&reference(), "uid-a", NOW);
    assert!(world.wrote(at(9, json!({})), NOW).is_none(), "an answer that was overtaken");
    assert!(world.was_deleted("uid-a"));
    // Another of the same name is another.
    assert!(world.observe(at(10, json!({"metadata": {"uid": "new"}})), NOW).is_some());
    assert!(!pods::is_deleting(&world.objects.pods[&reference().key]));
    assert!(world.remove(&reference(), "uid-a", NOW).is_none());
}

#[test]
fn dependents_are_found_by_the_uid_of_the_owner() {
    let mut world = World::default();
    let owners = |uids: &[&str]| {
        let all: Vec<Value> = uids
            .iter()
            .map(|u| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": u, "uid": u}))
            .collect();
        json!({"metadata": {"ownerReferences": all}})
    };
    world.observe(at(1, owners(&["x", "y"])), NOW);
    assert_eq!(world.dependents("x").count(), 1);
    world.observe(at(2, owners(&["y"])), NOW);
    assert_eq!((world.dependents("x").count(), world.dependents("y").count()), (0, 1));
    world.remove(&reference(), "uid-a", NOW);
    assert_eq!(world.dependents("y").count(), 0);
}

#[test]
fn a_node_is_heard_when_its_lease_changes_and_not_when_it_is_only_seen() {
    let mut world = World::default();
    let lease = |revision: &str, renewed: &str| -> Lease {
        object(
            json!({"metadata": {"name": "n1", "namespace": "kube-node-lease"}}),
            json!({"metadata": {"resourceVersion": revision}, "spec": {"renewTime": renewed}}),
        )
    };
    world.observe(ready_node("n1"), NOW);
    world.observe(lease("1", "2026-01-01T00:00:00.000000Z"), NOW.after_secs(10));
    assert_eq!(world.heartbeats["n1"].seen_at, NOW.after_secs(10).uptime);
    // Seen again, after the watch was lost, say.
    world.observe(lease("2", "2026-01-01T00:00:00.000000Z"), NOW.after_secs(20));
    assert_eq!(world.heartbeats["n1"].seen_at, NOW.after_secs(10).uptime);
    world.observe(lease("3", "2026-01-01T00:00:05.000000Z"), NOW.after_secs(20));
    assert_eq!(world.heartbeats["n1"].seen_at, NOW.after_secs(20).uptime);
}

#[test]
fn what_nothing_controls_is_found_by_kind_and_namespace() {
    let mut world = World::default();
    let controlled = json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1",
        "kind": "ReplicaSet", "name": "w", "uid": "w", "controller": true}]}});
    let in_other = json!({"metadata": {"namespace": "other"}});
    for (name, changes) in [("a", json!({})), ("b", controlled.clone()), ("c", in_other)] {
        world.observe(pod(name, changes), NOW);
    }
    world.observe(ready_node("n1"), NOW);
    let strays = |world: &World, namespace: &str| -> Vec<String> {
        world.strays(Kind::Pod, namespace).map(|key| key.name.clone()).collect()
    };
    assert_eq!(strays(&world, "default"), ["a"]);
    assert_eq!(strays(&world, "other"), ["c"]);
    assert_eq!(world.strays(Kind::ReplicaSet, "default").count(), 0);
    assert_eq!(world.strays(Kind::Node, "").count(), 0, "nobody adopts a node");
    world.observe(pod("a", controlled), NOW);
    world.observe(pod("b", json!({})), NOW);
    assert_eq!(strays(&world, "default"), ["b"]);
    let gone = Object::from(pod("b", json!({})));
    world.remove(&gone.reference(), gone.uid(), NOW);
    assert_eq!(strays(&world, "default"), Vec::<String>::new());
}
