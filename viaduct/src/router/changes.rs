#![expect(unsafe_code, reason = "the inotify descriptor is registered with the reactor")]
//! Whether a file, or one that it names, has become another: written in place, renamed over, or reached
//! by another link.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, timeout_at},
};

use super::hops;

/// Whoever writes a file writes others beside it, or the same again.
const QUIET: Duration = Duration::from_millis(200);
/// Where it never gets quiet.
const LATEST: Duration = Duration::from_secs(2);

const MASK: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_MODIFY);

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What was seen last of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Somebody writes it, and has not closed it: read now, it may be half of a file.
    Writing,
    Whole,
}

/// A watch on every folder in which a name on the way to the file is looked up.
pub(super) struct Changes {
    path: PathBuf,
    /// What else counts as the file. One of these that cannot be watched is not.
    others: Vec<PathBuf>,
    events: AsyncFd<Descriptor>,
    names: HashMap<WatchDescriptor, (PathBuf, BTreeSet<OsString>)>,
    seen: Option<Seen>,
}

impl Changes {
    pub(super) fn of(path: &Path, others: Vec<PathBuf>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map_err(|errno| wrong("fs.inotify.max_user_instances may be used up", errno))?;
        // SAFETY: the descriptor is owned, and always the same one.
        let events = unsafe { AsyncFd::register(Descriptor(inotify)) }?;
        let path = path.to_owned();
        let mut changes =
            Self { path, others: Vec::new(), events, names: HashMap::new(), seen: None };
        changes.watch(others)?;
        Ok(changes)
    }

    /// Looks for the file and the others anew: what was a link to one folder may be one to another.
    pub(super) fn watch(&mut self, others: Vec<PathBuf>) -> io::Result<()> {
        self.others = others;
        let mut hops = self.hops()?;
        loop {
            self.watch_all(&hops)?;
            // Another link may have come before its folder was watched.
            let again = self.hops()?;
            if again == hops {
                return Ok(());
            }
            hops = again;
        }
    }

    /// Those to the file end with one that has to be watched.
    fn hops(&self) -> io::Result<Vec<(hops::Hop, bool)>> {
        let hops = hops::of(&self.path)?;
        let last = hops.len().saturating_sub(1);
        let hops = hops.into_iter().enumerate().map(|(at, hop)| (hop, at == last));
        let others = self.others.iter().filter_map(|path| hops::of(path).ok()).flatten();
        Ok(hops.chain(others.map(|hop| (hop, false))).collect())
    }

    fn watch_all(&mut self, hops: &[(hops::Hop, bool)]) -> io::Result<()> {
        let inotify = &self.events.get_ref().0;
        let mut names = HashMap::<_, (PathBuf, BTreeSet<_>)>::new();
        for ((folder, name), is_needed) in hops {
            match inotify.add_watch(folder, MASK) {
                Ok(watch) => {
                    let watched = names.entry(watch).or_insert((folder.clone(), BTreeSet::new()));
                    watched.1.insert(name.clone());
                }
                // A folder on the way need not be readable for the file to be.
                Err(_) if !is_needed => {}
                Err(errno) => return Err(wrong(&folder.display().to_string(), errno)),
            }
        }
        for watch in self.names.keys().filter(|watch| !names.contains_key(watch)) {
            // The kernel has removed it where its folder is gone.
            let _gone = inotify.rm_watch(*watch);
        }
        self.names = names;
        Ok(())
    }

    /// Ends when the file may be another, and has been let alone for a moment. To be dropped at
    /// any time: nothing is forgotten.
    pub(super) async fn next(&mut self) -> io::Result<()> {
        let mut latest = None;
        loop {
            let until = match self.seen {
                Some(Seen::Whole) => {
                    let now = Instant::now();
                    Some((now + QUIET).min(*latest.get_or_insert(now + LATEST)))
                }
                Some(Seen::Writing) | None => None,
            };
            let Some(until) = until else {
                self.more().await?;
                continue;
            };
            match timeout_at(until, self.more()).await {
                Ok(more) => more?,
                Err(_elapsed) => {
                    self.seen = None;
                    return Ok(());
                }
            }
        }
    }

    /// Whether something has happened to the file by now: what was read meanwhile may be a half.
    /// [`Changes::next`] tells when it is time to read again.
    pub(super) fn disturbed(&mut self) -> io::Result<bool> {
        self.take()?;
        Ok(self.seen.is_some())
    }

