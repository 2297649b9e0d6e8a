//! The client of a node's admin socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Target;
use crate::paths;

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 512 << 20;

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
    let body = tokio::time::timeout(TIMEOUT, bytes(socket, path))
        .await
        .with_context(|| format!("no answer in {} s", TIMEOUT.as_secs()))??;
    serde_json::from_slice(&body).with_context(|| format!("the answer to {path} is not understood"))
}

pub(crate) async fn bytes(socket: &Path, path: &str) -> Result<Bytes> {
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
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("read the answer: {error}"))?.to_bytes();
    if !status.is_success() {
        bail!("{path}: {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}
