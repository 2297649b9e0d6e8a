//! Starting a process in the namespaces and the cgroup of its host.
#![expect(unsafe_code, reason = "namespaces are entered between fork and exec")]

use std::{
    fs::{File, OpenOptions},
    io,
    net::TcpListener,
    os::fd::{AsRawFd, FromRawFd, RawFd},
    path::PathBuf,
    process::Stdio,
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use tokio::process::{Child, Command};

/// The descriptor at which a process finds a socket that was opened for it.
const PASSED_FD: RawFd = 3;

/// A process of the cluster: what is run, and where.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSpec {
    /// Names the log and the pid file: `node-1.kubelet`.
    pub name: String,
    pub arguments: Vec<String>,
    pub netns: PathBuf,
    pub mount_namespace: Option<PathBuf>,
    /// A folder of cgroup2, made if it is not there.
    pub cgroup: PathBuf,
    pub log: PathBuf,
    /// Whether the process is given the listener of the host's loopback.
    pub takes_listener: bool,
}

/// Starts `program` as `spec` says. The child has a session of its own, so that neither a signal
/// of a terminal nor the end of its parent reaches it.
pub(crate) fn spawn(
    program: &PathBuf,
    spec: &ProcessSpec,
    listener: &TcpListener,
) -> Result<Child> {
    std::fs::create_dir_all(&spec.cgroup)
        .with_context(|| format!("create cgroup {}", spec.cgroup.display()))?;
    let open = |path: &PathBuf| {
        File::open(path).with_context(|| format!("open namespace {}", path.display()))
    };
    let netns = open(&spec.netns)?;
    let mount_namespace = spec.mount_namespace.as_ref().map(open).transpose()?;
    let membership = OpenOptions::new()
        .write(true)
        .open(spec.cgroup.join("cgroup.procs"))
        .with_context(|| format!("open cgroup {}", spec.cgroup.display()))?;
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&spec.log)
        .with_context(|| format!("open log {}", spec.log.display()))?;
    let passed = spec.takes_listener.then(|| listener.as_raw_fd());

    let mut command = Command::new(program);
    command
        .args(&spec.arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // SAFETY: the closure runs in the child between fork and exec and makes system calls only; the
    // descriptors it uses are owned by it and stay open until then.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            nix::unistd::write(&membership, b"0")?;
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            if let Some(mount_namespace) = &mount_namespace {
                setns(mount_namespace, CloneFlags::CLONE_NEWNS)?;
            }
            if let Some(fd) = passed {
                pass(fd)?;
            }
            Ok(())
        });
    }
    command.spawn().with_context(|| format!("start {}", spec.name))
}

/// Leaves `fd` open at [`PASSED_FD`] over exec.
fn pass(fd: RawFd) -> io::Result<()> {
    // SAFETY: plain system calls on descriptors of this process, which is about to exec. dup2 onto
    // itself would keep close-on-exec, so that flag is cleared by hand in either case.
    let done =
        unsafe { libc::dup2(fd, PASSED_FD) >= 0 && libc::fcntl(PASSED_FD, libc::F_SETFD, 0) >= 0 };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The listener that this process was given by [`spawn`].
pub(crate) fn passed_listener() -> Result<TcpListener> {
    nix::fcntl::fcntl(
        // SAFETY: the descriptor is only looked at; that it is open is what the call finds out.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(PASSED_FD) },
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )
    .context("no listener was passed to this process")?;
    // SAFETY: it is open, and nothing else in this process owns it.
    Ok(unsafe { TcpListener::from_raw_fd(PASSED_FD) })
}
