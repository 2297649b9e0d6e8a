//! Which images are in use, and the removal of those that are not.
//!
//! A store may serve several nodes. Each writes down what its pods may start from, so that nobody
//! removes it, not even while that node's kubelet is down:
//!
//! ```text
//! STORE/users/<node>.json   references that pods of the node name
//! STORE/used/<name>         its time is that of the image's last use
//! STORE/pinned/<name>       never removed
//! ```
//!
//! Whoever removes holds the lock of the store alone, whoever writes down a use or imports shares
//! it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use nix::sys::statvfs::statvfs;
use tracing::{info, warn};

use super::{
    GcPolicy, ImageError,
    gc::{Candidate, Space, to_remove},
    list, normalize, sha256_hex,
    store::{layer_dir, record_path},
};

/// Files of a layer that are looked at for its size; a larger one counts as no larger.
const FILES_MAX: usize = 1_000_000;

/// What the pods of one node may start from.
#[derive(Debug)]
pub(crate) struct ImageUse {
    store: PathBuf,
    node: String,
    by_pod: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl ImageUse {
    pub(crate) fn new(store: PathBuf, node: &str) -> Self {
        Self { store, node: node.to_owned(), by_pod: Mutex::default() }
    }

    /// Takes the place of an earlier process, with the pods that it has left: their uids, and what
    /// they name.
    pub(crate) fn begin(&self, pods: impl IntoIterator<Item = (String, Vec<String>)>) {
        self.change(true, |by_pod| {
            by_pod.extend(pods.into_iter().map(|(uid, names)| (uid, references(&names))));
        });
    }

    /// Writes down what a pod names before anything is started from it.
    pub(crate) fn claim(&self, uid: &str, names: &[String]) {
        self.change(false, |by_pod| {
            by_pod.insert(uid.to_owned(), references(names));
        });
    }

    /// Nothing is left of the pod.
    pub(crate) fn release(&self, uid: &str) {
        self.change(false, |by_pod| {
            by_pod.remove(uid);
        });
    }

    fn change(&self, always: bool, change: impl FnOnce(&mut BTreeMap<String, BTreeSet<String>>)) {
        let mut by_pod = self.by_pod.lock().unwrap_or_else(PoisonError::into_inner);
        let before = union(&by_pod);
        change(&mut by_pod);
        let after = union(&by_pod);
        if before == after && !always {
            return;
        }
        let write = || -> Result<(), ImageError> {
            let _lock = lock_shared(&self.store)?;
            for reference in before.symmetric_difference(&after) {
                touch(&self.store, reference)?;
            }
            let path = self.store.join("users").join(format!("{}.json", self.node));
            crate::disk::write_json(&path, &after).map_err(ImageError::io(&path))
        };
        if let Err(error) = write() {
            warn!(%error, "use of images not written down");
        }
    }
}

/// A name that is none leads to no image.
fn references(names: &[String]) -> BTreeSet<String> {
    names.iter().filter_map(|name| normalize(name).ok()).collect()
}

fn union(by_pod: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    by_pod.values().flatten().cloned().collect()
}

/// Keeps an image whatever happens, or lets it go again.
pub fn pin(store: &Path, name: &str, pinned: bool) -> Result<(), ImageError> {
    let path = mark(store, "pinned", &normalize(name)?);
    match pinned {
        true => crate::disk::write_atomically(&path, b"", 0o644),
        false => crate::disk::remove(&path),
    }
    .map_err(ImageError::io(&path))
}

/// Whether the image is kept whatever happens.
pub fn is_pinned(store: &Path, reference: &str) -> bool {
    mark(store, "pinned", reference).exists()
}

/// Notes that the image was used now, or imported.
pub(super) fn touch(store: &Path, reference: &str) -> Result<(), ImageError> {
    let path = mark(store, "used", reference);
    crate::disk::write_atomically(&path, b"", 0o644).map_err(ImageError::io(&path))
}

fn mark(store: &Path, kind: &str, reference: &str) -> PathBuf {
    store.join(kind).join(sha256_hex(reference.as_bytes()))
}

/// Shared by those who use and import.
pub(super) fn lock_shared(store: &Path) -> Result<File, ImageError> {
    let file = open_lock(store)?;
    file.lock_shared().map_err(ImageError::io(store))?;
    Ok(file)
}

/// The folder itself is the lock.
fn open_lock(store: &Path) -> Result<File, ImageError> {
    fs::create_dir_all(store).map_err(ImageError::io(store))?;
    File::open(store).map_err(ImageError::io(store))
}

/// Removes images that nobody uses, where the disk is fuller than it may be. Gives the references
/// that were removed.
pub fn collect(store: &Path, policy: &GcPolicy) -> Result<Vec<String>, ImageError> {
    let Some(_excess) = space(store)?.excess(policy) else { return Ok(Vec::new()) };
    let lock = open_lock(store)?;
    lock.lock().map_err(ImageError::io(store))?;
    // Somebody else may have made room meanwhile.
    let Some(excess) = space(store)?.excess(policy) else { return Ok(Vec::new()) };
    let candidates = candidates(store)?;
    let layers: BTreeSet<&String> = candidates.iter().flat_map(|one| &one.layers).collect();
    let layer_bytes = layers
        .into_iter()
        .map(|layer| (layer.clone(), bytes_below(&layer_dir(store, layer))))
        .collect();
    let removed = to_remove(&candidates, &layer_bytes, excess, policy, SystemTime::now());
    if removed.is_empty() {
        warn!(excess, "the disk of the images is full, and every image is in use, pinned or new");
        return Ok(removed);
    }
    for reference in &removed {
        info!(reference, "image removed, the disk is full");
        for path in [
            record_path(store, reference),
            mark(store, "used", reference),
            mark(store, "pinned", reference),
        ] {
            crate::disk::remove(&path).map_err(ImageError::io(&path))?;
        }
    }
    let trash = take_orphans(store)?;
    // What takes long is done while others may go on.
    drop(lock);
    trash.close().map_err(ImageError::io(store))?;
    Ok(removed)
}

fn space(store: &Path) -> Result<Space, ImageError> {
    fs::create_dir_all(store).map_err(ImageError::io(store))?;
    let found = statvfs(store).map_err(|errno| ImageError::io(store)(errno.into()))?;
    let block = found.fragment_size();
    // As df counts: blocks that only root may use are no room.
    let used = found.blocks().saturating_sub(found.blocks_free());
    let usable = used.saturating_add(found.blocks_available());
    Ok(Space { total_bytes: usable * block, used_bytes: used * block })
}

fn candidates(store: &Path) -> Result<Vec<Candidate>, ImageError> {
    let in_use = in_use(store)?;
    let candidate = |image: super::Image| {
        let record = record_path(store, &image.reference);
        // One that was imported before uses were written down.
        let used = modified(&mark(store, "used", &image.reference)).or_else(|| modified(&record));
        let stays = in_use.contains(&image.reference) || is_pinned(store, &image.reference);
        Candidate {
            last_used: used.unwrap_or(SystemTime::UNIX_EPOCH),
            reference: image.reference,
            layers: image.layers,
            stays,
        }
    };
    Ok(list(store)?.into_iter().map(candidate).collect())
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// By the word of every node; one that cannot be read is a reason to remove nothing.
fn in_use(store: &Path) -> Result<BTreeSet<String>, ImageError> {
    let dir = store.join("users");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(source) => return Err(ImageError::Io { path: dir, source }),
    };
    let mut references = BTreeSet::new();
    for entry in entries {
        let path = entry.map_err(ImageError::io(&dir))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let named: Option<BTreeSet<String>> =
                crate::disk::read_json(&path).map_err(ImageError::io(&path))?;
            references.extend(named.unwrap_or_default());
        }
    }
    Ok(references)
}

