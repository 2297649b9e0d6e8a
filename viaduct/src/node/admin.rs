//! The admin socket of a node's daemon: what operators and the tools of this machine ask.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::{
    Json, Router,
    extract::State as Extract,
    http::StatusCode,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use viaduct_api::admin::{
    BfdStatus, FibRoute, NodeStatus, PeerStatus, ServiceStatus, WITHDRAWN_PATH,
};
use viaduct_net::{Prefix, RouterId};

use super::{
    bgp_answers,
    cache::View,
    dns::Dns,
    door::{self, Left},
    health::Health,
    metrics::{self, Process},
    withdrawal,
};
use crate::{operator::admin::socket_in, router::Running};

/// The parts of a daemon, to be asked.
pub(crate) struct State {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub router_id: RouterId,
    pub asn: u32,
    pub speaker: bgpd::Handle,
    /// A reflector has no routes of the kernel.
    pub vrouter: Option<vrouter::Handle>,
    /// A router alone has neither pods nor services.
    pub pods: Option<vrouter_cni::PodNetwork>,
    pub services: Option<lb::Handle>,
    /// Runs or not, as the daemon was told.
    pub dns: Dns,
    /// What the API says; never for a router.
    pub health: Health,
    pub view: watch::Receiver<Option<Arc<View>>>,
    pub blocks: watch::Receiver<BTreeSet<Prefix>>,
    pub problems: watch::Receiver<Vec<String>>,
    pub process: Process,
    /// What the speaker's file says; a node has none.
    pub running: Option<watch::Receiver<Arc<Running>>>,
}

pub(super) type Shared = Extract<Arc<State>>;

/// A part has ended, which the daemon does not outlive for long.
struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, self.0).into_response()
    }
}

/// Answers until `stop`, or until the socket has been left to another process and whoever was let in
/// before that has been answered.
pub(crate) async fn serve(
    listener: UnixListener,
    state: State,
    stop: CancellationToken,
    left: Left,
) -> Result<()> {
    let door = left.door(listener);
    let end = left.clone().end(stop);
    let forward = from_fn_with_state((left, state.speaker.clone()), door::forward);
    let app = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/bgp/peers", get(peers))
        .route("/v1/bgp/peer", get(bgp_answers::peer))
        .route("/v1/bgp/policy", get(bgp_answers::policy))
        .route("/v1/bgp/policy/test", get(bgp_answers::policy_test))
        .route("/v1/bgp/routes", get(bgp_answers::paths))
        .route("/v1/bgp/configuration", get(configuration))
        .route("/v1/bgp/dump/mrt", get(bgp_answers::mrt))
        .route("/v1/bgp/bfd", get(bfd))
        .route("/v1/bgp/events", get(bgp_answers::events))
        .route("/v1/routes", get(routes))
        .route("/v1/services", get(services))
        .route(&format!("/{WITHDRAWN_PATH}"), get(withdrawal::withdrawn))
        .route("/v1/nodes", get(withdrawal::nodes))
        .route("/metrics", get(prometheus))
        .with_state(Arc::new(state))
        .layer(forward);
    axum::serve(door, app).with_graceful_shutdown(end).await?;
    Ok(())
}

/// Removes the socket where nobody goes on with it.
pub(crate) fn remove(run_dir: &Path) {
    let path = socket_in(run_dir);
    if let Err(error) = fs::remove_file(&path) {
        warn!(path = %path.display(), %error, "admin socket not removed");
    }
}

/// Waits until the daemon before has left its socket, a few seconds at most.
pub(crate) async fn vacated(run_dir: &Path) {
    let path = socket_in(run_dir);
    for _ in 0..100 {
        if UnixStream::connect(&path).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A socket for root alone. One that a dead daemon left is replaced, one that answers is not.
pub(crate) async fn bind(run_dir: &Path) -> Result<UnixListener> {
    let path = &socket_in(run_dir);
    if UnixStream::connect(path).await.is_ok() {
        bail!("another daemon answers on {}", path.display());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("replace {}", path.display()));
        }
        _ => {}
    }
    // Restricted before it has its name: nobody connects in between.
    let staged = path.with_extension("new");
    let _ = fs::remove_file(&staged);
    let listener =
        UnixListener::bind(&staged).with_context(|| format!("listen on {}", path.display()))?;
    fs::set_permissions(&staged, fs::Permissions::from_mode(0o600))?;
    fs::rename(&staged, path)?;
    Ok(listener)
}

