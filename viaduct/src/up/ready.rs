//! Waiting until each part of a new cluster answers.
//!
//! What can be watched is watched; what only answers questions is asked again soon.

use std::{future::Future, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Node;
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
    watch(Api::<Node>::all(client.clone()), "nodes", progress, |nodes| {
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

/// Follows all objects of a kind until `done` says so of them.
pub(crate) async fn watch<K>(
    api: Api<K>,
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
    let stream = watcher(api, watcher::Config::default()).default_backoff().reflect(writer);
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
