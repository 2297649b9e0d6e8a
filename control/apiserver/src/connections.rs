//! Connections: accepted within limits, told apart by who is at the other end, and served.
//!
//! Whoever has not shown who he is may hold few connections, for a short time, and only so many
//! from one address (see [`crate::strangers`]); whoever has, so many under one name.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::{
    api::Api,
    auth::{Identity, Peer, certificate, peer},
    handlers,
    share::{Held, Share},
    strangers::{Place, Strangers},
};

/// Connections of those we know, all listeners together.
const MAX_KNOWN: usize = 4000;
/// Of these, under one name.
const MAX_KNOWN_PER_USER: usize = 1000;
/// After this a stranger must come again.
const STRANGER_LIFETIME: Duration = Duration::from_secs(60);
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;
/// What one stream may have waiting for a client that does not take it.
const MAX_STREAM_BUFFER_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: u32 = 64 << 10;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From one request to the head of the next; longer than clients keep idle connections (90 s), so
/// that it is they who close them.
const HEADER_TIMEOUT: Duration = Duration::from_secs(100);
const STRANGER_HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// A peer that takes nothing off our hands for so long has gone.
const USER_TIMEOUT: Duration = Duration::from_secs(60);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// After an accept that failed, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct Connections {
    api: Arc<Api>,
    known: Arc<Share<String>>,
    strangers: Arc<Strangers>,
    plain_sockets: Arc<Path>,
    looking: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Connections {
    pub(crate) fn new(api: Arc<Api>, plain_sockets: Arc<Path>) -> Self {
        let looking = Arc::new(Semaphore::new(1));
        let known = Share::new(MAX_KNOWN, MAX_KNOWN_PER_USER);
        Self {
            api,
            known,
            strangers: Arc::default(),
            plain_sockets,
            looking,
            tasks: TaskTracker::new(),
        }
    }

    /// Waits until all have ended, for so long.
    pub(crate) async fn end(self, grace: Duration) {
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            warn!(open = self.tasks.len(), "connections cut off");
        }
    }

    /// Accepts until the server stops; without `tls` the listener is the plain one.
    pub(crate) async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let stopping = self.api.stopping.clone();
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if let Err(error) = prepare(&stream) {
                debug!(peer = %address, %error, "socket options");
            }
            let (connections, tls) = (self.clone(), tls.clone());
            self.tasks.spawn(async move {
                match tls {
                    None => connections.plain(stream, address).await,
                    Some(tls) => connections.secure(stream, address, tls).await,
                }
            });
        }
    }

    async fn plain(self, stream: TcpStream, address: SocketAddr) {
        let local = stream.local_addr();
        let uid = match local {
            Ok(local) => self.uid(address, local).await,
            Err(error) => Err(error),
        };
        let peer = match uid {
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
        let permit = match peer {
            Peer::Known(ref identity) => self.known_permit(identity),
            Peer::Anonymous | Peer::Refused => Some(Permit::Stranger(self.stranger_place(address))),
        };
        match permit {
            Some(permit) => self.serve(stream, peer, permit, false).await,
            None => {
                // The socket is new and its buffer empty, so that this fits.
                let _sent = stream.try_write(
                    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\
                      Connection: close\r\n\r\n",
                );
            }
        }
    }

    async fn secure(self, stream: TcpStream, address: SocketAddr, tls: TlsAcceptor) {
        let mut stranger = self.stranger_place(address);
        let Some(stream) = handshake(stream, tls, &mut stranger).await else {
            return debug!(peer = %address, "no handshake");
        };
        let session = stream.get_ref().1;
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        match certificate.and_then(certificate::identity) {
            None => {
                let permit = Permit::Stranger(stranger);
                self.serve(stream, Peer::Anonymous, permit, is_http2).await;
            }
            Some(identity) => {
                let Some(permit) = self.known_permit(&identity) else { return };
                drop(stranger);
                self.serve(stream, Peer::Known(identity), permit, is_http2).await;
            }
        }
    }

    /// The kernel makes its table anew for each reader, and it may be long: one at a time, and not
    /// on the threads that answer.
    async fn uid(&self, peer: SocketAddr, local: SocketAddr) -> std::io::Result<Option<u32>> {
        let _turn = self.looking.acquire().await.map_err(std::io::Error::other)?;
        let sockets = self.plain_sockets.clone();
        let look = move || peer::uid(peer, local, &sockets);
        tokio::task::spawn_blocking(look).await.map_err(std::io::Error::other)?
    }

    fn known_permit(&self, identity: &Identity) -> Option<Permit> {
        match self.known.take(&identity.user, 1) {
            Ok(held) => Some(Permit::Known { _held: held }),
            Err(why) => {
                debug!(user = identity.user, %why, "too many connections");
                self.count_refused();
                None
            }
        }
    }

    fn stranger_place(&self, address: SocketAddr) -> Place {
        let (place, displaced) = Strangers::admit(&self.strangers, address.ip().to_canonical());
        if displaced {
            self.count_refused();
        }
        place
    }

    fn count_refused(&self) {
        self.api.metrics.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        permit: Permit,
        is_http2: bool,
    ) {
        let is_known = matches!(peer, Peer::Known(_));
        let api = self.api.clone();
        let service = service_fn(move |request| {
            let (api, peer) = (api.clone(), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(handlers::handle(api, peer, request).await) }
        });
        let builder = builder(is_known, is_http2);
        let metrics = &self.api.metrics;
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = tokio::time::sleep(STRANGER_LIFETIME), if !is_known => Ok(()),
            () = permit.lost() => Ok(()),
            () = self.api.stopping.cancelled() => {
                // No new requests; those under way end, and watches do at once.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        metrics.connections.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = result {
            debug!(error, "connection");
        }
    }
}

/// `None` where there was none in time, or another needed the place more.
async fn handshake(
    stream: TcpStream,
    tls: TlsAcceptor,
    place: &mut Place,
) -> Option<TlsStream<TcpStream>> {
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    let mut first = [0];
    tokio::select! {
        heard = stream.peek(&mut first) => heard.ok().filter(|length| *length > 0)?,
        () = place.lost() => return None,
        () = sleep_until(deadline) => return None,
    };
    place.spoke();
    tokio::select! {
        done = tls.accept(stream) => match done {
            Ok(stream) => Some(stream),
            Err(error) => {
                debug!(%error, "handshake");
                None
            }
        },
        () = place.lost() => None,
        () = sleep_until(deadline) => None,
    }
}

/// The protocol is known beforehand, by ALPN: to guess it from the first bytes would mean to wait
/// for them without a limit.
fn builder(is_known: bool, is_http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(if is_known { HEADER_TIMEOUT } else { STRANGER_HEADER_TIMEOUT })
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(MAX_STREAM_BUFFER_BYTES)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    if is_http2 { builder.http2_only() } else { builder.http1_only() }
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE))
}

/// The right to one connection, given back when dropped.
enum Permit {
    Known { _held: Held<String> },
    Stranger(Place),
}

impl Permit {
    /// Waits until the connection has to make way for another.
    async fn lost(&self) {
        match self {
            Self::Known { .. } => std::future::pending().await,
            Self::Stranger(place) => place.lost().await,
        }
    }
}
