use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use vrouter_ipam::{Allocator, Owner};

use crate::attachment::Attachment;

const VERSION: u32 = 1;
const FILE: &str = "pods.json";

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{path} is damaged: {source}. It says which pod has which address; if no pod runs on this \
         node, remove it"
    )]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("{path} was written by a newer version ({version}, known is {VERSION})")]
    Newer { path: PathBuf, version: u32 },
}

/// What must be known after a crash. Written before the kernel is touched and after, so the file
/// never knows less than the kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) ipam: Allocator,
    pub(crate) attachments: BTreeMap<Owner, Attachment>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored<I, A> {
    version: u32,
    ipam: I,
    attachments: Vec<A>,
}

/// The folder that holds the state.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(crate) fn open(dir: PathBuf) -> Result<Self, StateError> {
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        Ok(Self { dir })
    }

    pub(crate) fn load(&self) -> Result<State, StateError> {
        let path = self.dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let damaged = |source| StateError::Damaged { path: path.clone(), source };
        let stored: Stored<serde_json::Value, serde_json::Value> =
            serde_json::from_slice(&text).map_err(damaged)?;
        if stored.version > VERSION {
            return Err(StateError::Newer { path, version: stored.version });
        }
        let ipam = serde_json::from_value(stored.ipam).map_err(damaged)?;
        let mut attachments = BTreeMap::new();
        for attachment in stored.attachments {
            let attachment: Attachment = serde_json::from_value(attachment).map_err(damaged)?;
            attachments.insert(attachment.owner.clone(), attachment);
        }
        Ok(State { ipam, attachments })
    }

    /// Replaces the file as a whole: written beside, synced, renamed, and the folder synced.
    pub(crate) fn save(&self, state: &State) -> Result<(), StateError> {
        let path = self.dir.join(FILE);
        let beside = self.dir.join(format!("{FILE}.new"));
        let stored = Stored {
            version: VERSION,
            ipam: &state.ipam,
            attachments: state.attachments.values().collect(),
        };
        let text = serde_json::to_vec_pretty(&stored)
            .map_err(|source| StateError::Damaged { path: path.clone(), source })?;
        let write = || -> io::Result<()> {
            let mut file = File::create(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(failed("write", &path))
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use viaduct_net::Family;

    use super::*;
    use crate::netns::NetnsId;

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("deep/er")).unwrap();
        assert_eq!(store.load().unwrap(), State::default());
        let owner = Owner { container_id: "c1".into(), ifname: "eth0".into() };
        let mut state = State::default();
        state.ipam.set_blocks(["10.0.0.0/26".parse().unwrap()]);
        let addresses = state.ipam.allocate(&owner, &[Family::V4]).unwrap();
        let place = ("/run/netns/x".into(), NetnsId::default());
        let attachment = Attachment::new(owner.clone(), None, addresses, place, 1500);
        state.attachments.insert(owner, attachment);
        store.save(&state).unwrap();
        // The blocks come from the API and are not stored.
        state.ipam.set_blocks([]);
        assert_eq!(store.load().unwrap(), state);
    }

    #[test]
    fn damage_is_said_and_not_overlooked() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned()).unwrap();
        fs::write(dir.path().join(FILE), "{\"version\": 1").unwrap();
        assert!(matches!(store.load(), Err(StateError::Damaged { .. })));
        fs::write(dir.path().join(FILE), r#"{"version": 9, "ipam": 1, "attachments": []}"#)
            .unwrap();
        assert!(matches!(store.load(), Err(StateError::Newer { version: 9, .. })));
    }
}
