//! Namespaces, cgroups and service maps for tests that run the programs in the kernel. Needs root.

use std::{
    fs::{self, File},
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use ebpf_abi::{
    ADDRESS_NODE, ADDRESS_SERVICE, ADDRESS_VIP, Address, BackendValue, ServiceKey, ServiceValue,
};
use lb_maps::{DataPlane, Maps, Options, Sizes};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

/// A network namespace that lives as long as this does.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let namespace = Self(thread::spawn(make).join().unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `body` in the namespace, on a thread of its own.
    pub(crate) fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
            body()
        };
        match thread::scope(|scope| scope.spawn(enter).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs `ip` with these words.
    pub(crate) fn ip(&self, words: &str) {
        self.run(|| {
            let output = Command::new("ip").args(words.split_whitespace()).output();
            let output = output.expect("iproute2 is installed");
            assert!(
                output.status.success(),
                "ip {words}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        });
    }

    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        self.run(|| {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            // The file shows the namespace of the thread that opens it.
            fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
        });
    }

    /// As `ip` takes it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    pub(crate) fn ifindex(&self, name: &str) -> viaduct_net::IfIndex {
        viaduct_net::IfIndex(self.run(|| nix::net::if_::if_nametoindex(name).unwrap()))
    }
}

/// Runs a test in a mount namespace of its own, with a bpf filesystem in the folder it is given:
/// nothing of it is left behind however the test ends.
pub(crate) fn with_bpffs<T: Send>(body: impl FnOnce(&Path) -> T + Send) -> T {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace needs root");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        body(folder.path())
    };
    match thread::scope(|scope| scope.spawn(run).join()) {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Small maps: a test makes many.
pub(crate) fn options(pin_dir: &Path) -> Options {
    let sizes = Sizes {
        services: 64,
        maglev: 4096,
        backends: 64,
        addresses: 64,
        sources: 64,
        affinity: 1024,
        pods: 16,
        connections: 1024,
        socket_origins: 1024,
        socket_choices: 1024,
        flows_embryonic: 1024,
        flows_established: 1024,
    };
    Options { pin_dir: pin_dir.to_owned(), sizes }
}

/// A folder of cgroup2 that this process is in while the value lives. Sockets belong to the
/// cgroup of the process that makes them, so tests with one of these take turns.
pub(crate) struct Cgroup {
    path: PathBuf,
    home: PathBuf,
}

impl Cgroup {
    pub(crate) fn enter() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let root = cgroup2_root();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("viaduct-test-{}-{number}", std::process::id());
        let cgroup = Self { path: root.join(name), home: root.join(own) };
        fs::create_dir(&cgroup.path).unwrap();
        fs::write(cgroup.path.join("cgroup.procs"), "0").unwrap();
        cgroup
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::write(self.home.join("cgroup.procs"), "0").unwrap();
        // A child that has ended may take a moment to leave.
        for _ in 0..100 {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => thread::yield_now(),
                result => return result.unwrap(),
            }
        }
    }
}

fn cgroup2_root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = mounts.find(|fields| fields[2] == "cgroup2").expect("cgroup2 is mounted");
    PathBuf::from(mount[1])
}

/// Writes services into the maps, each with a table of `TABLE` entries.
pub(crate) struct Services {
    maps: Maps,
    next_backend: u32,
    next_offset: u32,
}

const TABLE: u32 = 251;

fn key(frontend: SocketAddr, protocol: u8, scope: u8) -> ServiceKey {
    let (address, port_be) = (frontend.ip().into(), frontend.port().to_be());
    ServiceKey { address, port_be, protocol, scope }
}

impl Services {
    pub(crate) fn new(data_plane: &DataPlane) -> Self {
        Self { maps: data_plane.maps(), next_backend: 1, next_offset: 0 }
    }

    /// Enters a frontend over backends with the given flags, and returns their ids.
    pub(crate) fn add(
        &mut self,
        frontend: SocketAddr,
        protocol: u8,
        scope: u8,
        backends: &[(SocketAddr, u16)],
    ) -> Vec<u32> {
        let mut ids = Vec::new();
        for (backend, flags) in backends {
            let address = backend.ip().into();
            let value = BackendValue {
                address,
                port_be: backend.port().to_be(),
                flags: *flags,
                ..BackendValue::default()
            };
            self.maps.backends.upsert(&self.next_backend, &value).unwrap();
            ids.push(self.next_backend);
            self.next_backend += 1;
        }
        let length = if ids.is_empty() { 0 } else { TABLE };
        let table: Vec<u32> = ids.iter().copied().cycle().take(length as usize).collect();
        let offset = self.next_offset;
        self.maps.maglev.write(offset, &table).unwrap();
        self.next_offset += length.next_multiple_of(ebpf_abi::MAGLEV_CHUNK);
        let key = key(frontend, protocol, scope);
        let service = ServiceValue { offset, length, generation: 1, ..ServiceValue::default() };
        self.maps.services.upsert(&key, &service).unwrap();
        ids
    }

    /// Changes the value of a frontend that was added.
    pub(crate) fn change(
        &self,
        frontend: SocketAddr,
        protocol: u8,
        scope: u8,
        change: impl FnOnce(&mut ServiceValue),
    ) {
        let key = key(frontend, protocol, scope);
        let mut value = self.maps.services.lookup(&key).unwrap().unwrap();
        change(&mut value);
        self.maps.services.upsert(&key, &value).unwrap();
    }

    pub(crate) fn cluster_ip(&self, address: IpAddr) {
        self.address(address, ADDRESS_SERVICE);
    }

    pub(crate) fn vip(&self, address: IpAddr) {
        self.address(address, ADDRESS_SERVICE | ADDRESS_VIP);
    }

    pub(crate) fn node(&self, address: IpAddr) {
        self.address(address, ADDRESS_NODE);
    }

    fn address(&self, address: IpAddr, flags: u32) {
        self.maps.addresses.upsert(&Address::from(address), &flags).unwrap();
    }
}
