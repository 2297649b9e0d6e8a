//! Where the things of a cluster made by `viaduct up` live. One folder for each kind of lifetime:
//! `/run` until `down`, `/var/lib` until `up --fresh`.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

pub(crate) const RUN: &str = "/run/viaduct";
const STATE: &str = "/var/lib/viaduct";

/// Folders that a node or a server of a real host has where those of clusters are: a cluster of
/// that name would take them for its own, and `down` would remove them.
const TAKEN: [&str; 5] = ["images", "kubelet", "node", "pods", "server"];

#[derive(Clone, Debug)]
pub(crate) struct ClusterPaths {
    pub name: String,
    pub run: PathBuf,
    pub state: PathBuf,
    /// The cluster's subtree of cgroup2.
    pub cgroup: PathBuf,
    /// The same relative to the hierarchy's root, for runtimes that name cgroups that way.
    pub cgroup_relative: PathBuf,
}

impl ClusterPaths {
    /// Fails where `name` is none that a cluster can have: `down` removes what these paths name.
    pub(crate) fn new(name: &str) -> Result<Self> {
        check_name(name)?;
        let cgroup_relative = Path::new("viaduct").join(name);
        Ok(Self {
            name: name.to_owned(),
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

    /// Whether somebody starts again what ends.
    pub(crate) fn is_supervised(&self) -> bool {
        let processes = fs::read_to_string(self.cgroup.join("supervisor").join("cgroup.procs"));
        processes.is_ok_and(|pids| !pids.trim().is_empty())
    }

    pub(crate) fn log(&self, process: &str) -> PathBuf {
        self.logs().join(format!("{process}.log"))
    }

    /// One file for each process that ended though it should run.
    pub(crate) fn ended(&self) -> PathBuf {
        self.run.join("ended")
    }

    /// One file for each process of the cluster, holding its pid.
    pub(crate) fn pids(&self) -> PathBuf {
        self.run.join("pids")
    }

    /// One socket for each process that may leave its place to another: there it says to whom.
    pub(crate) fn notify(&self, process: &str) -> PathBuf {
        self.run.join("notify").join(process)
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

    /// The file of a speaker that is no node.
    pub(crate) fn speaker(&self, host: &str) -> PathBuf {
        self.run.join("speakers").join(format!("{host}.yaml"))
    }

    pub(crate) fn plan(&self) -> PathBuf {
        self.run.join("cluster.json")
    }
}

/// A cluster's name becomes a part of namespace, folder and cgroup names: a short DNS label.
fn check_name(name: &str) -> Result<()> {
    let fits = (1..=20).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !fits {
        bail!(
            "`{name}` cannot name a cluster: up to 20 of a–z, 0–9 and `-`, with no `-` at an end"
        );
    }
    if TAKEN.contains(&name) {
        bail!("`{name}` cannot name a cluster: {STATE}/{name} is something else's folder");
    }
    Ok(())
}

/// The names of the clusters that are up, or were left half-way.
pub(crate) fn clusters_in(run: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(run) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("read {}", run.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().join("cluster.json").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Locks what is made and removed of clusters, until the file is dropped or its process ends: `down`
/// beside an `up` that has not made everything yet would miss the rest. The folder itself is the
/// lock, so that none is left lying about.
pub(crate) fn lock(run: &Path) -> Result<fs::File> {
    let lock = || {
        fs::create_dir_all(run)?;
        let folder = fs::File::open(run)?;
        folder.lock()?;
        Ok::<_, io::Error>(folder)
    };
    lock().with_context(|| format!("lock {}", run.display()))
}

/// Hands the lock on to the children that are started from now on, or no longer. A child that
/// outlives us, since we are killed, goes on making what it was told to: whoever wants the lock then
/// waits for it, too.
pub(crate) fn share_lock(lock: &fs::File, shared: bool) -> Result<()> {
    let flags = if shared { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(lock, FcntlArg::F_SETFD(flags)).context("hand on the lock")?;
    Ok(())
}

/// Makes a folder that root alone may enter, whatever the umask says.
pub(crate) fn create_private(folder: &Path) -> Result<()> {
    let create = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
    };
    create().with_context(|| format!("create {}", folder.display()))
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
    use std::io::Write;
    // The whole name is kept: `node-1.node` and `node-1.kubelet` may be written at one time.
    let mut staged = path.to_owned().into_os_string();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&staged, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_a_folder_are_refused() {
        for wrong in ["", ".", "..", "a/b", "A", "-a", "a-", "a.b", "a-name-that-is-far-too-long"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        for taken in TAKEN {
            assert!(check_name(taken).is_err(), "{taken}");
        }
        assert!(check_name("viaduct").is_ok() && check_name("a-1").is_ok());
    }

    #[test]
    fn of_two_that_lock_one_waits() {
        let folder = std::env::temp_dir().join(format!("viaduct-lock-{}", std::process::id()));
        let held = lock(&folder).unwrap();
        let other = fs::File::open(&folder).unwrap();
        assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(held);
        other.try_lock().unwrap();
        fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_child_that_outlives_us_keeps_the_lock() {
        let folder = std::env::temp_dir().join(format!("viaduct-heir-{}", std::process::id()));
        let held = lock(&folder).unwrap();
        let start = || {
            let mut child = std::process::Command::new("cat");
            child.stdin(std::process::Stdio::piped()).spawn().unwrap()
        };
        share_lock(&held, true).unwrap();
        let mut heir = start();
        share_lock(&held, false).unwrap();
        let mut other = start();
        drop(held);
        let next = fs::File::open(&folder).unwrap();
        assert!(matches!(next.try_lock(), Err(fs::TryLockError::WouldBlock)));
        // It ends with its input.
        drop(heir.stdin.take());
        heir.wait().unwrap();
        next.try_lock().unwrap();
        drop(other.stdin.take());
        other.wait().unwrap();
        fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn files_of_one_stem_are_written_side_by_side() {
        let folder = std::env::temp_dir().join(format!("viaduct-paths-{}", std::process::id()));
        create_private(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        // What one writer has staged is not what another renames.
        fs::create_dir(folder.join("a.new")).unwrap();
        write_atomically(&folder.join("a.key"), b"k", 0o600).unwrap();
        assert_eq!(fs::read(folder.join("a.key")).unwrap(), b"k");
        assert_eq!(mode(&folder.join("a.key")), 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }
}
