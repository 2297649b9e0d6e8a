//! The client of a node's admin socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Target;
use crate::paths;

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// One path or event; the largest set of attributes is 64 KiB, written out some times that.
const LINE_BYTES_MAX: usize = 4 << 20;
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// The admin socket of the daemon whose run folder is `run`.
pub(crate) fn socket_in(run: &Path) -> PathBuf {
    run.join("admin.sock")
}

/// The sockets that `target` names, with the names of their nodes.
pub(crate) fn sockets(target: &Target) -> Result<Vec<(String, PathBuf)>> {
    if let Some(socket) = &target.socket {
        return Ok(vec![(socket.display().to_string(), socket.clone())]);
    }
    // A node of a real host has its run folder to itself.
    let own = socket_in(Path::new(paths::RUN));
    if own.exists() && target.node.is_none() {
        return Ok(vec![("this node".to_owned(), own)]);
    }
    let folder = Path::new(paths::RUN).join(&target.cluster).join("nodes");
    if let Some(node) = &target.node {
        let run = folder.join(node);
        if !run.exists() {
            bail!("no node `{node}` here; there are: {}", names_in(&folder)?.join(", "));
        }
        return Ok(vec![(node.clone(), socket_in(&run))]);
    }
    let names = names_in(&folder)?;
    Ok(names.into_iter().map(|name| (name.clone(), socket_in(&folder.join(name)))).collect())
}

/// The one socket that `target` names.
pub(crate) fn socket(target: &Target) -> Result<PathBuf> {
    let mut sockets = sockets(target)?;
    match (sockets.pop(), &sockets[..]) {
        (Some((_, socket)), []) => Ok(socket),
        (last, others) => {
            let names = others.iter().chain(&last).map(|(name, _)| name.as_str());
            bail!("--node names one of: {}", names.collect::<Vec<_>>().join(", "))
        }
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let run = Path::new(paths::RUN);
            let own = socket_in(run);
            let (own, folder) = (own.display(), folder.display());
            let others = match paths::clusters_in(run)?.join(", ") {
                none if none.is_empty() => "and no cluster is up".to_owned(),
                names => format!("--cluster names one of: {names}"),
            };
            bail!("no node runs here, neither {own} nor {folder} is there; {others}")
        }
        entries => entries.with_context(|| format!("read {}", folder.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    // `node-10` behind `node-9`, and the nodes beside each other.
    names.sort_by_cached_key(|name| match name.rsplit_once('-') {
        Some((kind, digits)) => (kind.to_owned(), digits.parse::<u32>().ok(), name.clone()),
        None => (name.clone(), None, name.clone()),
    });
    Ok(names)
}

pub(crate) async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    let body = within(Some(TIMEOUT), bytes(socket, path)).await??;
    serde_json::from_slice(&body).with_context(|| format!("the answer to {path} is not understood"))
}

pub(crate) async fn bytes(socket: &Path, path: &str) -> Result<Bytes> {
    let body = Limited::new(request(socket, path).await?, ANSWER_BYTES_MAX).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("read the answer: {error}"))?.to_bytes())
}

/// The answer, refusals among them.
pub(crate) async fn response(socket: &Path, path: &str) -> Result<Response<Incoming>> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "only root may ask: use sudo",
            _ => "its daemon does not run",
        };
        anyhow::Error::new(error).context(format!("{hint}: connect to {}", socket.display()))
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "viaduct").body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?)
}

/// The body of an answer that is no refusal.
pub(super) async fn request(socket: &Path, path: &str) -> Result<Incoming> {
    let response = response(socket, path).await?;
    let status = response.status();
    let body = response.into_body();
    if !status.is_success() {
        let why = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
        let why = why.map(|why| why.to_bytes()).unwrap_or_default();
        // What is wrong with the question is all that its author wants to know.
        if status.is_client_error() && !why.is_empty() {
            bail!("{}", String::from_utf8_lossy(&why));
        }
        bail!("{path}: {status}: {}", String::from_utf8_lossy(&why));
    }
    Ok(body)
}

/// An answer of many elements, one a line, that is read as it comes.
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// How long the next may take; `None` where it may never come.
    limit: Option<Duration>,
}

impl Lines {
    /// Asks. An answer that is to be followed may be silent for as long as nothing happens.
    pub(crate) async fn ask(socket: &Path, path: &str, follow: bool) -> Result<Self> {
        let body = within(Some(TIMEOUT), request(socket, path)).await??;
        Ok(Self { body, buffer: BytesMut::new(), limit: (!follow).then_some(TIMEOUT) })
    }

    /// The next element; `None` behind the last.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|octet| *octet == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let line = line.trim_ascii_end();
                let line = line.strip_suffix(b",").unwrap_or(line);
                if matches!(line, b"" | b"[" | b"]" | b"[]") {
                    continue;
                }
                return serde_json::from_slice(line).map(Some).context("not understood");
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                bail!("a line of more than {LINE_BYTES_MAX} octets");
            }
            let Some(frame) = within(self.limit, self.body.frame()).await? else {
                return Ok(None);
            };
            if let Ok(data) = frame.context("the answer was cut short")?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Result<T> {
    let Some(limit) = limit else { return Ok(future.await) };
    let late = || format!("no answer in {} s", limit.as_secs());
    tokio::time::timeout(limit, future).await.with_context(late)
}
