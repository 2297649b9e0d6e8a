//! One question over one connection.

use std::{io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Response, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error("no answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
    #[error("answer {status}: {text}")]
    Refused { status: http::StatusCode, text: String },
    #[error("the answer is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// A list of all nodes is the largest answer that is read here.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Asks, and returns when the answer begins. The connection ends with its body, or after `limit`;
/// `held` is kept until then.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    target: &str,
    limit: Duration,
    held: impl Send + 'static,
) -> Result<Response<Incoming>, ExchangeError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        let _held = held;
        // Whoever reads the body sees how it ends.
        drop(tokio::time::timeout(limit, connection).await);
    });
    let request = Request::get(target)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?)
}

/// A whole answer, as JSON.
pub(super) async fn read<T: DeserializeOwned>(
    answer: Response<Incoming>,
) -> Result<T, ExchangeError> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let bytes = body.map_err(ExchangeError::Body)?.to_bytes();
    if !status.is_success() {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        return Err(ExchangeError::Refused { status, text });
    }
    Ok(serde_json::from_slice(&bytes)?)
}
