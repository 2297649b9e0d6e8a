//! Two network namespaces joined by a veth pair: the daemon's, and the generator's with an address
//! for every peer. They have no names: they are there as long as this process holds them, so none is
//! left behind, however it ends.

use std::{fs::File, os::fd::AsRawFd, path::PathBuf, thread};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use viaduct_lab::Shell;

use super::layout::{DAEMON, GENERATOR, NETWORK_LEN, PEERS};

#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    fn new() -> Result<Self> {
        // A thread of its own: this one stays where it is.
        let thread = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let file = thread.join().map_err(|_panic| anyhow!("the thread has panicked"))??;
        let namespace = Self(file);
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Moves the calling thread.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.0, CloneFlags::CLONE_NEWNET).context("enter a network namespace")
    }

    /// As other processes may open it.
    fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    pub(crate) fn shell(&self) -> Shell {
        Shell { netns: self.path(), cgroup: None }
    }

    fn ip(&self, arguments: &str) -> Result<()> {
        let arguments: Vec<_> = arguments.split(' ').collect();
        self.shell().run("ip", &arguments).map(drop)
    }
}

pub(crate) struct Lab {
    pub daemon: Namespace,
    pub generator: Namespace,
}

impl Lab {
    pub(crate) fn build() -> Result<Self> {
        let lab = Self { daemon: Namespace::new()?, generator: Namespace::new()? };
        let far = lab.daemon.path();
        lab.generator
            .ip(&format!("link add bench type veth peer name bench netns {}", far.display()))?;
        for (namespace, address) in [(&lab.daemon, DAEMON), (&lab.generator, GENERATOR)] {
            namespace.ip(&format!("address add {address}/{NETWORK_LEN} dev bench"))?;
            namespace.ip("link set bench up")?;
        }
        // All of these are the generator's, and neighbours of the daemon.
        lab.generator.ip(&format!("route add local {PEERS} dev bench"))?;
        Ok(lab)
    }
}
