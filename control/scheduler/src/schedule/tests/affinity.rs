use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use crate::{
    Snapshot, schedule,
    testing::{labelled, merge, on, pod, zoned},
};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn term(app: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
}

fn required(kind: &str, terms: Value) -> Value {
    json!({"spec": {"affinity": {kind: {REQUIRED: terms}}}})
}

fn result(pod: Value, snapshot: &Snapshot) -> String {
    match schedule(&super::pod("p", pod), snapshot) {
        Ok(placement) => placement.node,
        Err(why) => why.to_string(),
    }
}

#[test]
fn near_those_that_are_meant_and_only_those() {
    let nodes = [zoned("n1", "a"), zoned("n2", "a"), zoned("n3", "b")];
    let snapshot = Snapshot::new(&nodes, &[labelled("db", "n3", "db")]);
    let near = |terms: Value| result(required("podAffinity", terms), &snapshot);
    assert_eq!(near(json!([term("db", "zone")])), "n3");
    // Nobody there, and the pod itself is not meant.
    assert_eq!(
        near(json!([term("cache", "zone")])),
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    );
    // The first of its own kind.
    assert_eq!(near(json!([term("web", "zone")])), "n1");
    // Without the key no node is near to any.
    assert_eq!(
        near(json!([term("web", "rack")])),
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    );
    // Both terms mean the same pods.
    assert_eq!(near(json!([term("db", "zone"), term("db", "kubernetes.io/hostname")])), "n3");
    assert!(near(json!([term("db", "zone"), term("web", "zone")])).starts_with("0/3"));
    // No selector means nobody, an empty one everybody.
    assert!(near(json!([{"topologyKey": "zone"}])).starts_with("0/3"));
    assert_eq!(near(json!([{"topologyKey": "zone", "labelSelector": {}}])), "n3");
}

#[test]
fn far_from_those_that_are_meant_and_from_those_that_mean_us() {
    let nodes = [zoned("n1", "a"), zoned("n2", "b")];
    let snapshot = Snapshot::new(&nodes, &[labelled("db", "n1", "db")]);
    let far = |app: &str| required("podAntiAffinity", json!([term(app, "zone")]));
    assert_eq!(result(far("db"), &snapshot), "n2");
    let both = [labelled("db", "n1", "db"), labelled("db2", "n2", "db")];
    assert_eq!(
        result(far("db"), &Snapshot::new(&nodes, &both)),
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    );
    // The one that is there does not want us.
    let mut loner = far("web");
    merge(&mut loner, json!({"metadata": {"labels": {"app": "x"}}, "spec": {"nodeName": "n1"}}));
    let loner = pod("loner", loner);
    assert_eq!(result(json!({}), &Snapshot::new(&nodes, [&loner])), "n2");
    assert_eq!(
        result(json!({}), &Snapshot::new(&nodes[..1], [&loner])),
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    // A node without the key is in nobody's zone.
    let bare = [crate::testing::node("n1", json!({}))];
    let there = [labelled("db", "n1", "db")];
    assert_eq!(result(far("db"), &Snapshot::new(&bare, &there)), "n1");
}

#[test]
fn pods_of_other_namespaces_count_where_a_term_names_them() {
    let nodes = [zoned("n1", "a"), zoned("n2", "b")];
    let mut other = on("o", "n1");
    other.metadata.namespace = Some("tenant".into());
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "tenant", "labels": {"team": "x"}}}))
            .unwrap();
    // Which is why n1 is the better where the other does not count.
    let busy = [labelled("x", "n2", "x"), labelled("y", "n2", "y")];
    let there = busy.iter().chain([&other]);
    let snapshot = Snapshot::new(&nodes, there).with_namespaces([&namespace]);
    let far = |more: Value| {
        let mut term = term("web", "zone");
        merge(&mut term, more);
        result(required("podAntiAffinity", json!([term])), &snapshot)
    };
    assert_eq!(far(json!({})), "n1");
    assert_eq!(far(json!({"namespaces": ["tenant"]})), "n2");
    assert_eq!(far(json!({"namespaceSelector": {"matchLabels": {"team": "x"}}})), "n2");
    assert_eq!(far(json!({"namespaceSelector": {"matchLabels": {"team": "y"}}})), "n1");
    assert_eq!(far(json!({"namespaceSelector": {}})), "n2");
}

#[test]
fn keys_of_labels_narrow_a_term_to_the_same_generation() {
    let nodes = [zoned("n1", "a"), zoned("n2", "b")];
    let old =
        pod("old", json!({"metadata": {"labels": {"hash": "1"}}, "spec": {"nodeName": "n1"}}));
    let snapshot = Snapshot::new(&nodes, [&old]);
    let far = |hash: &str, keys: &str| {
        let mut term = term("web", "zone");
        merge(&mut term, json!({keys: ["hash"]}));
        let mut pod = required("podAntiAffinity", json!([term]));
        merge(&mut pod, json!({"metadata": {"labels": {"hash": hash}}}));
        result(pod, &snapshot)
    };
    assert_eq!(far("1", "matchLabelKeys"), "n2");
    // Meant by none, and then the emptier node is the better.
    assert_eq!(far("2", "mismatchLabelKeys"), "n2");
    let full = Snapshot::new(&nodes[..1], [&old]);
    let mut term = term("web", "zone");
    merge(&mut term, json!({"matchLabelKeys": ["hash"]}));
    let mut pod = required("podAntiAffinity", json!([term]));
    merge(&mut pod, json!({"metadata": {"labels": {"hash": "2"}}}));
    assert_eq!(result(pod, &full), "n1");
}

#[test]
fn preferences_of_both_sides_count() {
    let nodes = [zoned("n1", "a"), zoned("n2", "b"), zoned("n3", "c")];
    let there = [labelled("db", "n2", "db"), labelled("x", "n1", "x")];
    let snapshot = Snapshot::new(&nodes, &there);
    let prefers = |kind: &str, app: &str| {
        let weighted = json!([{"weight": 50, "podAffinityTerm": term(app, "zone")}]);
        json!({"spec": {"affinity": {kind: {PREFERRED: weighted}}}})
    };
    assert_eq!(result(prefers("podAffinity", "db"), &snapshot), "n2");
    assert_eq!(result(prefers("podAntiAffinity", "db"), &snapshot), "n3");
    let mut friend = prefers("podAffinity", "web");
    merge(&mut friend, json!({"metadata": {"labels": {"app": "x"}}, "spec": {"nodeName": "n2"}}));
    let friend = pod("friend", friend);
    assert_eq!(result(json!({}), &Snapshot::new(&nodes, [&friend])), "n2");
}
