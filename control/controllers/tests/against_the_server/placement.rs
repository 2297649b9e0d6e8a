//! Where pods go, and whom they displace.

use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Event, Pod},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, replica_set, running_on},
    kubectl::Kubectl,
};

fn event(events: &[Event], reason: &str) -> Option<String> {
    let found = events.iter().find(|event| event.reason.as_deref() == Some(reason))?;
    found.message.clone()
}

fn nominated(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.nominated_node_name.as_deref()
}

fn message(pods: &[Pod]) -> Option<&str> {
    let unplaced = |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none());
    let pod = pods.iter().find(unplaced)?;
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "PodScheduled")?.message.as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_avoid_each_other_are_one_to_a_node_and_the_rest_waits() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster);
    for name in ["n1", "n2"] {
        cluster.add_node(name).await;
    }
    let mut set = replica_set("web", 3);
    set["spec"]["template"]["spec"]["affinity"] = json!({"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "web"}},
        }],
    }});
    for name in ["n1", "n2"] {
        let label = format!("kubernetes.io/hostname={name}");
        kubectl.run(&["label", "node", name, &label]);
    }
    cluster.create::<ReplicaSet>(set).await;
    let expected = "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. \
                    preemption: 0/2 nodes are available: 2 No preemption victims found for \
                    incoming pod.";
    cluster
        .until::<Pod>("one on each and one that says why it waits", |pods| {
            running_on(pods).into_values().collect::<Vec<_>>() == [1, 1]
                && message(pods) == Some(expected)
        })
        .await;
    let described = kubectl.run(&["describe", "pods", "-l", "app=web"]);
    assert!(described.contains("FailedScheduling"), "{described}");
    assert!(described.contains("didn't match pod anti-affinity rules"), "{described}");
    cluster.add_node("n3").await;
    kubectl.run(&["label", "node", "n3", "kubernetes.io/hostname=n3"]);
    cluster
        .until::<Pod>("the third on the third", |pods| {
            running_on(pods).into_values().collect::<Vec<_>>() == [1, 1, 1]
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_important_displaces_as_few_as_it_must() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster);
    cluster.add_node_with_cpus("n1", 2).await;
    let asks = |mut set: Value, class: &str| {
        let spec = &mut set["spec"]["template"]["spec"];
        spec["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        spec["priorityClassName"] = class.into();
        set
    };
    for (name, value) in [("low", "10"), ("high", "100")] {
        let value = format!("--value={value}");
        kubectl.run(&["create", "priorityclass", name, &value]);
    }
    cluster.create::<ReplicaSet>(asks(replica_set("small", 2), "low")).await;
    cluster.until::<Pod>("a full node", |pods| running_on(pods).get("n1") == Some(&2)).await;
    cluster.create::<ReplicaSet>(asks(replica_set("grand", 1), "high")).await;
    let of = |pods: &[Pod], app: &str| -> Vec<Pod> {
        let label = |pod: &Pod| pod.metadata.labels.as_ref()?.get("app").cloned();
        pods.iter().filter(|pod| label(pod).as_deref() == Some(app)).cloned().collect()
    };
    let pods = cluster
        .until::<Pod>("the one in the place of another", |pods| {
            running_on(&of(pods, "grand")).get("n1") == Some(&1)
                && running_on(&of(pods, "small")).get("n1") == Some(&1)
                && of(pods, "small").len() == 2
                && message(pods).is_some()
        })
        .await;
    assert_eq!(
        message(&pods),
        Some(
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 \
             No preemption victims found for incoming pod."
        )
    );
    let grand = &of(&pods, "grand")[0];
    assert_eq!(nominated(grand), None);
    let uid = grand.metadata.uid.clone().unwrap();
    let events =
        cluster.until::<Event>("the Event", |events| event(events, "Preempted").is_some()).await;
    let preempted = events.iter().filter(|e| e.reason.as_deref() == Some("Preempted"));
    assert_eq!(preempted.count(), 1);
    assert_eq!(event(&events, "Preempted"), Some(format!("Preempted by pod {uid} on node n1")));
}
