//! The paths of the kubelet's API.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use viaduct_api::admin::WITHDRAWN_PATH;

use super::{
    Server,
    logs::LogOptions,
    relay,
    stream::{self, LogSource},
};
use crate::{
    core::Observed,
    pod::log_path,
    stats::{self, ContainerUsage},
};

pub(super) fn router(server: Server) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(pods))
        .route("/stats/summary", get(summary))
        .route("/metrics", get(metrics))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
        .route("/network/{*path}", get(relay::relay))
        .with_state(server)
}

/// What other nodes may ask: nothing about pods, but whether addresses have left the services.
pub(super) fn for_nodes(server: &Server) -> Router {
    Router::new()
        .route(&format!("/network/{WITHDRAWN_PATH}"), get(relay::withdrawn))
        .with_state(server.clone())
        .merge(for_strangers())
}

/// What is told to those who have not shown that they may ask.
pub(super) fn for_strangers() -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { (StatusCode::UNAUTHORIZED, "a client certificate is needed") })
}

/// As in the API server's `pods/log`; what is not understood is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogQuery {
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    tail_lines: Option<String>,
    limit_bytes: Option<String>,
    since_seconds: Option<String>,
    since_time: Option<String>,
}

impl LogQuery {
    fn options(&self, now: Timestamp) -> Result<LogOptions, String> {
        let since_seconds = number(self.since_seconds.as_deref(), "sinceSeconds")?;
        let since_time = match self.since_time.as_deref() {
            Some(text) => {
                Some(text.parse::<Timestamp>().map_err(|e| format!("sinceTime {text}: {e}"))?)
            }
            None => None,
        };
        let since_seconds = since_seconds.map(|secs| {
            let pause = std::time::Duration::from_secs(secs);
            now.checked_sub(pause).unwrap_or(Timestamp::MIN)
        });
        Ok(LogOptions {
            timestamps: flag(self.timestamps.as_deref(), "timestamps")?,
            tail_lines: number(self.tail_lines.as_deref(), "tailLines")?,
            limit_bytes: number(self.limit_bytes.as_deref(), "limitBytes")?,
            since: since_seconds.or(since_time),
        })
    }
}

/// A parameter without a value is set.
fn flag(text: Option<&str>, name: &str) -> Result<bool, String> {
    match text {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(other) => Err(format!("{name}={other}: neither true nor false")),
    }
}

fn number(text: Option<&str>, name: &str) -> Result<Option<u64>, String> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|e| format!("{name}={text}: {e}")),
    }
}

async fn logs(
    State(server): State<Server>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(query): Query<LogQuery>,
) -> Response {
    match open_log(&server, &namespace, &name, &container, &query) {
        Ok((source, options, follow)) => {
            let stream = stream::stream(source, options, follow);
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (kind, Body::from_stream(stream)).into_response()
        }
        Err((status, message)) => (status, message).into_response(),
    }
}

type Refusal = (StatusCode, String);

fn open_log(
    server: &Server,
    namespace: &str,
    name: &str,
    container: &str,
    query: &LogQuery,
) -> Result<(LogSource, LogOptions, bool), Refusal> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let options = query.options(Timestamp::now()).map_err(bad)?;
    let follow = flag(query.follow.as_deref(), "follow").map_err(bad)?;
    let previous = flag(query.previous.as_deref(), "previous").map_err(bad)?;
    let uid = find(server, namespace, name).ok_or_else(|| {
        (StatusCode::NOT_FOUND, format!("pod {namespace}/{name} is not on this node"))
    })?;
    let dir = server.node.runtime.pod_dir(&uid);
    let record = dir.join("state.json");
    let observed = observed(&record).unwrap_or_default();
    let waiting = || bad(format!("container {container:?} in pod {name:?} is waiting to start"));
    let known = observed.container(container).ok_or_else(waiting)?;
    let restarts = match previous {
        false => known.restarts,
        true => known.restarts.checked_sub(1).ok_or_else(|| {
            bad(format!("previous terminated container {container:?} in pod {name:?} not found"))
        })?,
    };
    // While it waits to be started again, the log is that of the time before.
    let path = [restarts, restarts.saturating_sub(1)]
        .into_iter()
        .map(|number| log_path(&dir, container, number))
        .find(|path| path.is_file())
        .ok_or_else(waiting)?;
    let source = LogSource { path, record, container: container.to_owned(), restarts };
    Ok((source, options, follow && !previous))
}

pub(super) fn observed(record: &std::path::Path) -> Option<Observed> {
    crate::disk::read_json(record).ok().flatten()
}

fn find(server: &Server, namespace: &str, name: &str) -> Option<String> {
    let pods = server.pods.all();
    // Of two with one name the one that is not being deleted is meant.
    let mut named: Vec<&Arc<Pod>> = pods
        .iter()
        .filter(|p| {
            p.metadata.name.as_deref() == Some(name)
                && p.metadata.namespace.as_deref() == Some(namespace)
        })
        .collect();
    named.sort_by_key(|p| p.metadata.deletion_timestamp.is_some());
    named.first().and_then(|p| p.metadata.uid.clone())
}

async fn pods(State(server): State<Server>) -> Json<Value> {
    let pods = server.pods.all();
    let items: Vec<&Pod> = pods.iter().map(AsRef::as_ref).collect();
    Json(json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

async fn summary(State(server): State<Server>) -> Json<Value> {
    let name = &server.node.config.node_name;
    Json(stats::summary(name, server.sampler.last(), &usages(&server)))
}

async fn metrics(State(server): State<Server>) -> Response {
    let pods = server.pods.all().len();
    let text = stats::metrics(pods, server.sampler.last(), &usages(&server));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn usages(server: &Server) -> Vec<ContainerUsage> {
    let mut usages = Vec::new();
    for pod in server.pods.all() {
        let metadata = &pod.metadata;
        let uid = metadata.uid.clone().unwrap_or_default();
        let group = PathBuf::from(server.node.pod_cgroup(&uid));
        for container in pod.spec.iter().flat_map(|s| &s.containers) {
            let group = group.join(&container.name).display().to_string();
            // A container that does not run has no group.
            let Some(usage) = server.node.hierarchies.usage(&group) else { continue };
            usages.push(ContainerUsage {
                namespace: metadata.namespace.clone().unwrap_or_default(),
                pod: metadata.name.clone().unwrap_or_default(),
                uid: uid.clone(),
                container: container.name.clone(),
                usage,
            });
        }
    }
    usages
}
