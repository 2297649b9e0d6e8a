//! Budgets and drains, with the real kubectl.

use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use serde_json::json;

use crate::{
    cluster::{Cluster, replica_set, running_on},
    kubectl::Kubectl,
};

async fn until_allowed(cluster: &Cluster, allowed: i32) {
    cluster
        .until::<PodDisruptionBudget>("the budget", |budgets| {
            let status = budgets.first().and_then(|budget| budget.status.as_ref());
            status.is_some_and(|status| status.disruptions_allowed == Some(allowed))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_takes_no_more_than_the_budget_gives() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster);
    for name in ["n1", "n2", "n3"] {
        cluster.add_node(name).await;
    }
    cluster.create::<ReplicaSet>(replica_set("web", 6)).await;
    cluster
        .until::<Pod>("pods on three nodes", |pods| {
            running_on(pods).into_values().collect::<Vec<_>>() == [2, 2, 2]
        })
        .await;
    kubectl.run(&["create", "pdb", "web", "--selector=app=web", "--min-available=100%"]);
    cluster
        .until::<PodDisruptionBudget>("the budget is reckoned", |budgets| {
            let status = budgets.first().and_then(|budget| budget.status.clone());
            status.is_some_and(|s| (s.expected_pods, s.current_healthy) == (Some(6), Some(6)))
        })
        .await;
    let shown = kubectl.run(&["get", "pdb", "web", "--no-headers"]);
    let cells: Vec<&str> = shown.split_whitespace().take(4).collect();
    assert_eq!(cells, ["web", "100%", "N/A", "0"]);

    let text = kubectl.fails(&["drain", "n1", "--ignore-daemonsets", "--timeout=2s"]);
    assert!(
        text.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{text}"
    );
    let nodes = kubectl.run(&["get", "nodes", "n1", "--no-headers"]);
    assert!(nodes.contains("Ready,SchedulingDisabled"), "{nodes}");
    assert_eq!(running_on(&cluster.until::<Pod>("all", |_| true).await)["n1"], 2);
    cluster
        .until_cluster::<Node>("the cordon is a taint", |nodes| {
            let n1 = nodes.iter().find(|n| n.metadata.name.as_deref() == Some("n1")).unwrap();
            let taints = n1.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            taints.into_iter().any(|t| t.key == "node.kubernetes.io/unschedulable")
        })
        .await;

    let change = r#"{"spec": {"minAvailable": 5}}"#;
    kubectl.run(&["patch", "pdb", "web", "--type=merge", "-p", change]);
    until_allowed(&cluster, 1).await;
    // Whatever is seen on the way, five are ready.
    let watching = tokio::spawn({
        let cluster = cluster.in_namespace("default");
        async move {
            let mut fewest = usize::MAX;
            cluster
                .until::<Pod>("n1 is empty and all are ready", |pods| {
                    let running = running_on(pods);
                    let ready = running.values().sum::<usize>();
                    fewest = fewest.min(ready);
                    ready == 6 && !running.contains_key("n1")
                })
                .await;
            fewest
        }
    });
    kubectl.run(&["drain", "n1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=50s"]);
    assert!(watching.await.unwrap() >= 5);
    until_allowed(&cluster, 1).await;

    kubectl.run(&["uncordon", "n1"]);
    cluster
        .until_cluster::<Node>("no taint is left", |nodes| {
            let n1 = nodes.iter().find(|n| n.metadata.name.as_deref() == Some("n1")).unwrap();
            n1.spec.as_ref().is_none_or(|spec| spec.taints.is_none())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_nobody_would_replace_is_drained_by_force_only() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster);
    cluster.add_node("n1").await;
    cluster
        .create::<Pod>(json!({
            "metadata": {"name": "alone"},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "echo"}],
            },
        }))
        .await;
    cluster.until::<Pod>("it runs", |pods| running_on(pods).contains_key("n1")).await;
    let text = kubectl.fails(&["drain", "n1"]);
    assert!(text.contains("use --delete-emptydir-data to override"), "{text}");
    let drain = ["drain", "n1", "--delete-emptydir-data"];
    let text = kubectl.fails(&drain);
    assert!(text.contains("use --force to override"), "{text}");
    let text = kubectl.run(&["drain", "n1", "--force", "--delete-emptydir-data"]);
    assert!(text.contains("pod/alone evicted") && text.contains("node/n1 drained"), "{text}");
    cluster.until::<Pod>("it is gone", |pods| pods.is_empty()).await;
    // The same without asking budgets: deletions.
    kubectl.run(&["uncordon", "n1"]);
    cluster.create::<ReplicaSet>(replica_set("web", 1)).await;
    cluster.until::<Pod>("it runs", |pods| running_on(pods).contains_key("n1")).await;
    let drain = ["drain", "n1", "--disable-eviction", "--timeout=30s"];
    let text = kubectl.run(&drain);
    assert!(text.contains("node/n1 drained"), "{text}");
}
