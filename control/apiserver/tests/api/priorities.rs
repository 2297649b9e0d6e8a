//! Priority classes, and what pods get of them.

use serde_json::{Value, json};

use crate::{
    common::{PODS, Server, pod},
    kubectl::Kubectl,
};

const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

fn of_class(name: &str, class: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["priorityClassName"] = class.into();
    pod
}

#[tokio::test]
async fn a_pod_gets_the_priority_of_its_class() {
    let server = Server::start().await;
    let made = server.post(PODS, &pod("plain")).await.expect(201);
    let spec = &made["spec"];
    assert_eq!(
        (&spec["priority"], &spec["preemptionPolicy"], &spec["priorityClassName"]),
        (&json!(0), &json!("PreemptLowerPriority"), &Value::Null)
    );
    let high = json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"});
    server.post(CLASSES, &high).await.expect(201);
    let made = server.post(PODS, &of_class("high", "high")).await.expect(201);
    assert_eq!(made["spec"]["priority"], 1000);
    assert_eq!(made["spec"]["preemptionPolicy"], "Never");
    let made = server.post(PODS, &of_class("vital", "system-node-critical")).await.expect(201);
    assert_eq!(made["spec"]["priority"], 2_000_001_000);

    let missing = server.post(PODS, &of_class("lost", "nothing")).await;
    assert_eq!(
        missing.message(),
        "pods \"lost\" is forbidden: no PriorityClass with name nothing was found"
    );
    missing.expect(403);
    let mut own = of_class("own", "high");
    own["spec"]["priority"] = 5.into();
    let refused = server.post(PODS, &own).await;
    assert_eq!(
        refused.message(),
        "pods \"own\" is forbidden: the integer value of priority (5) must not be provided in pod \
         spec; priority admission controller computed 1000 from the given PriorityClass name"
    );
    refused.expect(403);

    // A whole pod that is sent back without what was added stays what it is.
    let mut again = server.get(&format!("{PODS}/high")).await.expect(200);
    again["spec"]["priority"] = Value::Null;
    again["spec"]["preemptionPolicy"] = Value::Null;
    again["spec"]["tolerations"] = Value::Null;
    let kept = server.put(&format!("{PODS}/high"), &again).await.expect(200);
    assert_eq!(kept["spec"]["priority"], 1000);
    assert_eq!(kept["spec"]["tolerations"].as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn one_class_is_the_default_and_the_systems_stay() {
    let server = Server::start().await;
    let default =
        |name: &str| json!({"metadata": {"name": name}, "value": 7, "globalDefault": true});
    server.post(CLASSES, &default("usual")).await.expect(201);
    let second = server.post(CLASSES, &default("second")).await;
    assert_eq!(
        second.message(),
        "priorityclasses.scheduling.k8s.io \"second\" is forbidden: PriorityClass usual is already \
         marked as default. Only one default can exist"
    );
    second.expect(403);
    let made = server.post(PODS, &pod("plain")).await.expect(201);
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["priorityClassName"]),
        (&json!(7), &json!("usual"))
    );
    let system = format!("{CLASSES}/system-node-critical");
    let refused = server.delete(&system, &json!({})).await;
    assert_eq!(
        refused.message(),
        "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system \
         priority class and cannot be deleted"
    );
    refused.expect(403);
    server.stop().await;
}

#[tokio::test]
async fn pods_tolerate_failing_nodes_for_the_servers_time() {
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let server = Server::start_in(folder, |config| config.eviction_secs = 25).await;
    let made = server.post(PODS, &pod("a")).await.expect(201);
    let toleration = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 25});
    assert_eq!(
        made["spec"]["tolerations"],
        json!([
            toleration("node.kubernetes.io/not-ready"),
            toleration("node.kubernetes.io/unreachable"),
        ])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_makes_and_shows_classes() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    let made =
        kubectl.run(&["create", "priorityclass", "high", "--value=1000", "--description=x"], "");
    assert_eq!(made, "priorityclass.scheduling.k8s.io/high created\n");
    kubectl.run(&["create", "priorityclass", "none", "--value=0"], "");
    let shown = kubectl.run(&["get", "pc"], "");
    let rows: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"]);
    let names: Vec<(&str, &str)> = rows[1..].iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(
        names,
        [
            ("high", "1000"),
            ("none", "0"),
            ("system-cluster-critical", "2000000000"),
            ("system-node-critical", "2000001000"),
        ]
    );
    let refused = kubectl.fails(&["create", "priorityclass", "system-x", "--value=1"], "");
    assert!(refused.contains("system-x is not a known system priority class"), "{refused}");
    server.stop().await;
}
