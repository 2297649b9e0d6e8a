//! Starting a process in the namespaces and the cgroup of its host.
#![expect(unsafe_code, reason = "namespaces are entered between fork and exec")]

use std::{
    fs::{File, OpenOptions},
    io,
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::PathBuf,
    process::Stdio,
};

use anyhow::{Context, Result};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sched::{CloneFlags, setns},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::{Child, Command},
};

use crate::{
    passed::{COUNT_VARIABLE, FIRST, NAMES_VARIABLE},
    successor,
};

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
    /// The sockets that are held for it while it is not there.
    pub sockets: HeldSockets,
    /// Where it says that another process has taken its place.
    pub notify: Option<PathBuf>,
}

/// Which sockets the supervisor opens for a process and passes to each that takes its place.
#[derive(Clone, Debug, Default)]
pub(crate) enum HeldSockets {
    #[default]
    None,
    /// The listener of the plain API, on the loopback of the host.
    Api,
    /// UDP and TCP at which a node's DNS is asked, in the namespace of the process.
    Dns(Vec<IpAddr>),
}

/// A descriptor of the supervisor, and the name under which a process takes it.
pub(crate) type Passed = (&'static str, OwnedFd);

/// Starts `program` as `spec` says. The child has a session of its own, so that neither a signal
/// of a terminal nor the end of its parent reaches it.
pub(crate) fn spawn(program: &PathBuf, spec: &ProcessSpec, passed: &[Passed]) -> Result<Child> {
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
    // Copies out of the way of the numbers they are to have: none is overwritten by another.
    let first_free = FIRST + passed.len() as RawFd;
    let copy = |(name, fd): &Passed| -> Result<OwnedFd> {
        let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(first_free))
            .with_context(|| format!("copy a descriptor of `{name}`"))?;
        // SAFETY: the kernel has just made it, and nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(copy) })
    };
    let descriptors = passed.iter().map(copy).collect::<Result<Vec<OwnedFd>>>()?;

    let mut command = Command::new(program);
    command
        .args(&spec.arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    if !passed.is_empty() {
        let names: Vec<&str> = passed.iter().map(|(name, _)| *name).collect();
        command.env(COUNT_VARIABLE, names.len().to_string()).env(NAMES_VARIABLE, names.join(":"));
    }
    if let Some(notify) = &spec.notify {
        command.env(successor::NOTIFY_VARIABLE, notify);
    }
    // SAFETY: the closure runs in the child between fork and exec and makes system calls only; the
    // descriptors it uses are owned by it or by the caller, and stay open until then.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            nix::unistd::write(&membership, b"0")?;
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            if let Some(mount_namespace) = &mount_namespace {
                setns(mount_namespace, CloneFlags::CLONE_NEWNS)?;
            }
            pass(&descriptors)
        });
    }
    command.spawn().with_context(|| format!("start {}", spec.name))
}

/// Sees the end of a process that may be no child of ours: then it can be read from.
pub(crate) fn watch(pid: u32) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: a plain system call, and the kernel has made the descriptor for us alone.
    let process = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: the descriptor is owned by what is made of it, and is the same for as long as that lives.
    unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }.map_err(io::Error::from)
}

/// Leaves the descriptors open over exec, one after another from [`FIRST`] on. None of them has one
/// of those numbers already.
fn pass(descriptors: &[OwnedFd]) -> io::Result<()> {
    for (target, fd) in (FIRST..).zip(descriptors) {
        // SAFETY: a plain system call on descriptors of this process, which is about to exec.
        if unsafe { libc::dup2(fd.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
