//! Listeners and connections.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use control_store::Store;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};
use viaduct_net::Prefix;

use crate::{
    allocate::Allocator,
    api::Api,
    auth::{Identity, Peer, certificate, peer},
    bootstrap, expire, handlers,
    metrics::Metrics,
    registry::Registry,
};

/// Connections of all listeners together; the next is closed at once.
const MAX_CONNECTIONS: usize = 4000;
/// Requests under way, watches and logs left out; the next gets 429.
const MAX_REQUESTS: usize = 400;
/// Watches and logs that are followed; the next gets 429.
const MAX_STREAMS: usize = 8000;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS_PER_CONNECTION: u32 = 250;
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 64 << 10;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// A peer that takes nothing off our hands for so long has gone.
const USER_TIMEOUT: Duration = Duration::from_secs(60);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// What is still under way then is cut off.
const GRACE: Duration = Duration::from_secs(5);
/// After an accept that failed, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    /// With which to ask kubelets for logs; plain HTTP where `None`.
    pub kubelet_tls: Option<Arc<rustls::ClientConfig>>,
    /// Where pods and nodes reach the secure port: the endpoints of the Service `kubernetes`. None
    /// is made where this is empty.
    pub advertised: Vec<SocketAddr>,
}

impl ServerConfig {
    /// Kubernetes' own range.
    pub const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;
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
        requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        stopping: shutdown.clone(),
        kubelet_tls: config.kubelet_tls,
        advertised: config.advertised,
    });
    bootstrap::make_objects(&api).await.map_err(|error| ServeError::Bootstrap(error.message))?;
    let connections = Connections {
        api: api.clone(),
        permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        plain_sockets: config.plain_sockets.into(),
        tasks: TaskTracker::new(),
    };
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
    listening.spawn(expire::run(api));
    listening.close();
    shutdown.cancelled().await;
    listening.wait().await;
    connections.tasks.close();
    if tokio::time::timeout(GRACE, connections.tasks.wait()).await.is_err() {
        warn!(open = connections.tasks.len(), "connections cut off");
    }
    Ok(())
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

#[derive(Clone)]
struct Connections {
    api: Arc<Api>,
    permits: Arc<Semaphore>,
    plain_sockets: Arc<Path>,
    tasks: TaskTracker,
}

impl Connections {
    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let stopping = self.api.stopping.clone();
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = self.permits.clone().try_acquire_owned() else {
                self.api
                    .metrics
                    .connections_refused
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                continue;
            };
            if let Err(error) = prepare(&stream) {
                debug!(%peer, %error, "socket options");
            }
            let (connections, tls) = (self.clone(), tls.clone());
            self.tasks.spawn(async move {
                match tls {
                    None => connections.plain(stream, peer, permit).await,
                    Some(tls) => connections.secure(stream, peer, tls, permit).await,
                }
            });
        }
    }

    async fn plain(
        self,
        stream: tokio::net::TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) {
        let local = stream.local_addr();
        let who = match local.and_then(|local| peer::uid(address, local, &self.plain_sockets)) {
            Ok(Some(0)) => Peer::Known(Identity::admin()),
            Ok(uid) => {
                debug!(peer = %address, ?uid, "not root");
                Peer::Refused
            }
            Err(error) => {
                warn!(peer = %address, %error, "peer unknown");
                Peer::Refused
            }
        };
        self.serve(stream, who, permit).await;
    }

    async fn secure(
        self,
        stream: tokio::net::TcpStream,
        address: SocketAddr,
        tls: TlsAcceptor,
        permit: OwnedSemaphorePermit,
    ) {
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                debug!(peer = %address, %error, "handshake");
                return;
            }
            Err(_) => {
                debug!(peer = %address, "handshake took too long");
                return;
            }
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let who = match certificates.and_then(|chain| chain.first()) {
            None => Peer::Anonymous,
            Some(certificate) => match certificate::identity(certificate) {
                Some(identity) => Peer::Known(identity),
                None => Peer::Anonymous,
            },
        };
        self.serve(stream, who, permit).await;
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        _permit: OwnedSemaphorePermit,
    ) {
        let api = self.api.clone();
        let service = service_fn(move |request| {
            let (api, peer) = (api.clone(), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(handlers::handle(api, peer, request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
            .max_header_list_size(MAX_HEADER_BYTES as u32)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        let metrics = &self.api.metrics;
        metrics.connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.api.stopping.cancelled() => {
                // No new requests; those under way end, and watches do at once.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        metrics.connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        if let Err(error) = result {
            debug!(error, "connection");
        }
    }
}

fn prepare(stream: &tokio::net::TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE))
}
