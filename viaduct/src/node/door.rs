//! The admin socket while one process goes on in another's place: whoever connects waits for the new one,
//! and whoever has connected is answered by the old one, which has that from the new one.

use std::{future::pending, io, path::PathBuf, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
    serve::Listener,
};
use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::operator::admin;

/// For how long whoever has just connected may take to ask.
const ASKING: Duration = Duration::from_secs(1);

/// Whether the socket has been left to another process.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub socket: PathBuf,
    pub token: CancellationToken,
}

/// Lets nobody in any more once the socket is left to another.
pub(super) struct Door {
    listener: UnixListener,
    closed: CancellationToken,
}

impl Left {
    pub(super) fn door(&self, listener: UnixListener) -> Door {
        Door { listener, closed: self.token.clone() }
    }

    /// When nobody has anything to ask any more.
    pub(super) async fn end(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.token.cancelled() => sleep(ASKING).await,
        }
    }
}

impl Listener for Door {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => pending().await,
            accepted = Listener::accept(&mut self.listener) => accepted,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Without its speaker this process knows nothing any more: what it would say is asked of the one that
/// has it.
pub(super) async fn forward(
    State((left, speaker)): State<(Left, bgpd::Handle)>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let response = next.run(request).await;
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        // A part has ended; of the speaker it is a moment later that it says why.
        let _other_part = timeout(ASKING, speaker.ended()).await.is_err();
    }
    if !speaker.was_handed_over() {
        return response;
    }
    // Until then we would let ourselves in.
    left.token.cancelled().await;
    match admin::response(&left.socket, &path).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}
