use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use super::*;
use crate::{
    schedule,
    testing::{merge, node, pod, zoned},
};

/// A pod of a processor on a node.
fn there(name: &str, node: &str, priority: i32, changes: Value) -> Pod {
    let mut base = json!({
        "metadata": {"uid": name},
        "spec": {"nodeName": node, "priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
    });
    merge(&mut base, changes);
    pod(name, base)
}

fn coming(priority: i32, changes: Value) -> Pod {
    let mut base = json!({"spec": {"priority": priority,
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
    merge(&mut base, changes);
    pod("coming", base)
}

fn displaced(pod: &Pod, snapshot: &Snapshot) -> Result<(String, Vec<String>), String> {
    let why = schedule(pod, snapshot).unwrap_err();
    let preemption = preempt(pod, snapshot, &why).map_err(|error| error.to_string())?;
    let victims = preemption.victims.into_iter().map(|victim| victim.name).collect();
    Ok((preemption.node, victims))
}

fn at(node: &str, victims: &[&str]) -> Result<(String, Vec<String>), String> {
    Ok((node.to_owned(), victims.iter().map(|name| (*name).to_owned()).collect()))
}

#[test]
fn the_least_important_go_and_no_more_than_must() {
    let nodes = [node("n1", json!({})), node("n2", json!({}))];
    let pods = [
        there("a", "n1", 5, json!({})),
        there("b", "n1", 1, json!({})),
        there("c", "n2", 5, json!({})),
        there("d", "n2", 2, json!({})),
    ];
    let snapshot = Snapshot::new(&nodes, &pods);
    assert_eq!(displaced(&coming(10, json!({})), &snapshot), at("n1", &["b"]));
    let big = json!({"spec": {"containers": [
        {"name": "c", "resources": {"requests": {"cpu": "2"}}}]}});
    assert_eq!(displaced(&coming(10, big), &snapshot), at("n1", &["a", "b"]));
}

#[test]
fn who_displaces_nobody_is_told_why() {
    let nodes = [
        node("n1", json!({})),
        node("n2", json!({"spec": {"unschedulable": true}})),
        node("n3", json!({"status": {"allocatable": {"cpu": "500m"}}})),
    ];
    let pods = [
        there("a", "n1", 5, json!({})),
        there("b", "n1", 5, json!({})),
        there(
            "c",
            "n3",
            1,
            json!({"spec": {"containers": [{"name": "c",
            "resources": {"requests": {"cpu": "100m"}}}]}}),
        ),
    ];
    let snapshot = Snapshot::new(&nodes, &pods);
    assert_eq!(
        displaced(&coming(5, json!({})), &snapshot),
        Err("0/3 nodes are available: 1 Insufficient cpu, \
             1 No preemption victims found for incoming pod, \
             1 Preemption is not helpful for scheduling."
            .to_owned())
    );
    let polite = coming(10, json!({"spec": {"preemptionPolicy": "Never"}}));
    assert_eq!(
        displaced(&polite, &snapshot),
        Err("not eligible due to preemptionPolicy=Never.".to_owned())
    );
}

#[test]
fn budgets_are_respected_where_that_is_possible() {
    let nodes = [node("n1", json!({})), node("n2", json!({}))];
    let guarded = json!({"metadata": {"labels": {"app": "guarded"}}});
    let pods = [
        there("a", "n1", 1, guarded.clone()),
        there("b", "n1", 1, guarded.clone()),
        there("c", "n2", 2, json!({})),
        there("d", "n2", 2, json!({})),
    ];
    let budget = |allowed: i32| -> PodDisruptionBudget {
        serde_json::from_value(json!({
            "metadata": {"name": "g", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "guarded"}}},
            "status": {"currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2,
                "disruptionsAllowed": allowed},
        }))
        .unwrap()
    };
    let with = |allowed: i32, nodes: &[_]| {
        let budget = budget(allowed);
        let snapshot = Snapshot::new(nodes, &pods).with_budgets([&budget]);
        displaced(&coming(10, json!({})), &snapshot)
    };
    // The more important pod goes, as its budget is not used up.
    assert_eq!(with(0, &nodes), at("n2", &["d"]));
    assert_eq!(with(1, &nodes), at("n1", &["a"]));
    // Where there is no other, the budget does not stand in the way.
    assert_eq!(with(0, &nodes[..1]), at("n1", &["b"]));
    let mixed = [there("a", "n1", 1, guarded), there("b", "n1", 3, json!({}))];
    let spent = budget(0);
    let snapshot = Snapshot::new(&nodes[..1], &mixed).with_budgets([&spent]);
    assert_eq!(displaced(&coming(10, json!({})), &snapshot), at("n1", &["b"]));
}

#[test]
fn who_leaves_anyway_is_waited_for() {
    let nodes = [node("n1", json!({})), node("n2", json!({}))];
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let pods = [
        there("a", "n1", 1, json!({})),
        there("b", "n1", 1, json!({})),
        there("c", "n2", 1, leaving),
        there("d", "n2", 1, json!({})),
    ];
    let snapshot = Snapshot::new(&nodes, &pods);
    assert_eq!(displaced(&coming(10, json!({})), &snapshot), at("n2", &[]));
    // Its room is kept: the next of the same importance displaces another.
    let mut snapshot = snapshot;
    snapshot.reserve(
        &pod(
            "first",
            json!({"metadata": {"uid": "first"}, "spec": {"priority": 10,
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}),
        ),
        "n2",
    );
    let (node, victims) = displaced(&coming(10, json!({})), &snapshot).unwrap();
    assert_eq!((node.as_str(), victims.len()), ("n1", 1));
    // A more important one takes the room that was kept.
    assert_eq!(displaced(&coming(20, json!({})), &snapshot), at("n2", &[]));
}

#[test]
fn those_that_do_not_want_us_near_can_be_displaced() {
    let nodes = [zoned("n1", "a")];
    let loner = there(
        "loner",
        "n1",
        1,
        json!({"spec": {"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone",
                "labelSelector": {"matchLabels": {"app": "web"}}}],
        }}}}),
    );
    let snapshot = Snapshot::new(&nodes, [&loner]);
    assert_eq!(displaced(&coming(10, json!({})), &snapshot), at("n1", &["loner"]));
}

#[test]
fn of_equal_nodes_the_one_with_the_youngest_victims() {
    let nodes = [node("n1", json!({})), node("n2", json!({}))];
    let since = |time: &str| {
        json!({"metadata": {"creationTimestamp": time},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}})
    };
    let pods = [
        there("old", "n1", 1, since("2026-01-01T00:00:00Z")),
        there("young", "n2", 1, since("2026-01-02T00:00:00Z")),
    ];
    let snapshot = Snapshot::new(&nodes, &pods);
    assert_eq!(displaced(&coming(10, json!({})), &snapshot), at("n2", &["young"]));
}
