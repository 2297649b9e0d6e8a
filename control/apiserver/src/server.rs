//! What the server is made of, from its configuration to its end.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

use control_store::Store;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;
use viaduct_net::Prefix;

use crate::{
    allocate::Allocator,
    api::Api,
    bootstrap,
    connections::Connections,
    expire,
    metrics::Metrics,
    registry::Registry,
    share::Share,
    ui::{self, Speaker, Ui},
};

/// Requests under way, watches and logs left out; the next gets 429.
const MAX_REQUESTS: usize = 400;
/// Of these, by one user.
const MAX_REQUESTS_PER_USER: usize = 100;
/// Watches, logs and long lists that are followed; the next gets 429.
const MAX_STREAMS: usize = 8000;
const MAX_STREAMS_PER_USER: usize = 2000;
/// Of all bodies together that are not small. Parsed, one takes some times as much.
const MAX_BODIES_BYTES: usize = 64 << 20;
const MAX_BODIES_BYTES_PER_USER: usize = 16 << 20;
/// What is still under way then is cut off.
const GRACE: Duration = Duration::from_secs(5);

/// What the API server is to serve, and where.
pub struct ServerConfig {
    pub store: Arc<dyn Store>,
    /// Loopback and without TLS, for root on this machine.
    pub plain: Option<std::net::TcpListener>,
    /// Where the kernel shows the sockets of the plain listener's network namespace, by which the
    /// users of its peers are told: `/proc/PID/net` of a process that is in it.
    pub plain_sockets: PathBuf,
    /// With TLS. The configuration must verify client certificates but let clients without one in
    /// (`allow_unauthenticated`): these see health and version only.
    pub secure: Option<(std::net::TcpListener, Arc<rustls::ServerConfig>)>,
    /// One range of service addresses for each family; the first is the family of a service that
    /// asks for none.
    pub service_cidrs: Vec<Prefix>,
    pub node_port_range: RangeInclusive<u16>,
    /// BGP speakers that are no nodes, for the page.
    pub speakers: Vec<Speaker>,
    /// With which to ask kubelets for logs and their nodes' networks; plain HTTP where `None`.
    pub kubelet_tls: Option<Arc<rustls::ClientConfig>>,
    /// For how long pods that do not say so themselves stay on a node that is not ready: the seconds
    /// of the tolerations that they are given.
    pub eviction_secs: u32,
    /// Where pods and nodes reach the secure port: the endpoints of the Service `kubernetes`. None
    /// is made where this is empty.
    pub advertised: Vec<SocketAddr>,
}

impl ServerConfig {
    /// Kubernetes' own range.
    pub const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;
    /// Kubernetes' own time.
    pub const EVICTION_SECS: u32 = 300;
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot use the listener")]
    Listener(#[source] std::io::Error),
    #[error("the plain listener is at {0}, which is not loopback")]
    NotLoopback(SocketAddr),
    #[error("cannot prepare the objects that every cluster has: {0}")]
    Bootstrap(String),
}

/// Serves until `shutdown` is cancelled and what is under way has ended, at most some seconds
/// later.
pub async fn serve(config: ServerConfig, shutdown: CancellationToken) -> Result<(), ServeError> {
    let registry = Registry::new(config.store);
    let mut allocator = Allocator::new(&config.service_cidrs, config.node_port_range);
    bootstrap::adopt_services(&registry, &mut allocator)
        .await
        .map_err(|error| ServeError::Bootstrap(error.message))?;
    let api = Arc::new(Api {
        registry,
        allocator: Mutex::new(allocator),
        metrics: Metrics::default(),
        requests: Share::new(MAX_REQUESTS, MAX_REQUESTS_PER_USER),
        streams: Share::new(MAX_STREAMS, MAX_STREAMS_PER_USER),
        bodies: Share::new(MAX_BODIES_BYTES, MAX_BODIES_BYTES_PER_USER),
        work: Semaphore::new(work_places()),
        deletions: Semaphore::new(1),
        ui: Ui::new(config.speakers),
        stopping: shutdown.clone(),
        kubelet_tls: config.kubelet_tls,
        eviction_secs: config.eviction_secs,
        advertised: config.advertised,
    });
    bootstrap::make_objects(&api).await.map_err(|error| ServeError::Bootstrap(error.message))?;
    let connections = Connections::new(api.clone(), config.plain_sockets.into());
    let listening = TaskTracker::new();
    if let Some(listener) = config.plain {
        let address = listener.local_addr().map_err(ServeError::Listener)?;
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let listener = into_tokio(listener)?;
        info!(%address, "plain");
        listening.spawn(connections.clone().accept(listener, None));
    }
    if let Some((listener, tls)) = config.secure {
        let listener = into_tokio(listener)?;
        info!(address = ?listener.local_addr().ok(), "secure");
        let acceptor = TlsAcceptor::from(with_alpn(tls));
        listening.spawn(connections.clone().accept(listener, Some(acceptor)));
    }
    listening.spawn(ui::run(api.clone()));
    listening.spawn(expire::run(api));
    listening.close();
    shutdown.cancelled().await;
    listening.wait().await;
    connections.end(GRACE).await;
    Ok(())
}

/// One processor is left to what is quick.
fn work_places() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().saturating_sub(1).max(1))
}

fn into_tokio(listener: std::net::TcpListener) -> Result<TcpListener, ServeError> {
    listener.set_nonblocking(true).map_err(ServeError::Listener)?;
    TcpListener::from_std(listener).map_err(ServeError::Listener)
}

fn with_alpn(tls: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    if !tls.alpn_protocols.is_empty() {
        return tls;
    }
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(tls)
}
