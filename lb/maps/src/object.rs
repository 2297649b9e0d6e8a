use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError},
};
use ebpf_abi::{ABI_VERSION, Plain, map};
use nix::sys::statfs::{self, FsType};

use crate::{Arena, Counters, LoadError, MapError, Maps, Sizes, Table, sys};

/// Built by `cargo xtask ebpf` and committed, so that building this crate needs no toolchain for
/// BPF.
pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!("../../../ebpf/program/viaduct.bpf.o");

/// `BPF_FS_MAGIC`.
const BPF_FS: FsType = FsType(0xcafe_4a11);

/// Where and how large the data plane is.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder of a bpf filesystem, made if missing; such a filesystem takes no dots in names.
    /// Pins go to `v<ABI_VERSION>/` in it, and what other versions pinned there is taken over.
    pub pin_dir: PathBuf,
    pub sizes: Sizes,
}

/// The folders of the pins of an ABI version.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    /// The version.
    pub(crate) number: u32,
    pub(crate) version: PathBuf,
    pub(crate) maps: PathBuf,
    pub(crate) links: PathBuf,
}

impl Pins {
    pub(crate) fn new(pin_dir: &Path, number: u32) -> Self {
        Self::at(pin_dir.join(format!("v{number}")), number)
    }

    pub(crate) fn at(version: PathBuf, number: u32) -> Self {
        Self { maps: version.join("maps"), links: version.join("links"), version, number }
    }

    /// Whether anything is attached by it.
    pub(crate) fn has_links(&self) -> bool {
        fs::read_dir(&self.links).is_ok_and(|mut links| links.next().is_some())
    }

    /// Removes the maps and then the folders, in which no link may be left. That they are not there
    /// is no error.
    ///
    /// # Errors
    /// With the path that could not be removed.
    pub(crate) fn remove_maps(&self) -> Result<(), (PathBuf, io::Error)> {
        let maps = list(&self.maps).map_err(|error| (self.maps.clone(), error))?;
        for path in maps.iter().chain([&self.maps, &self.links, &self.version]) {
            unpin(path).map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }

    pub(crate) fn create(&self) -> Result<(), LoadError> {
        // Checked before anything is made: on another filesystem the folders would remain.
        let existing = self.version.ancestors().find(|path| path.exists());
        let found = existing.map(statfs::statfs).transpose().map_err(|errno| {
            LoadError::PinDir { path: self.version.clone(), source: errno.into() }
        })?;
        if found.map(|found| found.filesystem_type()) != Some(BPF_FS) {
            return Err(LoadError::NotBpffs { path: self.version.clone() });
        }
        for path in [&self.maps, &self.links] {
            fs::create_dir_all(path)
                .map_err(|source| LoadError::PinDir { path: path.clone(), source })?;
        }
        Ok(())
    }
}

/// The programs by which sockets are served, and those of the interfaces.
pub(crate) const CGROUP_PROGRAMS: [(&str, sys::AttachType); 8] = [
    ("cgroup_connect4", sys::AttachType::Inet4Connect),
    ("cgroup_connect6", sys::AttachType::Inet6Connect),
    ("cgroup_sendmsg4", sys::AttachType::Udp4Sendmsg),
    ("cgroup_sendmsg6", sys::AttachType::Udp6Sendmsg),
    ("cgroup_recvmsg4", sys::AttachType::Udp4Recvmsg),
    ("cgroup_recvmsg6", sys::AttachType::Udp6Recvmsg),
    ("cgroup_getpeername4", sys::AttachType::Inet4GetPeerName),
    ("cgroup_getpeername6", sys::AttachType::Inet6GetPeerName),
];
/// By which a connection is forgotten when its socket is closed. What is translated does not depend
/// on it, so a kernel that refuses it is served all the same.
pub(crate) const RELEASE_PROGRAM: (&str, sys::AttachType) =
    ("cgroup_sock_release", sys::AttachType::InetSockRelease);
pub(crate) const UPLINK_PROGRAM: &str = "uplink_ingress";
pub(crate) const EGRESS_PROGRAM: &str = "uplink_egress";
pub(crate) const POD_PROGRAM: &str = "pod_ingress";

/// The names of all programs.
pub(crate) fn program_names() -> impl Iterator<Item = &'static str> {
    let cgroup = CGROUP_PROGRAMS.into_iter().chain([RELEASE_PROGRAM]).map(|(name, _)| name);
    cgroup.chain([UPLINK_PROGRAM, EGRESS_PROGRAM, POD_PROGRAM])
}

/// What is in the kernel after loading.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) maps: Maps,
    pub(crate) programs: BTreeMap<&'static str, OwnedFd>,
    /// Why the kernel does not take [`RELEASE_PROGRAM`].
    pub(crate) no_release: Option<String>,
    /// Kept for clsact, which aya attaches to.
    pub(crate) object: Ebpf,
}

