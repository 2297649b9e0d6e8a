//! A host for one test: network and mount namespaces that end with the test's thread, and a folder
//! of cgroup2 that the test's process is in meanwhile. Needs root.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// A socket belongs to the cgroup that its process is in, so only one test at a time.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct Host {
    pub(crate) cgroup: PathBuf,
    pub(crate) bpffs: tempfile::TempDir,
    home: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Host {
    /// Moves this thread, and those it starts from now on, into namespaces of their own.
    pub(crate) fn enter() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let bpffs = tempfile::tempdir().unwrap();
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("namespaces need root");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        mount(Some("bpf"), bpffs.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        let (cgroup, home) = join_new_cgroup();
        let host = Self { cgroup, bpffs, home, _turn: turn };
        host.ip("link set lo up");
        host
    }

    pub(crate) fn ip(&self, words: &str) -> String {
        let output = Command::new("ip").args(words.split_whitespace()).output();
        let output = output.expect("iproute2 is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {words}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn pins(&self) -> &Path {
        self.bpffs.path()
    }
}

fn join_new_cgroup() -> (PathBuf, PathBuf) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let root = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[2] == "cgroup2")
        .map(|fields| PathBuf::from(fields[1]))
        .expect("cgroup2 is mounted");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let cgroup = root.join(format!("viaduct-lb-{}-{number}", std::process::id()));
    fs::create_dir(&cgroup).unwrap();
    fs::write(cgroup.join("cgroup.procs"), "0").unwrap();
    (cgroup, root.join(own))
}

impl Drop for Host {
    fn drop(&mut self) {
        fs::write(self.home.join("cgroup.procs"), "0").unwrap();
        // A child that has ended may take a moment to leave.
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(error) = fs::remove_dir(&self.cgroup) {
            let busy = error.kind() == io::ErrorKind::ResourceBusy;
            assert!(busy && Instant::now() < deadline, "{}: {error}", self.cgroup.display());
            thread::yield_now();
        }
    }
}

/// Tries until it succeeds; fails the test with the last error after a minute.
pub(crate) fn wait_for(what: &str, mut attempt: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match attempt() {
            Ok(()) => return,
            Err(error) if Instant::now() > deadline => panic!("no {what} within 60 s: {error}"),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}
