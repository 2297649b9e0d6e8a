//! From one ABI version to another without a gap.
//!
//! A binary of another version finds the folder of the one before it beside its own. It takes over
//! in an order that may be broken off anywhere, and that the next start takes up again:
//!
//! 1. The maps of this version are made in a folder aside. What has the same layout and meaning
//!    becomes the very same map under a second pin, so that nothing is lost that the programs write
//!    meanwhile; what has not is converted, version by version ([`steps`]).
//! 2. The programs are loaded on them. Until here nothing has changed for the version at work, and
//!    where something fails it stays at work.
//! 3. The folder gets its name, in one step. From here on it holds all that it should.
//! 4. Each link of the other version moves to this folder, in one step, and then gets the new
//!    program, in one step too: never are there two, and never none ([`links`]).
//! 5. The other folder goes when no link is left in it.
//!
//! The maps of a newer version are not read, since nobody knows what is in them.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya_obj::Object;
use ebpf_abi::map;
use tracing::{info, warn};

use crate::{LoadError, MapError, object::Pins, sys};

pub(crate) mod links;
mod raw;
mod steps;
mod v1;

use raw::{Contents, Shape};

/// A name that no version has.
const ASIDE: &str = "aside";

/// Every map that is pinned, in the order in which they are read: whoever writes them enters a
/// backend before a table names it, and a table before a service does.
const MAPS: [&str; 13] = [
    map::SERVICES,
    map::MAGLEV,
    map::BACKENDS,
    map::ADDRESSES,
    map::PODS,
    map::CONFIG,
    map::CONNECTIONS,
    map::SOCKET_ORIGINS,
    map::SOCKET_CHOICES,
    map::FLOWS_EMBRYONIC,
    map::FLOWS_ESTABLISHED,
    map::REPLIES,
    map::COUNTERS,
];

/// What became of the maps of another ABI version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Takeover {
    /// The version that was at work.
    pub from: u32,
    /// Maps that are at work as they are.
    pub shared: Vec<&'static str>,
    /// Maps that were made anew, with the entries they were given.
    pub converted: BTreeMap<&'static str, usize>,
    /// What flows and services may notice.
    pub lost: Vec<Loss>,
}

/// Entries that this version does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The version that had them.
    pub from: u32,
    pub map: String,
    pub entries: usize,
    pub why: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, map, entries, why } = self;
        write!(f, "ABI version {from}: {entries} entries of map {map} were lost: {why}")
    }
}

/// The maps of this version aside, before programs use them.
#[derive(Debug)]
pub(crate) struct Aside {
    pub(crate) pins: Pins,
    contents: Contents,
    report: Takeover,
}

/// The folder of maps that are not at work yet.
pub(crate) fn aside(pin_dir: &Path) -> Pins {
    Pins::at(pin_dir.join(ASIDE), ebpf_abi::ABI_VERSION)
}

/// The folders of other versions, from the oldest to the newest.
pub(crate) fn others(pin_dir: &Path, own: u32) -> io::Result<Vec<Pins>> {
    let entries = match fs::read_dir(pin_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut versions = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix('v')).map(str::parse);
        if let Some(Ok(number)) = number {
            versions.push(number);
        }
    }
    versions.sort_unstable();
    versions.retain(|version| *version != own);
    Ok(versions.into_iter().map(|version| Pins::new(pin_dir, version)).collect())
}

/// Lays the maps of the version before this one aside. `None` where this version is at work
/// already, or no other is: its maps are then those in its folder.
pub(crate) fn lay_aside(
    pin_dir: &Path,
    own: &Pins,
    others: &[Pins],
    object: &[u8],
) -> Result<Option<Aside>, LoadError> {
    let pins = aside(pin_dir);
    // Of someone who did not come to the end.
    pins.remove_maps().map_err(|(path, source)| LoadError::PinDir { path, source })?;
    // A folder without a link was given its name, and then nothing came of it: the version before
    // has gone on since, and knows better.
    if others.is_empty() || own.has_links() {
        return Ok(None);
    }
    pins.create()?;
    let mut aside = Aside { pins, contents: Contents::new(), report: Takeover::default() };
    let before = others.iter().rfind(|other| other.number < own.number);
    for newer in others.iter().filter(|other| other.number > own.number) {
        aside.report.from = newer.number;
        aside.lose_newer(newer)?;
    }
    if let Some(before) = before {
        aside.report.from = before.number;
        let shapes = shapes(object)?;
        for name in MAPS {
            let path = before.maps.join(name);
            if let Some(map) = open(name, &path)? {
                aside.take(name, &map, shapes.get(name), before.number)?;
            }
        }
        let losses = steps::convert(&mut aside.contents, before.number, own.number);
        aside.report.lost.extend(losses);
    }
    Ok(Some(aside))
}

