//! The namespaces that a pod's containers share, kept alive by bind mounts instead of a process.
#![expect(unsafe_code, reason = "the loopback interface is set up by ioctl")]

use std::{
    fs::{self, File},
    io, mem,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        socket::{AddressFamily, SockFlag, SockType, socket},
        statfs::{NSFS_MAGIC, statfs},
    },
};

use super::{RuntimeError, create_dir, unmount};

#[derive(Clone, Debug)]
pub(crate) struct NamespaceRequest {
    /// Receives `net`, `ipc` and `uts`, as far as the pod has its own.
    pub(crate) dir: PathBuf,
    pub(crate) hostname: String,
    /// The pod uses the node's network and with it the node's name.
    pub(crate) host_network: bool,
}

impl NamespaceRequest {
    fn names(&self) -> &'static [&'static str] {
        if self.host_network { &["ipc"] } else { &["ipc", "net", "uts"] }
    }
}

/// Creates the namespaces from a thread of its own, which then ends: no other thread changes.
pub(crate) fn create_namespaces(request: &NamespaceRequest) -> Result<(), RuntimeError> {
    create_dir(&request.dir)?;
    let request = request.clone();
    let thread = thread::Builder::new()
        .name("namespaces".to_owned())
        .spawn(move || unshare_and_bind(&request))
        .map_err(RuntimeError::io("thread"))?;
    thread.join().unwrap_or_else(|_panic| {
        Err(RuntimeError::Unusable("the thread that creates namespaces ended".to_owned()))
    })
}

/// Whether every one of them is still there: a reboot leaves the files without the mounts.
pub(crate) fn namespaces_alive(request: &NamespaceRequest) -> bool {
    request.names().iter().all(|name| {
        statfs(&request.dir.join(name)).is_ok_and(|f| f.filesystem_type() == NSFS_MAGIC)
    })
}

pub(crate) fn remove_namespaces(dir: &Path) -> Result<(), RuntimeError> {
    for name in ["ipc", "net", "uts"] {
        let path = dir.join(name);
        unmount(&path)?;
        crate::disk::remove(&path).map_err(RuntimeError::io(path.display().to_string()))?;
    }
    Ok(())
}

fn unshare_and_bind(request: &NamespaceRequest) -> Result<(), RuntimeError> {
    let mut flags = CloneFlags::CLONE_NEWIPC;
    if !request.host_network {
        flags |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
    }
    unshare(flags).map_err(RuntimeError::nix("unshare"))?;
    if !request.host_network {
        // Both act on the namespaces of the thread that writes.
        write("/proc/sys/kernel/hostname", &request.hostname)?;
        loopback_up().map_err(RuntimeError::io("loopback"))?;
        // ping without CAP_NET_RAW, and ports below 1024 for whoever is not root: the namespace
        // is the pod's own.
        write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    }
    for name in request.names() {
        let target = request.dir.join(name);
        unmount(&target)?;
        let shown = || target.display().to_string();
        File::create(&target).map_err(RuntimeError::io(shown()))?;
        let source = format!("/proc/thread-self/ns/{name}");
        mount(Some(source.as_str()), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(RuntimeError::nix(shown()))?;
    }
    Ok(())
}

fn write(path: &str, value: &str) -> Result<(), RuntimeError> {
    fs::write(path, value).map_err(RuntimeError::io(path))
}

fn loopback_up() -> io::Result<()> {
    let socket: OwnedFd =
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the descriptor is an open socket and the request outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