/// Loads the programs on the maps in `pins`, which are made where they are missing, with room for
/// `needed` at least.
pub(crate) fn load(
    pins: &Pins,
    sizes: &Sizes,
    needed: &BTreeMap<&str, u32>,
) -> Result<Loaded, LoadError> {
    let mut object = open_object(pins, sizes, needed)?;
    let mut programs = BTreeMap::new();
    let mut no_release = None;
    for name in program_names() {
        match load_program(&mut object, name) {
            Ok(program) => drop(programs.insert(name, program)),
            Err(error @ (LoadError::Unsupported { .. } | LoadError::Program { .. }))
                if name == RELEASE_PROGRAM.0 =>
            {
                no_release = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Loaded { maps: open_maps(pins)?, programs, no_release, object })
}

/// Loads every program and says of each what the kernel said; attaches and keeps nothing but the
/// maps.
///
/// # Errors
/// Where not even the maps could be made.
pub fn probe(
    options: &Options,
) -> Result<BTreeMap<&'static str, Result<(), LoadError>>, LoadError> {
    let pins = Pins::new(&options.pin_dir, ABI_VERSION);
    let mut object = open_object(&pins, &options.sizes, &BTreeMap::new())?;
    Ok(program_names().map(|name| (name, load_program(&mut object, name).map(drop))).collect())
}

fn open_object(
    pins: &Pins,
    sizes: &Sizes,
    needed: &BTreeMap<&str, u32>,
) -> Result<Ebpf, LoadError> {
    pins.create()?;
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(&pins.maps);
    for (name, max_entries) in [
        (map::SERVICES, sizes.services),
        (map::MAGLEV, Arena::chunks(sizes.maglev)),
        (map::BACKENDS, sizes.backends),
        (map::ADDRESSES, sizes.addresses),
        (map::SOURCES, sizes.sources),
        (map::AFFINITY, sizes.affinity),
        (map::PODS, sizes.pods),
        (map::CONNECTIONS, sizes.connections),
        (map::SOCKET_ORIGINS, sizes.socket_origins),
        (map::SOCKET_CHOICES, sizes.socket_choices),
        (map::FLOWS_EMBRYONIC, sizes.flows_embryonic),
        (map::FLOWS_ESTABLISHED, sizes.flows_established),
    ] {
        let needed = needed.get(name).copied().unwrap_or(0);
        loader.map_max_entries(name, max_entries.max(needed));
    }
    loader.load(OBJECT).map_err(|error| LoadError::Object(Box::new(error)))
}

/// The verifier gives up when a signal comes for the thread, and wants to be asked again.
const LOAD_ATTEMPTS: usize = 10;

fn load_program(object: &mut Ebpf, name: &'static str) -> Result<OwnedFd, LoadError> {
    let program = object.program_mut(name).ok_or(LoadError::MissingProgram { program: name })?;
    let mut result = load_into_kernel(program);
    for _ in 1..LOAD_ATTEMPTS {
        match &result {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.raw_os_error() == Some(libc::EAGAIN) =>
            {
                result = load_into_kernel(program);
            }
            _ => break,
        }
    }
    result.map_err(|source| program_error(name, source))
}

fn load_into_kernel(program: &mut Program) -> Result<OwnedFd, ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load()?,
        Program::CgroupSock(program) => program.load()?,
        Program::SchedClassifier(program) => program.load()?,
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    let fd = program.fd()?.as_fd().try_clone_to_owned();
    fd.map_err(ProgramError::IOError)
}

/// What is missing is told by how the kernel refuses: without the right it says so, and a program
/// of a kind that it does not know never reaches the verifier.
fn program_error(program: &'static str, error: ProgramError) -> LoadError {
    if let ProgramError::LoadError { io_error, verifier_log } = &error {
        match io_error.raw_os_error() {
            Some(libc::EPERM) => return LoadError::Privilege,
            Some(libc::EINVAL) if verifier_log.to_string().is_empty() => {
                let feature = if program.starts_with("cgroup_") {
                    "socket programs on cgroups (CONFIG_CGROUP_BPF)"
                } else {
                    "classifier programs (CONFIG_NET_CLS_BPF)"
                };
                return LoadError::Unsupported { feature };
            }
            _ => {}
        }
    }
    LoadError::Program { program, source: Box::new(error) }
}

fn open_maps(pins: &Pins) -> Result<Maps, MapError> {
    Ok(Maps {
        services: open(pins, map::SERVICES)?,
        maglev: Arena::new(open(pins, map::MAGLEV)?),
        backends: open(pins, map::BACKENDS)?,
        addresses: open(pins, map::ADDRESSES)?,
        sources: open(pins, map::SOURCES)?,
        affinity: open(pins, map::AFFINITY)?,
        pods: open(pins, map::PODS)?,
        connections: open(pins, map::CONNECTIONS)?,
        socket_origins: open(pins, map::SOCKET_ORIGINS)?,
        socket_choices: open(pins, map::SOCKET_CHOICES)?,
        flows_embryonic: open(pins, map::FLOWS_EMBRYONIC)?,
        flows_established: open(pins, map::FLOWS_ESTABLISHED)?,
        counters: Counters::new(open_pin(pins, map::COUNTERS)?)?,
        config: open(pins, map::CONFIG)?,
    })
}

fn open<K: Plain + Ord, V: Plain>(
    pins: &Pins,
    name: &'static str,
) -> Result<Table<K, V>, MapError> {
    Table::new(name, open_pin(pins, name)?)
}

fn open_pin(pins: &Pins, name: &'static str) -> Result<OwnedFd, MapError> {
    let found = sys::object_open(&pins.maps.join(name));
    found
        .map_err(|source| MapError::Io { map: name, source })?
        .ok_or(MapError::Missing { map: name })
}

/// What is in a folder; nothing where there is no folder.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Removes a file or empty folder of the pins; that it is not there is no error.
pub(crate) fn unpin(path: &Path) -> io::Result<()> {
    let result = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