async fn status(Extract(state): Shared) -> Result<Json<NodeStatus>, Failure> {
    let peers = state.speaker.peers().await?;
    let routes = routes_of(&state).await;
    let services = match &state.services {
        Some(services) => services.services().await,
        None => Vec::new(),
    };
    let mut backends = BTreeSet::new();
    for frontend in services.iter().flat_map(|service| &service.frontends) {
        backends.extend(frontend.backends.iter().map(|backend| (backend.address, backend.id)));
    }
    let mut problems = state.problems.borrow().clone();
    problems.extend(state.speaker.problems().await?);
    if let Some(vrouter) = &state.vrouter {
        problems.extend(vrouter.problems().await);
    }
    if let Some(services) = &state.services {
        problems.extend(services.problems().await);
    }
    problems.extend(state.dns.problems());
    problems.extend(state.health.problems());
    let mut pods = 0;
    if let Some(network) = &state.pods {
        pods = network.attachments().await.len();
    }
    Ok(Json(NodeStatus {
        node: state.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_secs: state.process.uptime_secs(),
        router_id: state.router_id,
        asn: state.asn,
        addresses: state.addresses.clone(),
        peers: peers.len(),
        peers_established: established(&peers),
        routes_wanted: routes.iter().filter(|route| route.wanted).count(),
        routes_installed: routes.iter().filter(|route| route.wanted && route.installed).count(),
        blocks: state.blocks.borrow().iter().copied().collect(),
        pods,
        services: services.len(),
        backends: backends.len(),
        dns: state.dns.status(),
        problems,
    }))
}

fn established(peers: &[PeerStatus]) -> usize {
    peers.iter().filter(|peer| peer.state == "Established").count()
}

async fn peers(Extract(state): Shared) -> Result<Json<Vec<PeerStatus>>, Failure> {
    Ok(Json(state.speaker.peers().await?))
}

