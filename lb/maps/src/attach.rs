use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    net::{Ipv4Addr, Ipv6Addr},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use ebpf_abi::PodValue;
use tracing::info;
use viaduct_net::IfIndex;

use crate::{
    AttachError, LoadError, Maps, Options, clsact,
    link::{self, Target},
    object::{
        self, CGROUP_PROGRAMS, EGRESS_PROGRAM, Loaded, POD_PROGRAM, Pins, RELEASE_PROGRAM,
        UPLINK_PROGRAM,
    },
    sys,
};

/// A kind of interface, with the program that is attached there.
#[derive(Clone, Copy)]
struct Kind {
    program: &'static str,
    /// The beginning of the names of its links.
    prefix: &'static str,
    tcx: sys::AttachType,
    clsact: clsact::Place,
}

const POD: Kind = Kind {
    program: POD_PROGRAM,
    prefix: "pod_",
    tcx: sys::AttachType::TcxIngress,
    clsact: clsact::Place::Pod,
};
const UPLINK: Kind = Kind {
    program: UPLINK_PROGRAM,
    prefix: "uplink_",
    tcx: sys::AttachType::TcxIngress,
    clsact: clsact::Place::Uplink,
};
const EGRESS: Kind = Kind {
    program: EGRESS_PROGRAM,
    prefix: "egress_",
    tcx: sys::AttachType::TcxEgress,
    clsact: clsact::Place::Egress,
};

impl Kind {
    fn path(&self, pins: &Pins, ifindex: IfIndex) -> PathBuf {
        pins.links.join(format!("{}{ifindex}", self.prefix))
    }
}

/// The addresses of a pod, as its replies carry them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodAddresses {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// The loaded programs and their maps. Dropping it leaves all of it at work.
#[derive(Debug)]
pub struct DataPlane {
    pins: Pins,
    pub(crate) loaded: Loaded,
    /// Whether the kernel has TCX; learned at the first interface.
    tcx: Option<bool>,
}

