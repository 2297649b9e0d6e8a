use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    attachment::Attachment,
    network::{AddRequest, PodNetwork, PodNetworkError},
    protocol::{MESSAGE_LIMIT, Request, Response},
    result::{CniError, code},
};

/// Requests in work at once; more wait in the socket's backlog.
const CONCURRENCY: usize = 64;
/// A plugin writes its request at once; one that does not is no plugin of ours.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {path}: {source}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("another daemon serves {0}")]
    InUse(PathBuf),
    #[error("cannot accept requests of plugins: {0}")]
    Accept(io::Error),
}

/// Answers plugins until `stop`, and then those that have been let in: who comes later waits in the
/// socket for whoever else holds it. Dropped, it answers nobody any more.
pub async fn serve(
    listener: UnixListener,
    network: PodNetwork,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let mut requests = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map_err(ServeError::Accept)?.0,
            () = stop.cancelled() => break,
        };
        while requests.len() >= CONCURRENCY {
            requests.join_next().await;
        }
        while requests.try_join_next().is_some() {}
        let network = network.clone();
        requests.spawn(async move {
            if let Err(error) = answer(stream, network).await {
                debug!(%error, "plugin went away");
            }
        });
    }
    drop(listener);
    while requests.join_next().await.is_some() {}
    Ok(())
}

/// A socket left by a daemon that died is replaced; one that answers is not. It is for root alone: who
/// can write to it can move the pods of this node.
pub fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ServeError::InUse(path.to_owned()));
    }
    // Beside, then renamed: at no moment is there a socket that others may open, or none at all.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    Ok(listener)
}

async fn answer(mut stream: UnixStream, network: PodNetwork) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut text = Vec::new();
    let mut limited = reader.take(MESSAGE_LIMIT);
    timeout(READ_TIMEOUT, limited.read_to_end(&mut text)).await??;
    let response = match serde_json::from_slice(&text) {
        Ok(request) => Response::from(handle(request, &network).await),
        Err(error) => {
            warn!(%error, "request not understood");
            let msg = "the daemon does not understand the plugin; are both of one version?";
            Response::Error(CniError::new(code::DECODING_FAILURE, msg).with(error))
        }
    };
    writer.write_all(&serde_json::to_vec(&response)?).await?;
    writer.shutdown().await
}

async fn handle(request: Request, network: &PodNetwork) -> Result<Option<Attachment>, CniError> {
    match request {
        Request::Add { owner, netns, pod } => {
            // In a task of its own: a plugin that is killed must not leave half a pod.
            let network = network.clone();
            let add = async move { network.add(AddRequest { owner, netns, pod }).await };
            let added = tokio::spawn(add).await.map_err(|error| {
                CniError::new(code::WIRING_FAILED, "ADD was cut short").with(error)
            })?;
            added.map(Some).map_err(cni_error)
        }
        Request::Del { owner } => network.del(&owner).await.map(|()| None).map_err(cni_error),
        Request::Check { owner, netns } => {
            network.check(&owner, netns).await.map(Some).map_err(cni_error)
        }
        Request::Gc { live } => {
            let live: BTreeSet<_> = live.into_iter().collect();
            network.gc(&live).await.map(|()| None).map_err(cni_error)
        }
        Request::Status => network.status().map(|()| None).map_err(|error| {
            CniError::new(code::NOT_AVAILABLE, "pods cannot be added").with(error)
        }),
    }
}

fn cni_error(error: PodNetworkError) -> CniError {
    let (code, msg) = match &error {
        PodNetworkError::Allocate(_) => (code::TRY_AGAIN_LATER, "no address for the pod"),
        PodNetworkError::State(_) => (code::IO_FAILURE, "the state of the pods cannot be stored"),
        PodNetworkError::NoNetns(_) => {
            (code::INVALID_ENVIRONMENT, "CNI_NETNS names no network namespace")
        }
        PodNetworkError::Unknown(_) => (code::UNKNOWN_CONTAINER, "unknown container"),
        PodNetworkError::Check { .. } => (code::CHECK_FAILED, "the pod's network is damaged"),
        PodNetworkError::Wire { .. }
        | PodNetworkError::Unwire { .. }
        | PodNetworkError::Guard(_)
        | PodNetworkError::Forwarding(_)
        | PodNetworkError::NetlinkSocket(_) => {
            (code::WIRING_FAILED, "the kernel refused the pod's network")
        }
    };
    CniError::new(code, msg).with(error)
}
