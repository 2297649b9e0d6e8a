use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    ffi::OsStr,
    fmt::Debug,
    fs::{self, File},
    io, mem,
    net::{Ipv4Addr, Ipv6Addr},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use ebpf_abi::{ABI_VERSION, PodValue};
use tracing::{info, warn};
use viaduct_net::IfIndex;

use crate::{
    AttachError, LoadError, Maps, Options, Takeover, clsact,
    link::{self, Target},
    object::{
        self, CGROUP_PROGRAMS, EGRESS_PROGRAM, Loaded, POD_PROGRAM, Pins, RELEASE_PROGRAM,
        UPLINK_PROGRAM,
    },
    sys,
    takeover::{self, links},
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
    fn name(&self, ifindex: IfIndex) -> String {
        format!("{}{ifindex}", self.prefix)
    }

    fn path(&self, pins: &Pins, ifindex: IfIndex) -> PathBuf {
        pins.links.join(self.name(ifindex))
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
    /// Those by which other versions were attached when this was loaded, as far as links are left in
    /// them. What comes later is the next version's affair: it takes over from us.
    others: Vec<Pins>,
    takeover: Option<Takeover>,
    pub(crate) loaded: Loaded,
    /// Whether the kernel has TCX; learned at the first interface.
    tcx: Option<bool>,
}

impl DataPlane {
    /// Loads the programs, and makes, adopts or takes over their maps. Attaches nothing.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let pin_dir = &options.pin_dir;
        let pins = Pins::new(pin_dir, ABI_VERSION);
        let pin_error = |(path, source)| LoadError::PinDir { path, source };
        let others = takeover::others(pin_dir, ABI_VERSION)
            .map_err(|source| pin_error((pin_dir.clone(), source)))?;
        let (loaded, takeover) = match takeover::lay_aside(pin_dir, &pins, &others, object::OBJECT)?
        {
            Some(aside) => {
                let loaded = object::load(&aside.pins, &options.sizes, &aside.needed())?;
                (loaded, Some(aside.settle(&pins)?))
            }
            None => (object::load(&pins, &options.sizes, &BTreeMap::new())?, None),
        };
        let others = links::sweep(others).map_err(pin_error)?;
        Ok(Self { pins, others, takeover, loaded, tcx: None })
    }

    /// What became of the maps of another ABI version, where this process has taken them over.
    pub fn takeover(&self) -> Option<&Takeover> {
        self.takeover.as_ref()
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
            self.claim(program, program)?;
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
        if !self.others.is_empty() {
            self.take_rest();
        }
        self.sweep()
    }

    /// Without it everything is translated as with it, so that its failure is told and no more.
    fn attach_release(&mut self, cgroup: Target<'_>) {
        let (name, attach_type) = RELEASE_PROGRAM;
        let Some(program) = self.loaded.programs.get(name) else { return };
        let path = self.pins.links.join(name);
        let attached = links::claim(&self.pins, &self.others, name)
            .and_then(|()| link::ensure(program.as_fd(), cgroup, attach_type, &path));
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
        self.attach_interface(UPLINK, uplink)?;
        self.sweep()
    }

    /// Idempotent; an interface that is gone is detached.
    pub fn detach_uplink(&mut self, uplink: IfIndex) -> Result<(), AttachError> {
        self.detach_interface(UPLINK, uplink)?;
        self.detach_interface(EGRESS, uplink)?;
        self.sweep()
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
        self.attach_interface(POD, veth)?;
        self.sweep()
    }

    /// Idempotent; an interface that is gone is detached.
    pub fn detach_pod(&mut self, veth: IfIndex) -> Result<(), AttachError> {
        self.detach_interface(POD, veth)?;
        self.loaded.maps.pods.delete(&veth.0)?;
        self.sweep()
    }

    /// The veths to which a pod program is attached, also by an earlier process or version. Those that no
    /// longer exist are among them until they are detached.
    pub fn attached_pods(&self) -> Result<BTreeSet<IfIndex>, AttachError> {
        self.attached(POD)
    }

    /// The same for uplinks.
    pub fn attached_uplinks(&self) -> Result<BTreeSet<IfIndex>, AttachError> {
        self.attached(UPLINK)
    }

    /// Removes every pin under `pin_dir`, of whatever ABI version, and with the pins programs and
    /// maps. Services end. Nothing pinned is no error.
    pub fn remove(pin_dir: &Path) -> Result<(), AttachError> {
        let own = Pins::new(pin_dir, ABI_VERSION);
        let others = takeover::others(pin_dir, ABI_VERSION)
            .map_err(|source| AttachError::Pin { path: pin_dir.to_owned(), source })?;
        let aside = takeover::aside(pin_dir);
        for pins in others.iter().chain([&own, &aside]) {
            for kind in [POD, UPLINK, EGRESS] {
                for ifindex in attached(pins, kind)? {
                    detach_interface(pins, kind, ifindex)?;
                }
            }
            remove_links(pins)?;
            pins.remove_maps().map_err(|(path, source)| AttachError::Pin { path, source })?;
        }
        Ok(())
    }

    /// Moves a link of another version here, where there is one.
    fn claim(&self, program: &'static str, name: &str) -> Result<(), AttachError> {
        links::claim(&self.pins, &self.others, name).map_err(|source| AttachError::Link {
            program,
            path: self.pins.links.join(name),
            source,
        })
    }

    /// Gives our programs to all that another version is attached to and nobody has asked for yet:
    /// what they read is kept by nobody any more. What fails is tried again with the next audit.
    fn take_rest(&mut self) {
        let failed = |name: &dyn Debug, error: AttachError| {
            warn!(link = ?name, error = &error as &dyn Error, "link not taken over");
        };
        for others in self.others.clone() {
            // Whoever answers first.
            for kind in [EGRESS, POD, UPLINK] {
                for ifindex in attached(&others, kind).unwrap_or_default() {
                    let path = kind.path(&others, ifindex);
                    let taken = match links::has_lost_interface(&path, ifindex.0) {
                        Ok(true) => detach_interface(&others, kind, ifindex),
                        _ => self.attach_interface(kind, ifindex),
                    };
                    if let Err(error) = taken {
                        failed(&path, error);
                    }
                }
            }
            // Of programs that this version does not have.
            let known = [POD.prefix, UPLINK.prefix, EGRESS.prefix];
            let of_interface = |path: &Path| {
                let name = path.file_name().and_then(OsStr::to_str);
                name.is_some_and(|name| known.iter().any(|prefix| name.starts_with(prefix)))
            };
            for path in object::list(&others.links).unwrap_or_default() {
                if !of_interface(&path)
                    && let Err(source) = link::remove(&path)
                {
                    warn!(link = %path.display(), error = &source as &dyn Error, "not detached");
                }
            }
        }
    }

    /// Removes the folders of other versions that have no link any more.
    fn sweep(&mut self) -> Result<(), AttachError> {
        let others = mem::take(&mut self.others);
        self.others =
            links::sweep(others).map_err(|(path, source)| AttachError::Pin { path, source })?;
        Ok(())
    }

    fn detach_interface(&self, kind: Kind, ifindex: IfIndex) -> Result<(), AttachError> {
        for pins in self.others.iter().chain([&self.pins]) {
            detach_interface(pins, kind, ifindex)?;
        }
        Ok(())
    }

    fn attached(&self, kind: Kind) -> Result<BTreeSet<IfIndex>, AttachError> {
        let mut all = BTreeSet::new();
        for pins in self.others.iter().chain([&self.pins]) {
            all.append(&mut attached(pins, kind)?);
        }
        Ok(all)
    }

    fn attach_interface(&mut self, kind: Kind, ifindex: IfIndex) -> Result<(), AttachError> {
        let program = kind.program;
        let path = kind.path(&self.pins, ifindex);
        self.claim(program, &kind.name(ifindex))?;
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
    let links = object::list(&pins.links)
        .map_err(|source| AttachError::Pin { path: pins.links.clone(), source })?;
    Ok(links.iter().filter_map(ifindex).collect())
}

/// Removes what is attached to no interface.
fn remove_links(pins: &Pins) -> Result<(), AttachError> {
    let error = |path: &Path, source| AttachError::Pin { path: path.to_owned(), source };
    for path in object::list(&pins.links).map_err(|source| error(&pins.links, source))? {
        link::remove(&path).map_err(|source| error(&path, source))?;
    }
    Ok(())
}