impl DataPlane {
    /// Loads the programs, and makes or adopts their maps. Attaches nothing.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let pins = Pins::new(&options.pin_dir);
        let loaded = object::load(&pins, &options.sizes)?;
        Ok(Self { pins, loaded, tcx: None })
    }

    /// A handle to the maps, for whoever fills them. It is `Send` and `Sync`.
    pub fn maps(&self) -> Maps {
        self.loaded.maps.clone()
    }

    /// The names of the loaded programs.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> {
        self.loaded.programs.keys().copied()
    }

    /// Attaches the socket programs to a folder of cgroup2 and with it to every process below,
    /// adopting what an earlier process attached there.
    pub fn attach_cgroup(&mut self, cgroup: &Path) -> Result<(), AttachError> {
        let open = || {
            let file = File::open(cgroup)?;
            let id = file.metadata()?.ino();
            Ok((file, id))
        };
        let (file, id) =
            open().map_err(|source| AttachError::Cgroup { path: cgroup.to_owned(), source })?;
        let target = Target::Cgroup { fd: file.as_fd(), id };
        for (program, attach_type) in CGROUP_PROGRAMS {
            let path = self.pins.links.join(program);
            let fd = self.loaded.programs[program].as_fd();
            link::ensure(fd, target, attach_type, &path).map_err(|source| {
                match source.raw_os_error() {
                    Some(libc::EPERM) => {
                        AttachError::CgroupTaken { program, path: cgroup.to_owned() }
                    }
                    // What the kernel says of a descriptor that is no cgroup's.
                    Some(libc::EBADF) => AttachError::Cgroup { path: cgroup.to_owned(), source },
                    _ => AttachError::Link { program, path, source },
                }
            })?;
        }
        self.attach_release(target);
        info!(cgroup = %cgroup.display(), "socket programs attached");
        Ok(())
    }

    /// Without it everything is translated as with it, so that its failure is told and no more.
    fn attach_release(&mut self, cgroup: Target<'_>) {
        let (name, attach_type) = RELEASE_PROGRAM;
        let Some(program) = self.loaded.programs.get(name) else { return };
        let path = self.pins.links.join(name);
        let attached = link::ensure(program.as_fd(), cgroup, attach_type, &path);
        self.loaded.no_release = attached.err().map(|error| format!("{name}: {error}"));
    }

    /// Why closed sockets stay among [`Maps::connections`] until others take their place, where
    /// they do.
    pub fn no_release(&self) -> Option<&str> {
        self.loaded.no_release.as_deref()
    }

    /// Attaches to an interface by which clients outside arrive. Idempotent.
    /// The interface is looked up in the network namespace of the calling thread.
    pub fn attach_uplink(&mut self, uplink: IfIndex) -> Result<(), AttachError> {
        // Whoever answers must be translated before anyone asks.
        self.attach_interface(EGRESS, uplink)?;
        self.attach_interface(UPLINK, uplink)
    }

    /// Idempotent; an interface that is gone is detached.
    pub fn detach_uplink(&mut self, uplink: IfIndex) -> Result<(), AttachError> {
        detach_interface(&self.pins, UPLINK, uplink)?;
        detach_interface(&self.pins, EGRESS, uplink)
    }

    /// Attaches to the host side of a pod's veth, and says whose replies are translated there.
    /// Idempotent; other addresses replace the earlier ones.
    pub fn attach_pod(&mut self, veth: IfIndex, pod: PodAddresses) -> Result<(), AttachError> {
        let value = PodValue {
            v4: pod.v4.map(Into::into).unwrap_or_default(),
            v6: pod.v6.map(Into::into).unwrap_or_default(),
        };
        // The addresses first: without them the program lets all pass untranslated.
        self.loaded.maps.pods.upsert(&veth.0, &value)?;
        self.attach_interface(POD, veth)
    }

    /// Idempotent; an interface that is gone is detached.
    pub fn detach_pod(&mut self, veth: IfIndex) -> Result<(), AttachError> {
        detach_interface(&self.pins, POD, veth)?;
        self.loaded.maps.pods.delete(&veth.0)?;
        Ok(())
    }

    /// The veths to which a pod program is attached, also by an earlier process. Those that no
    /// longer exist are among them until they are detached.
    pub fn attached_pods(&self) -> Result<BTreeSet<IfIndex>, AttachError> {
        attached(&self.pins, POD)
    }

    /// The same for uplinks.
    pub fn attached_uplinks(&self) -> Result<BTreeSet<IfIndex>, AttachError> {
        attached(&self.pins, UPLINK)
    }

    /// Removes every pin of this ABI version under `pin_dir`, and with the pins programs and
    /// maps. Services end. Nothing pinned is no error.
    pub fn remove(pin_dir: &Path) -> Result<(), AttachError> {
        let pins = Pins::new(pin_dir);
        for kind in [POD, UPLINK, EGRESS] {
            for ifindex in attached(&pins, kind)? {
                detach_interface(&pins, kind, ifindex)?;
            }
        }
        for (program, _) in CGROUP_PROGRAMS.into_iter().chain([RELEASE_PROGRAM]) {
            let path = pins.links.join(program);
            link::remove(&path).map_err(|source| AttachError::Link { program, path, source })?;
        }
        let unpin = |path: PathBuf| {
            object::unpin(&path).map_err(|source| AttachError::Pin { path, source })
        };
        for entry in list(&pins.maps)? {
            unpin(entry)?;
        }
        unpin(pins.maps)?;
        unpin(pins.links)?;
        unpin(pins.version)
    }

    fn attach_interface(&mut self, kind: Kind, ifindex: IfIndex) -> Result<(), AttachError> {
        let program = kind.program;
        let path = kind.path(&self.pins, ifindex);
        if self.tcx != Some(false) && !path.is_dir() {
            let fd = self.loaded.programs[program].as_fd();
            let target = Target::Interface(ifindex.0);
            match link::ensure(fd, target, kind.tcx, &path) {
                Ok(()) => {
                    self.tcx = Some(true);
                    return Ok(());
                }
                // A kernel that does not know the kind of attachment. One that does has no other
                // reason to find our arguments invalid.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && self.tcx.is_none() => {
                    info!("the kernel has no TCX, clsact is used");
                    self.tcx = Some(false);
                }
                Err(source) => return Err(AttachError::Interface { program, ifindex, source }),
            }
        }
        let error = |source| AttachError::Program { program, source: Box::new(source) };
        let classifier = self.classifier(program).map_err(error)?;
        clsact::ensure(classifier, kind.clsact, ifindex).map_err(error)?;
        // The folder says what a link would: that we are attached there.
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(AttachError::Pin { path, source: error })
            }
            _ => Ok(()),
        }
    }
}

fn detach_interface(pins: &Pins, kind: Kind, ifindex: IfIndex) -> Result<(), AttachError> {
    let program = kind.program;
    let path = kind.path(pins, ifindex);
    let removed = if path.is_dir() {
        clsact::remove(kind.clsact, ifindex)
            .map_err(|source| AttachError::Program { program, source: Box::new(source) })?;
        object::unpin(&path)
    } else {
        link::remove(&path)
    };
    removed.map_err(|source| AttachError::Link { program, path, source })
}

fn attached(pins: &Pins, kind: Kind) -> Result<BTreeSet<IfIndex>, AttachError> {
    let ifindex = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix(kind.prefix)?.parse().ok().map(IfIndex)
    };
    Ok(list(&pins.links)?.iter().filter_map(ifindex).collect())
}

/// What is in a folder; nothing where there is no folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, AttachError> {
    let error = |source| AttachError::Pin { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    entries.map(|entry| Ok(entry.map_err(error)?.path())).collect()
}
