//! Taints that drive pods away, and losses that do not.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Node, Pod},
};
use serde_json::json;

use crate::{
    cluster::{Cluster, replica_set, running_on},
    kubectl::Kubectl,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_taint_of_the_operator_moves_those_that_do_not_tolerate_it() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster);
    for name in ["n1", "n2"] {
        cluster.add_node(name).await;
    }
    let mut patient = replica_set("patient", 2);
    patient["spec"]["template"]["spec"]["tolerations"] = json!([
        {"key": "repair", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 4},
    ]);
    cluster.create::<ReplicaSet>(replica_set("web", 4)).await;
    cluster.create::<ReplicaSet>(patient).await;
    cluster
        .until::<Pod>("pods on both nodes", |pods| {
            running_on(pods).into_values().collect::<Vec<_>>() == [3, 3]
        })
        .await;
    let text = kubectl.run(&["taint", "nodes", "n1", "repair=now:NoExecute"]);
    assert_eq!(text, "node/n1 tainted\n");
    let tainted = Instant::now();
    let of = |pods: &[Pod], app: &str| -> Vec<Pod> {
        let label = |pod: &Pod| pod.metadata.labels.as_ref()?.get("app").cloned();
        pods.iter().filter(|pod| label(pod).as_deref() == Some(app)).cloned().collect()
    };
    cluster
        .until::<Pod>("web on n2 alone", |pods| {
            running_on(&of(pods, "web")) == BTreeMap::from([("n2".to_owned(), 4)])
        })
        .await;
    // The patient one tolerates it for a while, and comes back to the node as long as it may.
    let on_n1 = cluster.until::<Pod>("all", |_| true).await;
    assert_eq!(running_on(&of(&on_n1, "patient")).get("n1"), Some(&1), "{:?}", tainted.elapsed());
    let names = |pods: &[Pod]| -> Vec<String> {
        of(pods, "patient").iter().filter_map(|pod| pod.metadata.name.clone()).collect()
    };
    let before = names(&on_n1);
    cluster.until::<Pod>("another in its place", |pods| names(pods) != before).await;
    assert!(tainted.elapsed() >= Duration::from_secs(3));

    kubectl.run(&["taint", "nodes", "n1", "repair-"]);
    cluster
        .until_cluster::<Node>("no taint is left", |nodes| {
            nodes.iter().all(|node| node.spec.as_ref().is_none_or(|spec| spec.taints.is_none()))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_nodes_are_lost_at_once_nobody_is_driven_away() {
    let cluster = Cluster::start().await;
    for name in ["n1", "n2"] {
        cluster.add_node(name).await;
    }
    cluster.create::<ReplicaSet>(replica_set("web", 4)).await;
    let there = cluster
        .until::<Pod>("pods on both nodes", |pods| {
            running_on(pods).into_values().collect::<Vec<_>>() == [2, 2]
        })
        .await;
    let uids = |pods: &[Pod]| -> Vec<Option<String>> {
        let staying = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let mut uids: Vec<_> = staying.map(|pod| pod.metadata.uid.clone()).collect();
        uids.sort();
        uids
    };
    tokio::join!(cluster.silence("n1"), cluster.silence("n2"));
    cluster
        .until_cluster::<Node>("both unreachable, and nobody to be evicted", |nodes| {
            nodes.iter().all(|node| {
                let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
                let effects: Vec<&str> = taints.map(|taint| taint.effect.as_str()).collect();
                effects == ["NoSchedule"]
            })
        })
        .await;
    // They are not ready, so they serve nobody.
    cluster.until::<Pod>("none is ready", |pods| running_on(pods).is_empty()).await;
    // The eviction delay, several times over: there is nothing to wait for but time.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(uids(&cluster.until::<Pod>("all", |_| true).await), uids(&there));

    cluster.rejoin("n1");
    cluster.rejoin("n2");
    cluster
        .until_cluster::<Node>("no taint is left", |nodes| {
            nodes.iter().all(|node| node.spec.as_ref().is_none_or(|spec| spec.taints.is_none()))
        })
        .await;
    let back = cluster
        .until::<Pod>("all are ready again", |pods| {
            running_on(pods).into_values().collect::<Vec<_>>() == [2, 2]
        })
        .await;
    assert_eq!(uids(&back), uids(&there));
}
