//! Probes as they are made: one task for each, for as long as its container runs.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, Pod, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{net::TcpStream, sync::mpsc, task::AbortHandle, time::Instant};

use super::context::NodeContext;
use crate::core::{
    ContainerState, Observed, Sandbox, is_sidecar,
    probe::{Counter, ProbeKind, Verdict, positive},
};

/// Results that wait for the worker; a probe that finds no room waits itself.
const RESULTS_MAX: usize = 64;
/// A container that has never been ready is asked more often than its period says, so that a
/// start is seen soon: after this, doubled each time up to the period.
const EARLY_PAUSE: Duration = Duration::from_millis(100);
const MESSAGE_BYTES_MAX: usize = 1024;
const BODY_BYTES_MAX: usize = 10 * 1024;

#[derive(Clone, Debug)]
pub(super) struct ProbeResult {
    pub(super) container: String,
    pub(super) id: String,
    pub(super) kind: ProbeKind,
    pub(super) success: bool,
    /// Made ahead of the probe's own period.
    pub(super) early: bool,
    pub(super) message: String,
}

type Key = (String, ProbeKind);

struct Running {
    id: String,
    counter: Counter,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) struct Probes {
    node: Arc<NodeContext>,
    sender: mpsc::Sender<ProbeResult>,
    receiver: mpsc::Receiver<ProbeResult>,
    running: BTreeMap<Key, Running>,
}

impl ProbeKind {
    pub(super) fn probe(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// A container of the pod by its name.
pub(super) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|c| c.name == name)
}

impl Probes {
    pub(super) fn new(node: Arc<NodeContext>) -> Self {
        let (sender, receiver) = mpsc::channel(RESULTS_MAX);
        Self { node, sender, receiver, running: BTreeMap::new() }
    }

    pub(super) async fn next(&mut self) -> ProbeResult {
        match self.receiver.recv().await {
            Some(result) => result,
            // Not while we hold a sender.
            None => std::future::pending().await,
        }
    }

    pub(super) fn stop(&mut self) {
        self.running.clear();
    }

    pub(super) fn count(&mut self, result: &ProbeResult, probe: &Probe) -> Verdict {
        let key = (result.container.clone(), result.kind);
        match self.running.get_mut(&key) {
            Some(running) if running.id == result.id => running.counter.note(result.success, probe),
            _ => Verdict::Undecided,
        }
    }

    /// Begins and ends probes as containers come and go.
    pub(super) fn follow(&mut self, pod: &Pod, observed: &Observed) {
        let mut wanted: BTreeMap<Key, (String, &Container)> = BTreeMap::new();
        let spec = pod.spec.as_ref();
        let init = spec.into_iter().flat_map(|s| s.init_containers.iter().flatten());
        let lasting = init.filter(|c| is_sidecar(c)).chain(spec.iter().flat_map(|s| &s.containers));
        for container in lasting {
            let Some(record) = observed.container(&container.name) else { continue };
            let ContainerState::Running { id, .. } = &record.state else { continue };
            if record.health.post_start_pending {
                continue;
            }
            for kind in ProbeKind::ALL {
                let due = match kind {
                    ProbeKind::Startup => !record.health.started,
                    ProbeKind::Readiness => record.health.started,
                    // A container that is being stopped may do so in peace.
                    ProbeKind::Liveness => record.health.started && record.killing.is_none(),
                };
                if due && kind.probe(container).is_some() {
                    wanted.insert((container.name.clone(), kind), (id.clone(), container));
                }
            }
        }
        self.running
            .retain(|key, running| wanted.get(key).is_some_and(|(id, _)| *id == running.id));
        for (key, (id, container)) in wanted {
            if !self.running.contains_key(&key) {
                let running = self.begin(&key, id, container, pod, observed);
                self.running.insert(key, running);
            }
        }
    }

    fn begin(
        &self,
        (name, kind): &Key,
        id: String,
        container: &Container,
        pod: &Pod,
        observed: &Observed,
    ) -> Running {
        let task = Task {
            node: Arc::clone(&self.node),
            sender: self.sender.clone(),
            name: name.clone(),
            id: id.clone(),
            kind: *kind,
            probe: kind.probe(container).cloned().unwrap_or_default(),
            container: container.clone(),
            address: address(pod, observed, &self.node),
            ready: observed.container(name).is_some_and(|r| r.health.ready),
        };
        let task = tokio::spawn(task.run()).abort_handle();
        Running { id, counter: Counter::default(), task }
    }
}

/// Where the pod is reached from the node.
pub(super) fn address(pod: &Pod, observed: &Observed, node: &NodeContext) -> Option<IpAddr> {
    if pod.spec.as_ref().and_then(|s| s.host_network) == Some(true) {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        return Some(node.config.node_addresses.first().copied().unwrap_or(loopback));
    }
    match &observed.sandbox {
        Sandbox::Ready { addresses } => addresses.first().copied(),
        _ => None,
    }
}

