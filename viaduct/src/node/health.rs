//! Balancers outside the cluster ask the `healthCheckNodePort` of a service with
//! `externalTrafficPolicy: Local` whether the node has endpoints of it. Answered as kube-proxy does.
//!
//! Whether the services are in the maps is not asked: without its balancer this process ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::{cache::View, services};

/// Connections to all ports together; who comes when there are so many is turned away.
const CONNECTIONS_MAX: usize = 256;
/// For how long one may ask and be answered.
const CONNECTION_TIME: Duration = Duration::from_secs(5);
/// Until a port that something else holds is tried again.
const RETRY: Duration = Duration::from_millis(500);
const WEIGHT: &str = "x-load-balancing-endpoint-weight";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    namespace: String,
    name: String,
    /// That are ready, on this node.
    local_endpoints: usize,
}

/// What an operator is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    problems: Arc<Mutex<BTreeMap<u16, String>>>,
}

impl Health {
    pub(crate) fn problems(&self) -> Vec<String> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.values().cloned().collect()
    }

    /// `None` where all is well.
    fn set(&self, port: u16, problem: Option<String>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(problem) => {
                if problems.get(&port) != Some(&problem) {
                    warn!(port, problem, "health check");
                }
                problems.insert(port, problem);
            }
            None => drop(problems.remove(&port)),
        }
    }

    /// Answers on the ports that the view names, until `stop` or the end of the view.
    pub(crate) async fn follow(
        self,
        node: String,
        mut view: watch::Receiver<Option<Arc<View>>>,
        stop: CancellationToken,
    ) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut servers: BTreeMap<u16, (watch::Sender<Check>, DropGuard)> = BTreeMap::new();
        loop {
            let now = view.borrow_and_update().clone();
            if let Some(view) = now {
                let wanted = checks(&view, &node);
                servers.retain(|port, _| wanted.contains_key(port));
                for (port, check) in wanted {
                    if let Some((sender, _)) = servers.get(&port) {
                        sender.send_if_modified(|present| {
                            let differs = *present != check;
                            *present = check;
                            differs
                        });
                        continue;
                    }
                    let (sender, receiver) = watch::channel(check);
                    let ended = stop.child_token();
                    let server = Server { port, check: receiver, health: self.clone() };
                    tokio::spawn(server.run(room.clone(), ended.clone()));
                    servers.insert(port, (sender, ended.drop_guard()));
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = view.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// By port.
fn checks(view: &View, node: &str) -> BTreeMap<u16, Check> {
    let port = |service: &Service| {
        let spec = service.spec.as_ref()?;
        let wanted = spec.type_.as_deref() == Some("LoadBalancer")
            && spec.external_traffic_policy.as_deref() == Some("Local");
        let number = spec.health_check_node_port.filter(|_| wanted)?;
        u16::try_from(number).ok().filter(|number| *number != 0)
    };
    let mut endpoints: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for slice in view.slices.values() {
        let Some(service) = services::service_of(slice) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|all| all.ready).unwrap_or(true);
            if !ready || endpoint.node_name.as_deref() != Some(node) {
                continue;
            }
            // A pod with two addresses is one.
            let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
            let name = (service.namespace.clone(), service.name.clone());
            if let Some(which) = uid.or_else(|| endpoint.addresses.first().cloned()) {
                endpoints.entry(name).or_default().insert(which);
            }
        }
    }
    let check = |service: &Arc<Service>| {
        let port = port(service)?;
        let name = (service.metadata.namespace.clone()?, service.metadata.name.clone()?);
        let local_endpoints = endpoints.get(&name).map_or(0, BTreeSet::len);
        let (namespace, name) = name;
        Some((port, Check { namespace, name, local_endpoints }))
    };
    view.services.values().filter_map(check).collect()
}

/// One port.
struct Server {
    port: u16,
    check: watch::Receiver<Check>,
    health: Health,
}

impl Server {
    async fn run(self, room: Arc<Semaphore>, ended: CancellationToken) {
        let listen = async {
            loop {
                match bind(self.port).await {
                    Ok(listener) => {
                        self.health.set(self.port, None);
                        self.accept(&listener, &room).await;
                    }
                    Err(error) => {
                        let Check { namespace, name, .. } = self.check.borrow().clone();
                        let problem = format!(
                            "healthCheckNodePort {} of service {namespace}/{name}: {error}",
                            self.port
                        );
                        self.health.set(self.port, Some(problem));
                    }
                }
                sleep(RETRY).await;
            }
        };
        tokio::select! {
            () = ended.cancelled() => {}
            () = listen => {}
        }
        self.health.set(self.port, None);
    }

    /// Until the listener fails.
    async fn accept(&self, listener: &TcpListener, room: &Arc<Semaphore>) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(port = self.port, %error, "accept");
                    return;
                }
            };
            let Ok(place) = room.clone().try_acquire_owned() else { continue };
            let check = self.check.borrow().clone();
            tokio::spawn(async move {
                if timeout(CONNECTION_TIME, answer(stream, check)).await.is_err() {
                    debug!("a health check took too long to ask");
                }
                drop(place);
            });
        }
    }
}

/// For both families where the machine has them.
async fn bind(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        result => result,
    }
}

async fn answer(stream: TcpStream, check: Check) {
    let service = service_fn(move |_: http::Request<Incoming>| {
        let response = response(&check);
        async move { response }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIME)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "a health check was not answered");
    }
}

fn response(check: &Check) -> http::Result<Response<Full<Bytes>>> {
    let status = match check.local_endpoints {
        0 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let body = json!({
        "service": {"namespace": check.namespace, "name": check.name},
        "localEndpoints": check.local_endpoints,
        "serviceProxyHealthy": true,
    });
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(WEIGHT, check.local_endpoints)
        .body(Full::new(Bytes::from(body.to_string())))
}

#[cfg(test)]
mod tests;
