//! A connection to a node's daemon, kept from one question to the next: through the kubelet's
//! relay, or, of a speaker of this machine, to its own socket.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::http::body::BoxError;

/// Of an error's text.
const MAX_REASON_BYTES: usize = 300;
/// All services of a large cluster are some megabytes, and so are all routes.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Where a daemon is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Kubelet(SocketAddr),
    Socket(PathBuf),
}

type Sender = http1::SendRequest<Empty<Bytes>>;

pub(super) struct Link {
    place: Place,
    tls: Option<Arc<rustls::ClientConfig>>,
    sender: Option<Sender>,
}

impl Link {
    pub(super) fn new(place: Place, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self { place, tls, sender: None }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The answer to `GET /PATH` of the admin socket.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, BoxError> {
        let kept = self.sender.is_some();
        let (status, body) = match self.ask(path).await {
            // A connection that was kept may have been closed meanwhile.
            Err(_closed) if kept => self.ask(path).await?,
            answer => answer?,
        };
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body[..body.len().min(MAX_REASON_BYTES)]);
            return Err(text.trim().to_owned().into());
        }
        Ok(serde_json::from_slice(&body)?)
    }

    async fn ask(&mut self, path: &str) -> Result<(StatusCode, Bytes), BoxError> {
        // Taken out, so that one whose answer was not read to its end is not used again.
        let mut sender = match self.sender.take() {
            Some(sender) if sender.is_ready() => sender,
            _ => self.connect().await?,
        };
        let (host, path) = match &self.place {
            Place::Kubelet(address) => (address.to_string(), format!("/network/{path}")),
            Place::Socket(_) => ("viaduct".to_owned(), format!("/{path}")),
        };
        let request = Request::get(path).header(header::HOST, host).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?;
        // Ready again once the answer was read: the next question must not wait for that.
        sender.ready().await?;
        self.sender = Some(sender);
        Ok((status, body.to_bytes()))
    }

    async fn connect(&self) -> Result<Sender, BoxError> {
        match &self.place {
            Place::Socket(path) => converse(connect_unix(path).await?).await,
            Place::Kubelet(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let Some(tls) = &self.tls else { return converse(stream).await };
                let connector = tokio_rustls::TlsConnector::from(tls.clone());
                let name = ServerName::IpAddress(address.ip().into());
                converse(connector.connect(name, stream).await?).await
            }
        }
    }
}

async fn connect_unix(path: &Path) -> Result<UnixStream, BoxError> {
    let connected = UnixStream::connect(path).await;
    connected.map_err(|error| format!("its daemon does not run: {error}").into())
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Sender, BoxError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender.
    tokio::spawn(connection);
    Ok(sender)
}
