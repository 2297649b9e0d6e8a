//! Containers: runc under conmon, in namespaces that the pod owns.
//!
//! Every container has a conmon that holds its standard streams, writes its log and leaves its
//! exit code in a file. None of them is a child whose life depends on ours: whoever comes after
//! this process finds everything by the state directory.
//!
//! ```text
//! ROOT/runc/                       runc's own state (`--root`)
//! ROOT/exits/<container id>        exit codes, written by conmon
//! ROOT/pods/<uid>/ns/{net,ipc,uts} the pod's namespaces, bound here
//! ROOT/pods/<uid>/containers/<name>/<attempt>/  bundle: config.json, rootfs, upper, work
//! ROOT/pods/<uid>/logs/<name>/<attempt>.log     CRI log format
//! ```

pub(crate) mod cgroup;
pub(crate) mod cni;
mod command;
mod conmon;
pub(crate) mod exits;
mod mounts;
mod namespaces;
mod purge;
pub(crate) mod rootfs;
mod runc;
pub(crate) mod spec;

use std::{
    io,
    path::{Path, PathBuf},
};

pub(crate) use conmon::Launch;
pub(crate) use mounts::{bind_tmpfs, unmount};
pub(crate) use namespaces::{
    NamespaceRequest, create_namespaces, namespaces_alive, remove_namespaces,
};
pub use purge::purge;
pub(crate) use runc::{Inspection, Signal};

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{program}: {message}")]
    Command { program: String, message: String },
    #[error("{what} took longer than {limit_secs} s")]
    Timeout { what: String, limit_secs: u64 },
    #[error("CNI plugin: {message} (code {code})")]
    Cni { code: u32, message: String },
    #[error("{0}")]
    Unusable(String),
}

impl RuntimeError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn nix(what: impl Into<String>) -> impl FnOnce(nix::Error) -> Self {
        let what = what.into();
        move |errno| Self::Io { what, source: errno.into() }
    }
}

/// Where things lie, and which programs run them.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) root: PathBuf,
    pub(crate) runc: PathBuf,
    pub(crate) conmon: PathBuf,
    /// Bytes of a container's log after which conmon begins it anew.
    pub(crate) log_bytes_max: u64,
}

impl Runtime {
    pub(crate) fn runc_root(&self) -> PathBuf {
        self.root.join("runc")
    }

    pub(crate) fn exits(&self) -> PathBuf {
        self.root.join("exits")
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    pub(crate) fn prepare(&self) -> Result<(), RuntimeError> {
        for dir in [self.runc_root(), self.exits(), self.pods()] {
            create_dir(&dir)?;
        }
        Ok(())
    }
}

pub(crate) fn create_dir(dir: &Path) -> Result<(), RuntimeError> {
    std::fs::create_dir_all(dir).map_err(RuntimeError::io(dir.display().to_string()))
}