async fn configuration(Extract(state): Shared) -> Response {
    let Some(running) = &state.running else {
        let why =
            "this speaker runs by the API and not by a file: `kubectl diff` compares with that";
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    let running = running.borrow().clone();
    match running.shown() {
        Ok(shown) => Json(shown).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn bfd(Extract(state): Shared) -> Result<Json<BfdStatus>, Failure> {
    Ok(Json(state.speaker.bfd().await?))
}

async fn routes(Extract(state): Shared) -> Result<Json<Vec<FibRoute>>, Failure> {
    let rows = routes_of(&state).await;
    Ok(Json(rows.into_iter().map(fib_route).collect()))
}

async fn routes_of(state: &State) -> Vec<vrouter::RouteRow> {
    match &state.vrouter {
        Some(vrouter) => vrouter.routes().await,
        None => Vec::new(),
    }
}

fn fib_route(row: vrouter::RouteRow) -> FibRoute {
    FibRoute {
        prefix: row.prefix,
        next_hops: row.next_hops,
        interfaces: row.interfaces,
        wanted: row.wanted,
        installed: row.installed,
    }
}

async fn services(Extract(state): Shared) -> Result<Json<Vec<ServiceStatus>>, Failure> {
    let rows = match &state.services {
        Some(services) => services.services().await,
        None => Vec::new(),
    };
    Ok(Json(rows))
}

async fn prometheus(Extract(state): Shared) -> Result<String, Failure> {
    let mut text = metrics::Text::default();
    text.gauge(
        "viaduct_uptime_seconds",
        "Since the start of the daemon.",
        state.process.uptime_secs(),
    );
    text.gauge(
        "process_resident_memory_bytes",
        "Resident memory of the daemon.",
        metrics::resident_bytes(),
    );
    text.append(&state.speaker.metrics().await?);
    if let Some(vrouter) = &state.vrouter {
        vrouter_metrics(&mut text, vrouter.counters());
    }
    if let Some(services) = &state.services {
        balancer_metrics(&mut text, services);
        connection_metrics(&mut text, &services.services().await);
    }
    if let Some(dns) = state.dns.metrics() {
        text.append(&dns);
    }
    if let Some(network) = &state.pods {
        let counters = network.counters();
        text.counter("viaduct_cni_added_total", "Pods put on the network.", counters.added);
        text.counter("viaduct_cni_deleted_total", "Pods taken off the network.", counters.deleted);
        text.counter("viaduct_cni_failed_total", "CNI requests that failed.", counters.failed);
        text.gauge("viaduct_pods", "Pods on this node.", network.attachments().await.len());
    }
    Ok(text.finish())
}

fn vrouter_metrics(text: &mut metrics::Text, counters: vrouter::CounterValues) {
    let all = [
        ("viaduct_fib_operations_total", "Changes the kernel made for us.", counters.applied),
        ("viaduct_fib_failures_total", "Changes the kernel refused.", counters.failed),
        ("viaduct_fib_resyncs_total", "Times the kernel was read anew.", counters.resyncs),
        ("viaduct_fib_mended_total", "Entries put right after others.", counters.mended),
        ("viaduct_fib_overruns_total", "Notifications that were lost.", counters.overruns),
    ];
    for (name, help, value) in all {
        text.counter(name, help, value);
    }
}

/// By service and backend; a service's frontends are taken together.
fn connection_metrics(text: &mut metrics::Text, services: &[ServiceStatus]) {
    let mut open = BTreeMap::<[String; 2], u64>::new();
    for service in services {
        let name = format!("{}/{}", service.namespace, service.name);
        for backend in service.frontends.iter().flat_map(|frontend| &frontend.backends) {
            let labels = [name.clone(), backend.address.to_string()];
            *open.entry(labels).or_default() += backend.connections;
        }
    }
    let help = "Connections that this node leads to a backend and that are open.";
    text.labelled_gauges("viaduct_lb_connections", help, ["service", "backend"], open);
}

fn balancer_metrics(text: &mut metrics::Text, balancer: &lb::Handle) {
    let counters = balancer.counters();
    text.counter("viaduct_lb_map_writes_total", "Writes to service maps.", counters.writes);
    text.counter("viaduct_lb_map_failures_total", "Writes that failed.", counters.failed);
    text.counter("viaduct_lb_mended_total", "Times maps were put right.", counters.mended);
    text.gauge("viaduct_lb_frontends", "Frontends in the maps.", counters.frontends);
    text.gauge("viaduct_lb_backends", "Backends in the maps.", counters.backends);
    text.counter("viaduct_lb_masks_total", "Times a lost node was masked.", counters.masks);
    let masked = [
        ("viaduct_lb_masked_nodes", "Nodes masked, for they are lost.", counters.masked_nodes),
        ("viaduct_lb_masked_backends", "Backends masked with them.", counters.masked_backends),
        (
            "viaduct_lb_masks_ignored",
            "Services with too many backends on lost nodes to mask them.",
            counters.masks_ignored,
        ),
    ];
    for (name, help, value) in masked {
        text.gauge(name, help, value);
    }
    let bounds = lb::UPDATE_BUCKETS.map(|micros| micros as f64 / 1e6);
    text.histogram(
        "viaduct_lb_update_seconds",
        "From a change of services seen to the last map write.",
        &bounds,
        &counters.update_buckets,
        counters.update_sum.as_secs_f64(),
    );
    match balancer.datapath_counters() {
        Ok(all) => {
            let samples = all.iter().map(|(counter, value)| (counter.name(), *value));
            text.labelled("viaduct_datapath_total", "What the programs did.", "event", samples);
        }
        Err(error) => warn!(%error, "counters of the programs"),
    }
}
