//! What the API server and people ask a node for: logs, statistics, what runs here.

mod clients;
pub(crate) mod logs;
mod relay;
mod routes;
mod stream;

use std::{sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::clients::Caller;
use crate::{kubelet::PodTable, pod::context::NodeContext, stats::Sampler};

/// Connections served at once; the next one waits to be accepted.
const CONNECTIONS_MAX: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error of accept, which is mostly a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) node: Arc<NodeContext>,
    pub(crate) pods: PodTable,
    pub(crate) sampler: Arc<Sampler>,
}

pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    server: Server,
    stop: CancellationToken,
) {
    let nodes = routes::for_nodes(&server);
    let router = routes::router(server);
    let strangers = routes::for_strangers();
    let acceptor = tls.map(TlsAcceptor::from);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    info!(address = ?listener.local_addr().ok(), tls = acceptor.is_some(), "listening");
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
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
        let (router, nodes, strangers) = (router.clone(), nodes.clone(), strangers.clone());
        let (acceptor, stop) = (acceptor.clone(), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match acceptor {
                None => converse(stream, router, stop).await,
                Some(acceptor) => {
                    let handshake = acceptor.accept(stream);
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                        Ok(Ok(stream)) => {
                            let shown = stream.get_ref().1.peer_certificates();
                            let allowed = match Caller::of(shown.and_then(|chain| chain.first())) {
                                Caller::Trusted => router,
                                Caller::Node => nodes,
                                Caller::Stranger => strangers,
                            };
                            converse(stream, allowed, stop).await;
                        }
                        Ok(Err(error)) => debug!(%peer, %error, "TLS"),
                        Err(_elapsed) => debug!(%peer, "TLS handshake took too long"),
                    }
                }
            }
        });
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: axum::Router,
    stop: CancellationToken,
) {
    let builder = Builder::new(TokioExecutor::new());
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        () = stop.cancelled() => {}
        done = connection => if let Err(error) = done {
            debug!(%error, "connection");
        },
    }
}

#[cfg(test)]
mod tests;