/// Moves layers that no image has out of the way.
fn take_orphans(store: &Path) -> Result<tempfile::TempDir, ImageError> {
    let scratch = store.join("tmp");
    fs::create_dir_all(&scratch).map_err(ImageError::io(&scratch))?;
    let trash = tempfile::TempDir::new_in(&scratch).map_err(ImageError::io(&scratch))?;
    let wanted: BTreeSet<String> =
        list(store)?.into_iter().flat_map(|image| image.layers).collect();
    let layers = store.join("layers");
    for entry in fs::read_dir(&layers).map_err(ImageError::io(&layers))? {
        let entry = entry.map_err(ImageError::io(&layers))?;
        let name = entry.file_name();
        if !wanted.contains(name.to_string_lossy().as_ref()) {
            let target = trash.path().join(&name);
            fs::rename(entry.path(), &target).map_err(ImageError::io(&target))?;
        }
    }
    Ok(trash)
}

/// On the disk, hard links counted as often as they appear.
fn bytes_below(dir: &Path) -> u64 {
    let mut bytes = 0_u64;
    let mut files = 0;
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
            files += 1;
            if files >= FILES_MAX {
                return bytes;
            }
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        image::{find, import, pack_static},
        runtime::{bind_tmpfs, unmount},
    };

    /// A disk of 16 MB that goes with the value.
    struct Disk(tempfile::TempDir);

    impl Disk {
        fn new() -> Self {
            assert!(nix::unistd::geteuid().is_root(), "mounting needs root");
            let disk = Self(tempfile::tempdir().unwrap());
            bind_tmpfs(disk.0.path(), "size=16m").unwrap();
            disk
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            unmount(self.0.path()).unwrap();
        }
    }

    /// An image of so many megabytes of its own.
    fn image(store: &Path, name: &str, megabytes: usize) {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join(name);
        let content = [name.as_bytes(), &vec![7; megabytes << 20]].concat();
        fs::write(&program, content).unwrap();
        let archive = scratch.path().join("archive.tar");
        pack_static(&program, name, &archive).unwrap();
        import(&archive, store).unwrap();
    }

    fn names(store: &Path) -> Vec<String> {
        let images = list(store).unwrap();
        images.iter().map(|image| image.reference.rsplit('/').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_full_disk_loses_the_images_that_nobody_uses() {
        let disk = Disk::new();
        let store = disk.0.path().join("images");
        let policy = GcPolicy { high_percent: 70, low_percent: 50, min_age: Duration::ZERO };
        for (name, megabytes) in [("pinned", 2), ("used", 2), ("old", 3), ("newer", 3)] {
            image(&store, name, megabytes);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(collect(&store, &policy).unwrap(), [""; 0], "there is room");
        pin(&store, "pinned", true).unwrap();
        let here = ImageUse::new(store.clone(), "n1");
        here.begin([("u1".to_owned(), vec!["used".to_owned()])]);
        image(&store, "last", 3);
        assert_eq!(
            collect(&store, &policy).unwrap(),
            ["docker.io/library/old:latest", "docker.io/library/newer:latest",]
        );
        assert_eq!(names(&store), ["last:latest", "pinned:latest", "used:latest"]);
        assert_eq!(fs::read_dir(store.join("layers")).unwrap().count(), 3);
        assert_eq!(fs::read_dir(store.join("tmp")).unwrap().count(), 0);
        assert_eq!(collect(&store, &policy).unwrap(), [""; 0]);
        assert_eq!(find(&store, "old").unwrap(), None);

        // A pod of another node.
        let policy = GcPolicy { high_percent: 1, low_percent: 0, ..policy };
        let other = ImageUse::new(store.clone(), "n2");
        other.claim("u2", &["last".to_owned()]);
        assert_eq!(collect(&store, &policy).unwrap(), [""; 0], "all are in use or pinned");
        other.release("u2");
        let young = GcPolicy { min_age: Duration::from_secs(600), ..policy };
        assert_eq!(collect(&store, &young).unwrap(), [""; 0], "it was used until now");
        assert_eq!(collect(&store, &policy).unwrap(), ["docker.io/library/last:latest"]);
        pin(&store, "pinned", false).unwrap();
        here.release("u1");
        assert_eq!(collect(&store, &policy).unwrap().len(), 2);
    }
}
