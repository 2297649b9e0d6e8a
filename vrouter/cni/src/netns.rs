//! Work inside another network namespace.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Which namespace it is, however many names it has, as long as it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetnsId {
    device: u64,
    inode: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NetnsError {
    #[error("cannot open the network namespace {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is no network namespace, or entering it is not permitted: {source}")]
    Enter { path: PathBuf, source: nix::Error },
    #[error("cannot work inside {path}: {source}")]
    Thread { path: PathBuf, source: io::Error },
}

#[derive(Debug)]
pub(crate) struct Netns {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) id: NetnsId,
}

impl Netns {
    pub(crate) fn open(path: &Path) -> Result<Self, NetnsError> {
        let failed = |source| NetnsError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let id = NetnsId { device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { file, path: path.to_owned(), id })
    }

    /// Runs `work` with a netlink handle of the namespace, on a thread made for it: a thread of the
    /// runtime must never be found in another namespace than its process.
    pub(crate) async fn run<F, T>(&self, work: F) -> Result<T, NetnsError>
    where
        F: AsyncFnOnce(rtnetlink::Handle) -> T + Send + 'static,
        T: Send + 'static,
    {
        let path = self.path.clone();
        let unable = |source| NetnsError::Thread { path: path.clone(), source };
        let file = self.file.try_clone().map_err(unable)?;
        let (sender, receiver) = oneshot::channel();
        let inside = {
            let path = path.clone();
            move || -> Result<T, NetnsError> {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
                    .map_err(|source| NetnsError::Enter { path: path.clone(), source })?;
                let run = || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    runtime.block_on(async {
                        let (connection, handle, _) = rtnetlink::new_connection()?;
                        let connection = tokio::spawn(connection);
                        let done = work(handle).await;
                        connection.abort();
                        Ok(done)
                    })
                };
                run().map_err(|source| NetnsError::Thread { path, source })
            }
        };
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                // Nobody listens when the caller has been dropped: then nobody needs the answer.
                let _unheard = sender.send(inside());
            })
            .map_err(unable)?;
        receiver.await.map_err(|gone| unable(io::Error::other(gone)))?
    }
}
