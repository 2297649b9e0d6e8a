//! Where the things of a cluster made by `viaduct up` live. One folder for each kind of lifetime:
//! `/run` until `down`, `/var/lib` until `up --fresh`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

pub(crate) const RUN: &str = "/run/viaduct";
const STATE: &str = "/var/lib/viaduct";

#[derive(Clone, Debug)]
pub(crate) struct ClusterPaths {
    pub run: PathBuf,
    pub state: PathBuf,
    /// The cluster's subtree of cgroup2.
    pub cgroup: PathBuf,
    /// The same relative to the hierarchy's root, for runtimes that name cgroups that way.
    pub cgroup_relative: PathBuf,
}

impl ClusterPaths {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let cgroup_relative = Path::new("viaduct").join(name);
        Ok(Self {
            run: Path::new(RUN).join(name),
            state: Path::new(STATE).join(name),
            cgroup: cgroup2_root()?.join(&cgroup_relative),
            cgroup_relative,
        })
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }

    pub(crate) fn server_state(&self) -> PathBuf {
        self.state.join("server")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.run.join("log")
    }

    /// One file for each process of the cluster, holding its pid.
    pub(crate) fn pids(&self) -> PathBuf {
        self.run.join("pids")
    }

    /// One empty file for each network namespace of the cluster, made before the namespace.
    pub(crate) fn netns_tags(&self) -> PathBuf {
        self.run.join("netns")
    }

    pub(crate) fn mount_namespaces(&self) -> PathBuf {
        self.run.join("mnt")
    }

    pub(crate) fn node_run(&self, node: &str) -> PathBuf {
        self.run.join("nodes").join(node)
    }

    /// What a node keeps on its disk. It ends with the node, at `down`.
    pub(crate) fn node_state(&self, node: &str) -> PathBuf {
        self.state.join("nodes").join(node)
    }

    pub(crate) fn node_cgroup(&self, node: &str) -> PathBuf {
        self.cgroup.join(node)
    }

    pub(crate) fn plan(&self) -> PathBuf {
        self.run.join("cluster.json")
    }
}

/// Where cgroup2 is mounted: the whole of `/sys/fs/cgroup`, or beside the controllers of version 1.
pub(crate) fn cgroup2_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    for mount in mounts.lines() {
        let mut fields = mount.split(' ').skip(1);
        if let (Some(target), Some("cgroup2")) = (fields.next(), fields.next()) {
            return Ok(target.into());
        }
    }
    bail!("cgroup2 is not mounted: mount it with `mount -t cgroup2 none /sys/fs/cgroup/unified`")
}

/// Every mounted hierarchy of cgroup version 1, none on a host that has version 2 only.
pub(crate) fn cgroup1_roots() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    let roots = mounts.lines().filter_map(|mount| {
        let mut fields = mount.split(' ').skip(1);
        match (fields.next(), fields.next()) {
            (Some(target), Some("cgroup")) => Some(target.into()),
            _ => None,
        }
    });
    Ok(roots.collect())
}

/// Writes a file so that a reader sees the old content or the new, and a crash leaves one of them.
pub(crate) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let staged = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&staged, path)
}
