use serde_json::{Value, json};

use super::*;
use crate::testing::{merge, node, on, pod};

mod affinity;
mod model;
mod spread;

#[test]
fn pods_of_one_kind_spread_and_names_break_ties() {
    let nodes = ["n1", "n2", "n3"].map(|name| node(name, json!({})));
    let mut snapshot = Snapshot::new(&nodes, []);
    let mut order = Vec::new();
    for i in 0..6 {
        let pod = pod(&format!("p{i}"), json!({}));
        let placement = schedule(&pod, &snapshot).unwrap();
        snapshot.assume(&pod, &placement.node);
        order.push(placement.node);
    }
    assert_eq!(order, ["n1", "n2", "n3", "n1", "n2", "n3"]);
}

#[test]
fn pods_of_one_controller_spread_whatever_their_labels() {
    let nodes = ["n1", "n2"].map(|name| node(name, json!({})));
    let owned = |name: &str, more: Value| {
        let owner = json!({"metadata": {"labels": {"name": name}, "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true,
        }]}});
        let mut changes = owner;
        merge(&mut changes, more);
        pod(name, changes)
    };
    // The big pod of another kind weighs less than the small one of the same.
    let there = [
        owned("a", json!({"spec": {"nodeName": "n1"}})),
        pod(
            "big",
            json!({"metadata": {"labels": {"app": "db"}}, "spec": {"nodeName": "n2",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}),
        ),
    ];
    let placement = schedule(&owned("b", json!({})), &Snapshot::new(&nodes, &there)).unwrap();
    assert_eq!((placement.node.as_str(), placement.similar_pods), ("n2", 0));
}

#[test]
fn the_least_requested_node_is_taken() {
    let nodes = ["n1", "n2"].map(|name| node(name, json!({})));
    let there = [pod(
        "other",
        json!({"metadata": {"labels": {"app": "db"}},
        "spec": {"nodeName": "n1"}}),
    )];
    assert_eq!(schedule(&pod("p", json!({})), &Snapshot::new(&nodes, &there)).unwrap().node, "n2");
}

#[test]
fn ended_pods_take_no_room() {
    let nodes = [node("n1", json!({"status": {"allocatable": {"pods": "1"}}}))];
    let ended = pod("done", json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Succeeded"}}));
    assert!(schedule(&pod("p", json!({})), &Snapshot::new(&nodes, [&ended])).is_ok());
    let full = schedule(&pod("p", json!({})), &Snapshot::new(&nodes, [&on("q", "n1")]));
    assert_eq!(full.unwrap_err().to_string(), "0/1 nodes are available: 1 Too many pods.");
}

#[test]
fn says_of_every_node_why_not() {
    let taint =
        json!({"spec": {"taints": [{"key": "gpu", "value": "a100", "effect": "NoSchedule"}]}});
    let nodes = [
        node("n1", json!({"status": {"allocatable": {"cpu": "100m", "memory": "1Mi"}}})),
        node("n2", taint.clone()),
        node("n3", taint),
        node("n4", json!({"spec": {"unschedulable": true}})),
        node("n5", json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})),
        node("n6", json!({"metadata": {"labels": {"disk": "hdd"}}})),
    ];
    let pod = pod(
        "p",
        json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["hdd"]}]},
            ]},
        }}}}),
    );
    let error = schedule(&pod, &Snapshot::new(&nodes, [])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "0/6 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, \
         1 node(s) didn't match Pod's node affinity/selector, \
         1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, \
         1 node(s) were unschedulable, 2 node(s) had untolerated taint {gpu: a100}."
    );
    let none = schedule(&pod, &Snapshot::default()).unwrap_err();
    assert_eq!(none.to_string(), "no nodes available to schedule pods");
}

#[test]
fn tolerations_and_selectors_open_a_node() {
    let nodes = [
        node("n1", json!({"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}})),
        node("n2", json!({})),
    ];
    let snapshot = Snapshot::new(&nodes, []);
    let pod = pod(
        "p",
        json!({"spec": {
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "nodeSelector": {"kubernetes.io/hostname": "n1"},
        }}),
    );
    assert_eq!(schedule(&pod, &snapshot).unwrap().node, "n1");
}

#[test]
fn a_toleration_for_the_time_being_schedules_nothing_onto_a_dead_node() {
    let unreachable = json!({
        "spec": {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
    });
    let nodes = [node("n1", unreachable)];
    let usual = json!({"spec": {"tolerations": [{
        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": 300,
    }]}});
    assert!(schedule(&pod("p", usual), &Snapshot::new(&nodes, [])).is_err());
}

#[test]
fn one_host_port_for_one_pod() {
    let nodes = [node("n1", json!({}))];
    let with = |name: &str, ports: Value, node: Option<&str>| {
        let container = json!([{"name": "c", "ports": ports}]);
        pod(name, json!({"spec": {"containers": container, "nodeName": node}}))
    };
    let there = with("a", json!([{"containerPort": 80, "hostPort": 8080}]), Some("n1"));
    let snapshot = Snapshot::new(&nodes, [&there]);
    let fits = |ports: Value| schedule(&with("b", ports, None), &snapshot).is_ok();
    assert!(!fits(json!([{"containerPort": 1, "hostPort": 8080, "hostIP": "192.0.2.1"}])));
    assert!(fits(json!([{"containerPort": 1, "hostPort": 8080, "protocol": "UDP"}])));
    assert!(fits(json!([{"containerPort": 8080}])));
}

#[test]
fn preferences_count_before_spread() {
    let nodes = [
        node("n1", json!({})),
        node("n2", json!({"metadata": {"labels": {"disk": "ssd"}}})),
        node("n3", json!({"spec": {"taints": [{"key": "x", "effect": "PreferNoSchedule"}]}})),
    ];
    let there = [on("a", "n1"), on("b", "n2"), on("c", "n2")];
    let snapshot = Snapshot::new(&nodes, &there);
    assert_eq!(schedule(&pod("p", json!({})), &snapshot).unwrap().node, "n1");
    let prefers = pod(
        "p",
        json!({"spec": {"affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference":
                {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}],
        }}}}),
    );
    assert_eq!(schedule(&prefers, &snapshot).unwrap().node, "n2");
}