    /// Waits for some event, about the file or not.
    async fn more(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            ready.clear_ready();
            if self.take()? {
                return Ok(());
            }
        }
    }

    /// Takes the events there are; false where there is none.
    fn take(&mut self) -> io::Result<bool> {
        let mut any = false;
        loop {
            match self.events.get_ref().0.read_events() {
                Ok(batch) => {
                    any = true;
                    for event in &batch {
                        self.seen = self.see(event).or(self.seen);
                    }
                }
                Err(nix::Error::EAGAIN) => return Ok(any),
                Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn see(&self, event: &InotifyEvent) -> Option<Seen> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return Some(Seen::Whole);
        }
        let (folder, names) = self.names.get(&event.wd)?;
        let name = event.name.as_deref().filter(|name| names.contains(*name))?;
        let created = event.mask.contains(AddWatchFlags::IN_CREATE);
        let written = event.mask.contains(AddWatchFlags::IN_MODIFY);
        let writing = written || created && is_written(folder, name);
        Some(if writing { Seen::Writing } else { Seen::Whole })
    }
}

/// A file of one name was made to be written, and will be closed; a link, a folder or a second name
/// of a file is what it is from the beginning.
fn is_written(folder: &Path, name: &OsStr) -> bool {
    let found = fs::symlink_metadata(folder.join(name));
    found.is_ok_and(|found| found.is_file() && found.nlink() == 1)
}

fn wrong(what: &str, errno: nix::Error) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::symlink};

    use tokio::time::timeout;

    use super::*;

    /// Twice what may be told late, and far more than a machine under load takes.
    const SOON: Duration = Duration::from_secs(20);
    /// An event about another file would have been told by then.
    const NEVER: Duration = Duration::from_millis(600);

    async fn told(changes: &mut Changes) {
        timeout(SOON, changes.next()).await.expect("nothing was seen").unwrap();
        changes.watch(Vec::new()).unwrap();
    }

    #[tokio::test]
    async fn a_file_is_another_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("bgp.yaml"), "one").unwrap();
        let mut changes = Changes::of(&at("bgp.yaml"), Vec::new()).unwrap();
        // In place.
        fs::write(at("bgp.yaml"), "two").unwrap();
        told(&mut changes).await;
        // As editors do.
        fs::write(at(".bgp.yaml.swp"), "three").unwrap();
        fs::rename(at(".bgp.yaml.swp"), at("bgp.yaml")).unwrap();
        told(&mut changes).await;
        // Others do not count.
        fs::write(at("other.yaml"), "").unwrap();
        assert!(timeout(NEVER, changes.next()).await.is_err());
        // As long as it is written it is not read, whatever else happens.
        fs::remove_file(at("bgp.yaml")).unwrap();
        let mut file = fs::File::create(at("bgp.yaml")).unwrap();
        file.write_all(b"ha").unwrap();
        assert!(timeout(NEVER, changes.next()).await.is_err());
        assert!(changes.disturbed().unwrap());
        file.write_all(b"lf").unwrap();
        drop(file);
        told(&mut changes).await;
        assert!(!changes.disturbed().unwrap());
    }

    #[tokio::test]
    async fn links_and_folders_that_become_others_count() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("bgp.yaml"), version).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/bgp.yaml", at("bgp.yaml")).unwrap();
        let mut changes = Changes::of(&at("bgp.yaml"), Vec::new()).unwrap();
        // As the kubelet does.
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        told(&mut changes).await;
        // The folder that is reached now is watched, the other no more.
        fs::write(at("..1/bgp.yaml"), "").unwrap();
        assert!(timeout(NEVER, changes.next()).await.is_err());
        fs::write(at("..2/bgp.yaml"), "").unwrap();
        told(&mut changes).await;
        // `ln -sf`, and a file that comes only later.
        fs::remove_file(at("bgp.yaml")).unwrap();
        symlink("later/bgp.yaml", at("bgp.yaml")).unwrap();
        told(&mut changes).await;
        fs::create_dir(at("later")).unwrap();
        told(&mut changes).await;
        fs::write(at("later/bgp.yaml"), "").unwrap();
        told(&mut changes).await;
    }
}