impl Aside {
    /// The entries that each map must have room for.
    pub(crate) fn needed(&self) -> BTreeMap<&'static str, u32> {
        let needed = |map: &raw::Map| u32::try_from(map.room()).unwrap_or(u32::MAX);
        self.contents.iter().map(|(name, map)| (*name, needed(map))).collect()
    }

    /// Fills the maps, which have been made meanwhile, and gives the folder its name.
    pub(crate) fn settle(mut self, own: &Pins) -> Result<Takeover, LoadError> {
        for (name, contents) in &self.contents {
            let Some(map) = open(name, &self.pins.maps.join(name))? else { continue };
            let error = |source| MapError::Io { map: name, source };
            let written = contents.write(map.as_fd()).map_err(error)?;
            self.report.converted.insert(name, written);
            let missing = contents.entries() - written;
            if missing > 0 {
                let why = "this version has no room for them";
                self.report.lost.push(Loss {
                    from: self.report.from,
                    map: (*name).to_owned(),
                    entries: missing,
                    why: why.to_owned(),
                });
            }
        }
        own.remove_maps().map_err(|(path, source)| LoadError::PinDir { path, source })?;
        let renamed = fs::rename(&self.pins.version, &own.version);
        renamed.map_err(|source| LoadError::PinDir { path: own.version.clone(), source })?;
        self.report.tell(own.number);
        Ok(self.report)
    }

    fn take(
        &mut self,
        name: &'static str,
        map: &OwnedFd,
        ours: Option<&Shape>,
        from: u32,
    ) -> Result<(), LoadError> {
        let error = |source| MapError::Io { map: name, source };
        let theirs = Shape::of(map.as_fd()).map_err(error)?;
        let changed = steps::changed(name, from, self.pins.number);
        let same = ours.is_some_and(|ours| !changed && theirs.is_like(ours));
        if same && ours.is_some_and(|ours| theirs.replaces(ours)) {
            let path = self.pins.maps.join(name);
            sys::object_pin(map.as_fd(), &path)
                .map_err(|source| LoadError::PinDir { path, source })?;
            self.report.shared.push(name);
            return Ok(());
        }
        if same || (changed && ours.is_some()) {
            let contents = raw::Map::read(map.as_fd(), &theirs).map_err(error)?;
            self.contents.insert(name, contents);
            return Ok(());
        }
        let why = match ours {
            Some(_) => "its layout is another",
            None => "this version has no such map",
        };
        self.lose(name.to_owned(), map, from, why.to_owned())
    }

    fn lose_newer(&mut self, newer: &Pins) -> Result<(), LoadError> {
        let why = format!("it is newer than {}", self.pins.number);
        for name in MAPS {
            if let Some(map) = open(name, &newer.maps.join(name))? {
                self.lose(name.to_owned(), &map, newer.number, why.clone())?;
            }
        }
        Ok(())
    }

    fn lose(&mut self, map: String, fd: &OwnedFd, from: u32, why: String) -> Result<(), LoadError> {
        let entries = raw::count(fd.as_fd())
            .map_err(|source| LoadError::PinDir { path: PathBuf::from(&map), source })?;
        if entries > 0 {
            self.report.lost.push(Loss { from, map, entries, why });
        }
        Ok(())
    }
}

impl Takeover {
    fn tell(&self, own: u32) {
        let shared = self.shared.join(",");
        info!(from = self.from, to = own, shared, converted = ?self.converted, "maps taken over");
        for Loss { from, map, entries, why } in &self.lost {
            warn!(from, map, entries, why, "entries lost");
        }
    }
}

fn open(name: &'static str, path: &Path) -> Result<Option<OwnedFd>, MapError> {
    sys::object_open(path).map_err(|source| MapError::Io { map: name, source })
}

/// The maps as this version's object makes them.
fn shapes(object: &[u8]) -> Result<BTreeMap<String, Shape>, LoadError> {
    let object = Object::parse(object)
        .map_err(|error| LoadError::Object(Box::new(aya::EbpfError::ParseError(error))))?;
    Ok(object.maps.iter().map(|(name, map)| (name.clone(), Shape::defined(map))).collect())
}
