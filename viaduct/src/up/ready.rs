//! Waiting until each part of a new cluster answers.
//!
//! What can be watched is watched; what only answers questions is asked again soon.

use std::{
    future::Future,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt, reflector,
        watcher::{self, watcher},
    },
};
use viaduct_api::admin::{NodeStatus, PeerStatus};

use super::{plan::ClusterPlan, progress::Progress, speakers};
use crate::{operator::admin, paths::ClusterPaths};

const TIMEOUT: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) async fn server(client: &Client, progress: &Progress) -> Result<()> {
    ask("the API server", progress, async || {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        // The connection waits in the listener's queue while the server starts.
        client.request_text(request).await.map(drop).context("GET /readyz")
    })
    .await
}

/// Every node is registered, ready, and has blocks to give its pods addresses from.
pub(crate) async fn nodes(
    client: &Client,
    plan: &ClusterPlan,
    paths: &ClusterPaths,
    progress: &Progress,
) -> Result<()> {
    let wanted = plan.nodes.len();
    watch(Api::<Node>::all(client.clone()), "", "nodes", progress, |nodes| {
        let ready = nodes.iter().filter(|node| is_node_ready(node)).count();
        (ready >= wanted, format!("{ready}/{wanted} ready"))
    })
    .await?;
    for node in &plan.nodes {
        let socket = admin::socket_in(&paths.node_run(&node.name));
        ask(&format!("the blocks of {}", node.name), progress, async || {
            let status: NodeStatus = admin::get(&socket, "/v1/status").await?;
            if status.blocks.len() < plan.pod_cidrs.len() {
                bail!("{} has {} blocks so far", node.name, status.blocks.len());
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn is_node_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// Every session of every speaker of the cluster is established.
pub(crate) async fn sessions(
    plan: &ClusterPlan,
    paths: &ClusterPaths,
    progress: &Progress,
) -> Result<()> {
    for (host, wanted) in speakers::sessions(plan) {
        let socket = admin::socket_in(&paths.node_run(&host.name));
        ask(&format!("the BGP sessions of {}", host.name), progress, async || {
            established(&socket, wanted).await
        })
        .await?;
    }
    Ok(())
}

async fn established(socket: &Path, wanted: usize) -> Result<()> {
    let peers: Vec<PeerStatus> = admin::get(socket, "/v1/bgp/peers").await?;
    let count = peers.iter().filter(|peer| peer.state == "Established").count();
    if count < wanted {
        bail!("{count} of {wanted} sessions are established");
    }
    Ok(())
}

/// Every pod of the example is ready. Pods of others may never be, and are not waited for.
pub(crate) async fn pods(client: &Client, progress: &Progress) -> Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), "default");
    watch(api, "app=echo", "pods", progress, |pods| {
        let ready = pods.iter().filter(|pod| is_pod_ready(pod, progress.begun_at)).count();
        let why = pods.iter().find_map(|pod| why_not(pod)).unwrap_or_default();
        (ready > 0 && ready == pods.len(), format!("{ready}/{} ready{why}", pods.len()))
    })
    .await
}

/// Ready, and running since this `up` began: the store remembers what was ready before `down`.
fn is_pod_ready(pod: &Pod, begun: SystemTime) -> bool {
    let Some(status) = &pod.status else { return false };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let is_ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    // The API tells whole seconds.
    let begun = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut containers = status.container_statuses.iter().flatten();
    is_ready
        && containers.all(|container| {
            let running = container.state.as_ref().and_then(|state| state.running.as_ref());
            let started = running.and_then(|running| running.started_at.as_ref());
            started.is_some_and(|at| at.0.as_second() >= begun.cast_signed())
        })
}

/// What a pod that waits says of it: why it is not placed, or why a container does not start.
fn why_not(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        // Without a message it waits its turn.
        Some((waiting.reason.as_deref()?, waiting.message.as_deref()?))
    });
    let unplaced = || {
        let all = status.conditions.iter().flatten();
        let mut failed = all.filter(|one| one.type_ == "PodScheduled" && one.status == "False");
        failed.find_map(|one| Some((one.reason.as_deref()?, one.message.as_deref()?)))
    };
    let (reason, message) = waiting.or_else(unplaced)?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Some(format!("; {name}: {reason}: {}", message.lines().next().unwrap_or_default()))
}

/// Follows all objects of a kind with these labels until `done` says so of them.
async fn watch<K>(
    api: Api<K>,
    labels: &str,
    what: &str,
    progress: &Progress,
    done: impl Fn(&[std::sync::Arc<K>]) -> (bool, String),
) -> Result<()>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + serde::de::DeserializeOwned
        + 'static,
{
    let (store, writer) = reflector::store();
    // Events rather than objects: that the first list is complete is an event, too.
    let config = watcher::Config::default().labels(labels);
    let stream = watcher(api, config).default_backoff().reflect(writer);
    pin_mut!(stream);
    let mut last = String::new();
    let follow = async {
        while let Some(event) = stream.next().await {
            if let Err(error) = event {
                last = format!("{error}");
                continue;
            }
            let (finished, note) = done(&store.state());
            progress.note(&note);
            last = note;
            if finished {
                return Ok(());
            }
        }
        bail!("the watch of {what} ended")
    };
    match tokio::time::timeout(TIMEOUT, follow).await {
        Ok(result) => result,
        Err(_elapsed) => bail!("{what} not ready after {} s: {last}", TIMEOUT.as_secs()),
    }
}

/// Asks until the answer is good.
pub(crate) async fn ask<F>(
    what: &str,
    progress: &Progress,
    mut question: impl FnMut() -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    progress.note(what);
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        let answer = tokio::time::timeout_at(deadline, question()).await;
        match answer {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if tokio::time::Instant::now() >= deadline => {
                return Err(error.context(format!("{what}: not there in {TIMEOUT:?}")));
            }
            Ok(Err(_not_yet)) => tokio::time::sleep(ASK_AGAIN).await,
            Err(_elapsed) => bail!("{what}: no answer in {} s", TIMEOUT.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_was_ready_before_is_not_ready_now() {
        let pod = |started: &str, ready: &str| -> Pod {
            serde_json::from_value(json!({"status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{
                    "name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": started}},
                }],
            }}))
            .unwrap()
        };
        // A fraction of a second before this `up` is the second in which it began.
        let begun = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_900);
        assert!(is_pod_ready(&pod("1970-01-12T13:46:40Z", "True"), begun));
        assert!(!is_pod_ready(&pod("1970-01-12T13:46:39Z", "True"), begun));
        assert!(!is_pod_ready(&pod("1970-01-12T13:46:40Z", "False"), begun));
        assert!(!is_pod_ready(&Pod::default(), begun));
    }

    #[test]
    fn a_pod_that_waits_says_why() {
        let pod = |status| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap()
        };
        let container = |message: Option<&str>| {
            let waiting = json!({"reason": "CreateContainerError", "message": message});
            pod(json!({"containerStatuses": [{
                "name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": waiting},
            }]}))
        };
        let why = why_not(&container(Some("no runc\nat all")));
        assert_eq!(why.as_deref(), Some("; a: CreateContainerError: no runc"));
        assert_eq!(why_not(&container(None)), None);
        let unplaced = pod(json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full",
        }]}));
        assert_eq!(why_not(&unplaced).as_deref(), Some("; a: Unschedulable: full"));
    }
}
