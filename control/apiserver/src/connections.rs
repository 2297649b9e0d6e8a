//! Connections: accepted within limits, told apart by who is at the other end, and served.
//!
//! Whoever has not shown who he is may hold few connections, for a short time, and only so many
//! from one address: a pod cannot keep the nodes from the server.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
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
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::{
    api::Api,
    auth::{Identity, Peer, certificate, peer},
    handlers,
};

/// Connections of those we know, all listeners together.
const MAX_KNOWN: usize = 4000;
/// Connections that are in their handshake or came without a certificate.
const MAX_STRANGERS: usize = 512;
/// Of these, from one address.
const MAX_STRANGERS_PER_ADDRESS: usize = 32;
/// After this a stranger must come again.
const STRANGER_LIFETIME: Duration = Duration::from_secs(60);
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;
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
    known: Arc<Semaphore>,
    strangers: Arc<Strangers>,
    plain_sockets: Arc<Path>,
    tasks: TaskTracker,
}

impl Connections {
    pub(crate) fn new(api: Arc<Api>, plain_sockets: Arc<Path>) -> Self {
        let known = Arc::new(Semaphore::new(MAX_KNOWN));
        Self { api, known, strangers: Arc::default(), plain_sockets, tasks: TaskTracker::new() }
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
        let peer = match local.and_then(|local| peer::uid(address, local, &self.plain_sockets)) {
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
            Peer::Known(_) => self.known_permit(),
            Peer::Anonymous | Peer::Refused => self.stranger_permit(address),
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
        let Some(stranger) = self.stranger_permit(address) else { return };
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(peer = %address, %error, "handshake"),
            Err(error) => return debug!(peer = %address, %error, "handshake"),
        };
        let session = stream.get_ref().1;
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        match certificate.and_then(certificate::identity) {
            None => self.serve(stream, Peer::Anonymous, stranger, is_http2).await,
            Some(identity) => {
                let Some(permit) = self.known_permit() else { return };
                drop(stranger);
                self.serve(stream, Peer::Known(identity), permit, is_http2).await;
            }
        }
    }

    fn known_permit(&self) -> Option<Permit> {
        let permit = self.known.clone().try_acquire_owned().ok();
        self.counted(permit.map(|permit| Permit::Known { _permit: permit }))
    }

    fn stranger_permit(&self, address: SocketAddr) -> Option<Permit> {
        self.counted(Strangers::admit(&self.strangers, address.ip().to_canonical()))
    }

    fn counted(&self, permit: Option<Permit>) -> Option<Permit> {
        if permit.is_none() {
            self.api.metrics.connections_refused.fetch_add(1, Ordering::Relaxed);
        }
        permit
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        _permit: Permit,
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
    Known { _permit: OwnedSemaphorePermit },
    Stranger { strangers: Arc<Strangers>, address: IpAddr },
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Self::Stranger { strangers, address } = self {
            strangers.release(*address);
        }
    }
}

/// How many connections of strangers there are from each address.
#[derive(Debug, Default)]
struct Strangers(Mutex<BTreeMap<IpAddr, usize>>);

impl Strangers {
    fn admit(this: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let mut counts = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = counts.get(&address).copied().unwrap_or(0);
        if counts.values().sum::<usize>() >= MAX_STRANGERS
            || of_address >= MAX_STRANGERS_PER_ADDRESS
        {
            return None;
        }
        counts.insert(address, of_address + 1);
        Some(Permit::Stranger { strangers: this.clone(), address })
    }

    fn release(&self, address: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let strangers = Arc::new(Strangers::default());
        let greedy: IpAddr = "10.244.0.1".parse().unwrap();
        let mut held: Vec<Permit> =
            std::iter::from_fn(|| Strangers::admit(&strangers, greedy)).collect();
        assert_eq!(held.len(), MAX_STRANGERS_PER_ADDRESS);
        let other = Strangers::admit(&strangers, "fd00::1".parse().unwrap());
        assert!(other.is_some());
        held.pop();
        held.push(Strangers::admit(&strangers, greedy).unwrap());
        drop((held, other));
        assert!(strangers.0.lock().unwrap().is_empty());

        let all: Vec<Permit> = (0..u32::MAX)
            .map_while(|n| Strangers::admit(&strangers, IpAddr::from(n.to_be_bytes())))
            .collect();
        assert_eq!(all.len(), MAX_STRANGERS);
    }
}
