//! The disk is full, and has room again: writes are refused with the reason meanwhile and go on
//! afterwards, in the same process; what was acknowledged is there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use control_store::{EmbeddedStore, List, Options, Store, StoreError};

/// A file system of its own, in memory and small.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(folder.path());
        assert!(mount.status().unwrap().success(), "cannot mount: is this root?");
        Self(folder)
    }

    /// Takes what is left; the file that has it.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = fs::File::create(&path).unwrap();
        for size in [64 << 10, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg(self.0.path()).status();
    }
}

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder.join("store"), Options::default()).unwrap()
}

async fn all(store: &EmbeddedStore) -> BTreeMap<String, Bytes> {
    let page = store.list(List::default()).await.unwrap();
    page.entries.iter().map(|entry| (entry.key.to_string(), entry.value.clone())).collect()
}

#[tokio::test]
async fn writes_go_on_when_there_is_room_again() {
    let small = Small::mount();
    let store = open(small.0.path());
    let mut written = BTreeMap::new();
    let mut watch = store.watch(String::new(), 0).await.unwrap();
    let mut seen = 0;
    for round in 0..3 {
        let value = Bytes::from(vec![b'v'; 20_000]);
        let before = format!("before/{round}");
        store.create(&before, value.clone()).await.unwrap();
        written.insert(before, value.clone());
        let filler = small.fill();
        let mut refused = 0;
        for n in 0.. {
            let key = format!("full/{round}/{n}");
            match store.create(&key, value.clone()).await {
                // What the file had room for inside.
                Ok(_) => drop(written.insert(key, value.clone())),
                Err(StoreError::NoSpace) => refused += 1,
                Err(other) => panic!("{key}: {other:?}"),
            }
            if refused == 5 {
                break;
            }
        }
        assert_eq!(all(&store).await, written, "reads are served while the disk is full");
        fs::remove_file(filler).unwrap();
        let after = format!("after/{round}");
        store.create(&after, value.clone()).await.unwrap();
        written.insert(after, value);
        while seen < written.len() {
            seen += watch.next().await.unwrap().len();
        }
        assert_eq!(store.revision().await.unwrap(), written.len() as u64);
    }
    assert_eq!(seen, written.len());
    drop((watch, store));
    assert_eq!(all(&open(small.0.path())).await, written);
}