struct Task {
    node: Arc<NodeContext>,
    sender: mpsc::Sender<ProbeResult>,
    name: String,
    id: String,
    kind: ProbeKind,
    probe: Probe,
    container: Container,
    address: Option<IpAddr>,
    /// Whether it was when the probe began, which it then has been before.
    ready: bool,
}

impl Task {
    async fn run(self) {
        let seconds = |field, default| Duration::from_secs(u64::from(positive(field, default)));
        let period = seconds(self.probe.period_seconds, 10);
        let timeout = seconds(self.probe.timeout_seconds, 1);
        let delay = u64::try_from(self.probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(delay)).await;
        let mut early_pause = EARLY_PAUSE;
        let mut early = self.kind == ProbeKind::Readiness && !self.ready;
        loop {
            let began = Instant::now();
            let outcome = match tokio::time::timeout(timeout, self.attempt(timeout)).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => Err(format!("no answer within {} s", timeout.as_secs())),
            };
            let success = outcome.is_ok();
            early &= !success;
            let result = ProbeResult {
                container: self.name.clone(),
                id: self.id.clone(),
                kind: self.kind,
                success,
                early,
                message: bounded(outcome.err().unwrap_or_default()),
            };
            if self.sender.send(result).await.is_err() {
                return;
            }
            let pause = if early { early_pause.min(period) } else { period };
            if early {
                early_pause *= 2;
                early = early_pause < period;
            }
            tokio::time::sleep(pause.saturating_sub(began.elapsed())).await;
        }
    }

    async fn attempt(&self, timeout: Duration) -> Result<(), String> {
        if let Some(action) = &self.probe.exec {
            let command = action.command.as_deref().unwrap_or_default();
            let output = self.node.runtime.exec(&self.id, command, timeout).await;
            let output = output.map_err(|e| e.to_string())?;
            return match output.exit_code {
                0 => Ok(()),
                code => Err(format!("exit code {code}: {}", output.output.trim())),
            };
        }
        if let Some(action) = &self.probe.http_get {
            return self.http(action).await;
        }
        if let Some(action) = &self.probe.tcp_socket {
            let target = self.target(action.host.as_deref(), &action.port)?;
            return match TcpStream::connect(target).await {
                Ok(_stream) => Ok(()),
                Err(error) => Err(format!("{target}: {error}")),
            };
        }
        Err("neither httpGet nor tcpSocket nor exec: this kind of probe is not supported".into())
    }

    fn target(&self, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, String> {
        target(host, port, self.address, &self.container)
    }

    async fn http(&self, action: &HTTPGetAction) -> Result<(), String> {
        let target = self.target(action.host.as_deref(), &action.port)?;
        http_get(action, target).await
    }
}

/// The address and port that an action means.
pub(super) fn target(
    host: Option<&str>,
    port: &IntOrString,
    of_pod: Option<IpAddr>,
    container: &Container,
) -> Result<SocketAddr, String> {
    let address = match host.filter(|h| !h.is_empty()) {
        Some(host) => host.parse().map_err(|e| format!("host {host}: {e}"))?,
        None => of_pod.ok_or("the pod has no address")?,
    };
    let number = match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => name.parse().ok().or_else(|| {
            let ports = container.ports.iter().flatten();
            let mut named = ports.filter(|p| p.name.as_deref() == Some(name));
            named.next().and_then(|p| u16::try_from(p.container_port).ok())
        }),
    };
    let number = number.ok_or_else(|| format!("the container has no port {port:?}"))?;
    Ok(SocketAddr::new(address, number))
}

/// Any status from 200 to 399 is a success; redirections are not followed.
pub(super) async fn http_get(action: &HTTPGetAction, target: SocketAddr) -> Result<(), String> {
    if action.scheme.as_deref().is_some_and(|s| s != "HTTP") {
        return Err("probes by HTTPS are not supported".to_owned());
    }
    let failed = |error: &dyn std::fmt::Display| format!("GET http://{target}: {error}");
    let stream = TcpStream::connect(target).await.map_err(|e| failed(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(&e))?;
    let path = action.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let mut request = http::Request::get(path).header("User-Agent", "viaduct-probe");
    let mut host = target.to_string();
    for header in action.http_headers.iter().flatten() {
        if header.name.eq_ignore_ascii_case("host") {
            host.clone_from(&header.value);
        } else {
            request = request.header(&header.name, &header.value);
        }
    }
    let request = request
        .header(http::header::HOST, host)
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| failed(&e))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(());
        }
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map(|b| b.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        Err(format!("HTTP probe failed with statuscode: {} {}", status.as_u16(), text.trim()))
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        done = &mut exchange => done,
        ended = &mut connection => match ended {
            // The answer may have been the last thing on the connection.
            Ok(()) => exchange.await,
            Err(error) => Err(failed(&error)),
        },
    }
}

fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    message
}
