use serde_json::{Value, json};

use crate::{
    Snapshot, schedule,
    testing::{merge, node, on, pod, zoned},
};

fn constraint(changes: Value) -> Value {
    let mut constraint = json!({
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    merge(&mut constraint, changes);
    json!({"spec": {"topologySpreadConstraints": [constraint]}})
}

fn result(pod: Value, snapshot: &Snapshot) -> String {
    match schedule(&super::pod("p", pod), snapshot) {
        Ok(placement) => placement.node,
        Err(why) => why.to_string(),
    }
}

#[test]
fn no_zone_gets_ahead_by_more_than_the_skew() {
    let nodes = [zoned("n1", "a"), zoned("n2", "a"), zoned("n3", "b")];
    // n3 is the busiest node of the emptier zone.
    let there = [on("a", "n1"), on("b", "n2"), on("c", "n3")];
    let other =
        pod("other", json!({"metadata": {"labels": {"app": "x"}}, "spec": {"nodeName": "n3"}}));
    let snapshot = Snapshot::new(&nodes, there.iter().chain([&other]));
    assert_eq!(result(constraint(json!({})), &snapshot), "n3");
    assert_eq!(result(constraint(json!({"maxSkew": 2})), &snapshot), "n1");
    let full = node(
        "n3",
        json!({"metadata": {"labels": {"zone": "b"}}, "status": {"allocatable": {"cpu": "1"}}}),
    );
    let nodes = [nodes[0].clone(), nodes[1].clone(), full];
    let snapshot = Snapshot::new(&nodes, there.iter().chain([&other]));
    assert_eq!(
        result(constraint(json!({})), &snapshot),
        "0/3 nodes are available: 1 Insufficient cpu, \
         2 node(s) didn't match pod topology spread constraints."
    );
}

#[test]
fn a_node_without_the_key_is_no_place() {
    let nodes = [node("n1", json!({}))];
    assert_eq!(
        result(constraint(json!({})), &Snapshot::new(&nodes, [])),
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints \
         (missing required label)."
    );
}

#[test]
fn fewer_domains_than_wished_for_count_as_empty_ones() {
    let nodes = [zoned("n1", "a")];
    let there = [on("a", "n1")];
    let snapshot = Snapshot::new(&nodes, &there);
    assert_eq!(result(constraint(json!({})), &snapshot), "n1");
    assert!(result(constraint(json!({"minDomains": 2})), &snapshot).starts_with("0/1"));
}

#[test]
fn nodes_that_are_out_of_reach_count_or_not() {
    let taint = json!([{"key": "gpu", "effect": "NoSchedule"}]);
    let tainted =
        node("n2", json!({"metadata": {"labels": {"zone": "b"}}, "spec": {"taints": taint}}));
    let nodes = [zoned("n1", "a"), tainted];
    let there = [on("a", "n1")];
    let snapshot = Snapshot::new(&nodes, &there);
    // The empty zone is closed, but it counts, unless taints are honoured.
    assert_eq!(
        result(constraint(json!({})), &snapshot),
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
         1 node(s) had untolerated taint {gpu: }."
    );
    assert_eq!(result(constraint(json!({"nodeTaintsPolicy": "Honor"})), &snapshot), "n1");
    // A node selector keeps other nodes from counting, unless it is ignored.
    let nodes = [zoned("n1", "a"), zoned("n2", "b")];
    let snapshot = Snapshot::new(&nodes, &there);
    let bound = |policy: &str| {
        let mut pod = constraint(json!({"nodeAffinityPolicy": policy}));
        merge(&mut pod, json!({"spec": {"nodeSelector": {"zone": "a"}}}));
        result(pod, &snapshot)
    };
    assert_eq!(bound("Honor"), "n1");
    assert!(bound("Ignore").starts_with("0/2"));
}

#[test]
fn only_the_same_generation_counts_and_only_pods_that_stay() {
    let nodes = [zoned("n1", "a"), zoned("n2", "b")];
    let old =
        pod("old", json!({"metadata": {"labels": {"hash": "1"}}, "spec": {"nodeName": "n1"}}));
    let leaving = pod(
        "leaving",
        json!({"metadata": {"labels": {"hash": "2"},
            "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"nodeName": "n2"}}),
    );
    let one = [
        zoned("n1", "a"),
        node(
            "n2",
            json!({"metadata": {"labels": {"zone": "b"}},
        "status": {"allocatable": {"cpu": "100m"}}}),
        ),
    ];
    let with = |keys: Value| {
        let mut pod = constraint(json!({"matchLabelKeys": keys}));
        merge(&mut pod, json!({"metadata": {"labels": {"hash": "2"}}}));
        result(pod, &Snapshot::new(&one, [&old, &leaving]))
    };
    assert!(with(json!([])).starts_with("0/2"));
    assert_eq!(with(json!(["hash"])), "n1");
    let snapshot = Snapshot::new(&nodes, [&leaving]);
    let soft = constraint(json!({"whenUnsatisfiable": "ScheduleAnyway"}));
    // Soft: as even as can be, but never refused.
    assert_eq!(result(soft.clone(), &snapshot), "n1");
    assert_eq!(result(soft.clone(), &Snapshot::new(&nodes, [&old])), "n2");
    assert_eq!(result(soft, &Snapshot::new(&nodes[..1], [&old])), "n1");
}
