//! The controllers against the real API server, over the real store, with nodes that do as they
//! are told.

mod cluster;
mod deployments;
mod disruption;
mod kubectl;
mod placement;
mod services;
mod taints;

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{ConfigMap, Event, Namespace, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use serde_json::json;

use crate::cluster::{Cluster, block_nodes, ready_endpoints, replica_set, running_on};

#[tokio::test]
async fn pods_are_made_placed_served_and_collected() {
    let cluster = Cluster::start().await;
    for name in ["n1", "n2", "n3"] {
        cluster.add_node(name).await;
    }
    let blocks = cluster.until_blocks("blocks of both families", |blocks| blocks.len() == 6).await;
    assert_eq!(
        block_nodes(&blocks),
        BTreeMap::from(
            [("n1", 2), ("n2", 2), ("n3", 2)].map(|(node, count)| (node.to_owned(), count))
        )
    );

    let services = cluster.api::<Service>();
    cluster
        .create::<Service>(json!({
            "metadata": {"name": "web"},
            "spec": {
                "type": "LoadBalancer",
                "selector": {"app": "web"},
                "ipFamilyPolicy": "RequireDualStack",
                "ports": [{"port": 80, "targetPort": 8080}],
            },
        }))
        .await;
    cluster.create::<ReplicaSet>(replica_set("web", 6)).await;
    let pods = cluster
        .until::<Pod>("six running pods", |pods| running_on(pods).values().sum::<usize>() == 6)
        .await;
    assert_eq!(running_on(&pods).into_values().collect::<Vec<_>>(), [2, 2, 2]);
    let slices = cluster
        .until::<EndpointSlice>("six ready endpoints of each family", |slices| {
            ready_endpoints(slices, "web") == [6, 6]
        })
        .await;
    assert_eq!(
        slices.iter().filter(|s| s.metadata.name.as_ref().unwrap().starts_with("web-")).count(),
        2
    );
    let service = cluster
        .until::<Service>("virtual IPs", |services| {
            services.iter().any(|service| cluster::vips(service).len() == 2)
        })
        .await;
    let web = service.iter().find(|s| s.metadata.name.as_deref() == Some("web")).unwrap();
    assert_eq!(cluster::vips(web), ["198.51.100.1", "2001:db8:f::1"]);
    cluster
        .until::<ReplicaSet>("the status", |sets| {
            sets[0].status.as_ref().is_some_and(|s| {
                (s.replicas, s.ready_replicas, s.observed_generation) == (6, Some(6), Some(1))
            })
        })
        .await;
    cluster
        .until::<Event>("Events", |events| {
            let reasons: Vec<_> = events.iter().filter_map(|e| e.reason.as_deref()).collect();
            ["SuccessfulCreate", "Scheduled", "IPAllocated"].iter().all(|r| reasons.contains(r))
        })
        .await;

    let scale = json!({"spec": {"replicas": 2}});
    let sets = cluster.api::<ReplicaSet>();
    sets.patch("web", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
    cluster.until::<Pod>("two pods", |pods| pods.len() == 2).await;
    cluster
        .until::<EndpointSlice>("two endpoints", |slices| ready_endpoints(slices, "web") == [2, 2])
        .await;

    sets.delete("web", &DeleteParams::default()).await.unwrap();
    cluster.until::<Pod>("no pods", |pods| pods.is_empty()).await;
    services.delete("web", &DeleteParams::default()).await.unwrap();
    cluster
        .until::<EndpointSlice>("no slices", |slices| {
            ready_endpoints(slices, "web") == [0, 0]
                && !slices.iter().any(|s| s.metadata.name.as_ref().unwrap().starts_with("web-"))
        })
        .await;
}

#[tokio::test]
async fn a_silent_node_loses_its_pods_and_a_deleted_one_its_blocks() {
    let cluster = Cluster::start().await;
    for name in ["n1", "n2", "n3"] {
        cluster.add_node(name).await;
    }
    cluster.create::<ReplicaSet>(replica_set("web", 6)).await;
    cluster
        .until::<Pod>("pods on three nodes", |pods| {
            running_on(pods).into_values().collect::<Vec<_>>() == [2, 2, 2]
        })
        .await;
    cluster.silence("n1").await;
    cluster
        .until_cluster::<Node>("n1 unreachable", |nodes| {
            let n1 = nodes.iter().find(|n| n.metadata.name.as_deref() == Some("n1")).unwrap();
            let taints = n1.spec.as_ref().and_then(|spec| spec.taints.as_ref());
            taints.is_some_and(|all| all.len() == 2)
        })
        .await;
    cluster
        .until::<Pod>("all pods on the other two", |pods| {
            pods.len() == 6 && running_on(pods).into_values().collect::<Vec<_>>() == [3, 3]
        })
        .await;

    // It comes back, and may have pods again.
    cluster.rejoin("n1");
    cluster
        .until_cluster::<Node>("n1 without taints", |nodes| {
            let n1 = nodes.iter().find(|n| n.metadata.name.as_deref() == Some("n1")).unwrap();
            n1.spec.as_ref().and_then(|spec| spec.taints.as_ref()).is_none()
        })
        .await;
    cluster.silence("n1").await;
    cluster.cluster_api::<Node>().delete("n1", &DeleteParams::default()).await.unwrap();
    cluster.silence("n2").await;
    cluster.cluster_api::<Node>().delete("n2", &DeleteParams::default()).await.unwrap();
    cluster
        .until::<Pod>("all pods on the last", |pods| {
            running_on(pods) == BTreeMap::from([("n3".to_owned(), 6)])
        })
        .await;
    let blocks = cluster
        .until_blocks("the blocks of n2 are free", |blocks| !block_nodes(blocks).contains_key("n2"))
        .await;
    assert!(block_nodes(&blocks).contains_key("n3"));
}

#[tokio::test]
async fn what_fits_no_node_says_why_until_one_comes() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster
        .create::<Pod>(json!({
            "metadata": {"name": "big"},
            "spec": {"containers": [{"name": "c", "image": "echo",
                "resources": {"requests": {"cpu": "6"}}}]},
        }))
        .await;
    let expected = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are \
                    available: 1 No preemption victims found for incoming pod.";
    cluster
        .until::<Event>("an Event", |events| {
            events.iter().any(|event| {
                event.reason.as_deref() == Some("FailedScheduling")
                    && event.message.as_deref() == Some(expected)
            })
        })
        .await;
    cluster
        .until::<Pod>("a condition", |pods| {
            let status = pods[0].status.as_ref().unwrap();
            status.conditions.iter().flatten().any(|condition| {
                condition.reason.as_deref() == Some("Unschedulable")
                    && condition.message.as_deref() == Some(expected)
            })
        })
        .await;
    cluster.add_node_with_cpus("n2", 8).await;
    cluster.until::<Pod>("the pod on n2", |pods| running_on(pods).contains_key("n2")).await;
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    let namespaces = cluster.cluster_api::<Namespace>();
    let namespace = serde_json::from_value(json!({"metadata": {"name": "doomed"}})).unwrap();
    namespaces.create(&Default::default(), &namespace).await.unwrap();
    let inside = cluster.in_namespace("doomed");
    inside.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"a": "b"}})).await;
    inside.create::<ReplicaSet>(replica_set("web", 3)).await;
    inside.until::<Pod>("pods", |pods| running_on(pods).len() == 1 && pods.len() == 3).await;
    namespaces.delete("doomed", &DeleteParams::default()).await.unwrap();
    cluster
        .until_cluster::<Namespace>("the namespace is gone", |all| {
            all.iter().all(|namespace| namespace.metadata.name.as_deref() != Some("doomed"))
        })
        .await;
    assert!(inside.api::<Pod>().list(&Default::default()).await.unwrap().items.is_empty());
    assert!(inside.api::<ConfigMap>().list(&Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn deletion_in_the_foreground_and_with_orphans() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    let sets = cluster.api::<ReplicaSet>();
    let propagation =
        |policy| DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    cluster.create::<ReplicaSet>(replica_set("web", 3)).await;
    cluster.until::<Pod>("pods", |pods| pods.len() == 3).await;
    sets.delete("web", &propagation(PropagationPolicy::Orphan)).await.unwrap();
    cluster.until::<ReplicaSet>("the set is gone", |sets| sets.is_empty()).await;
    cluster
        .until::<Pod>("pods without an owner", |pods| {
            pods.len() == 3 && pods.iter().all(|pod| pod.metadata.owner_references.is_none())
        })
        .await;
    // The next set of that selector takes them for its own and makes none.
    cluster.create::<ReplicaSet>(replica_set("web", 3)).await;
    cluster
        .until::<Pod>("adopted", |pods| {
            assert_eq!(pods.len(), 3);
            pods.iter().all(|pod| pod.metadata.owner_references.is_some())
        })
        .await;
    sets.delete("web", &propagation(PropagationPolicy::Foreground)).await.unwrap();
    cluster.until::<ReplicaSet>("the set is gone", |sets| sets.is_empty()).await;
    // It went last.
    assert!(cluster.api::<Pod>().list(&Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_set_of_many_is_made_exactly() {
    let cluster = Cluster::start().await;
    for name in ["n1", "n2"] {
        cluster.add_node(name).await;
    }
    cluster.create::<ReplicaSet>(replica_set("web", 120)).await;
    let seen = cluster
        .until::<Pod>("120 running pods", |pods| {
            assert!(pods.len() <= 120, "{} pods at once", pods.len());
            running_on(pods).values().sum::<usize>() == 120
        })
        .await;
    assert_eq!(seen.len(), 120);
    // More pods than one block of 63 takes.
    cluster.until_blocks("a second block", |blocks| blocks.len() > 4).await;
    cluster
        .until::<ReplicaSet>("the status", |sets| {
            sets[0].status.as_ref().is_some_and(|status| status.ready_replicas == Some(120))
        })
        .await;
    assert_eq!(cluster.api::<Pod>().list(&Default::default()).await.unwrap().items.len(), 120);
}
