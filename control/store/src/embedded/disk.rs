//! The redb file: the current entries, the window of history, and two numbers.

use std::{
    fs::OpenOptions,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, backends::FileBackend,
};

use super::state::State;
use crate::{Entry, Event, Revision, StoreError};

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
const COMPACTED: &str = "compacted";
const FORMAT: &str = "format";
/// Of the records below. A file of another format is refused.
const FORMAT_VERSION: u64 = 1;
/// Pages of the file kept in memory. Nothing is read from it after the start, so that only what a
/// transaction changes has to fit; redb's own measure is 1 GiB.
const CACHE_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    /// None when a commit has failed: whether it is in the file is not known, and redb takes no
    /// other until the file is opened again.
    database: Option<Database>,
}

fn io(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => os(error),
        other => StoreError::Io(Arc::new(other)),
    }
}

fn os(error: std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::NoSpace,
        _ => StoreError::Io(Arc::new(error)),
    }
}

impl Disk {
    /// Opens the file, made with mode 0600 where there is none, and reads all of it.
    pub(super) fn open(path: &Path) -> Result<(Self, State), StoreError> {
        let mut disk = Self { path: path.to_owned(), database: None };
        let state = disk.reopen()?;
        Ok((disk, state))
    }

    pub(super) fn is_open(&self) -> bool {
        self.database.is_some()
    }

    /// Opens the file, for the first time or after a commit has failed, and reads all of it.
    pub(super) fn reopen(&mut self) -> Result<State, StoreError> {
        // It holds the lock of the file.
        self.database = None;
        let is_new = !self.path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
            .map_err(os)?;
        let backend = FileBackend::new(file).map_err(io)?;
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(io)?;
        prepare(&database)?;
        if is_new && let Some(folder) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            // Without this a crash of the machine could lose the file's name.
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(os)?;
        }
        let state = load(&database)?;
        self.database = Some(database);
        Ok(state)
    }

    /// Makes `events` durable, and with them that the history up to `floor` is forgotten. After an
    /// error the file has to be opened again, which tells whether they are.
    pub(super) fn commit(
        &mut self,
        events: &[Arc<Event>],
        compacted: Revision,
        floor: Revision,
    ) -> Result<(), StoreError> {
        let database = self.database.take().ok_or(StoreError::Closed)?;
        write(&database, events, compacted, floor)?;
        self.database = Some(database);
        Ok(())
    }
}

fn prepare(database: &Database) -> Result<(), StoreError> {
    let write = database.begin_write().map_err(io)?;
    {
        write.open_table(ENTRIES).map_err(io)?;
        write.open_table(HISTORY).map_err(io)?;
        let mut meta = write.open_table(META).map_err(io)?;
        let format = meta.get(FORMAT).map_err(io)?.map(|v| v.value());
        match format {
            None => {
                meta.insert(FORMAT, FORMAT_VERSION).map_err(io)?;
            }
            Some(FORMAT_VERSION) => {}
            Some(other) => {
                return Err(StoreError::Corrupt(format!(
                    "its format is {other}, this program reads {FORMAT_VERSION}"
                )));
            }
        }
    }
    write.commit().map_err(io)
}

fn load(database: &Database) -> Result<State, StoreError> {
    let read = database.begin_read().map_err(io)?;
    let meta = read.open_table(META).map_err(io)?;
    let number = |name| -> Result<u64, StoreError> {
        Ok(meta.get(name).map_err(io)?.map_or(0, |v| v.value()))
    };
    let mut entries = Vec::new();
    for row in read.open_table(ENTRIES).map_err(io)?.iter().map_err(io)? {
        let (key, value) = row.map_err(io)?;
        let mut record = Record(value.value());
        entries.push(record.entry(&Arc::from(key.value()))?);
    }
    let mut history = Vec::new();
    for row in read.open_table(HISTORY).map_err(io)?.iter().map_err(io)? {
        let (revision, value) = row.map_err(io)?;
        history.push(decode_event(revision.value(), value.value())?);
    }
    State::restore(entries, history, number(REVISION)?, number(COMPACTED)?)
}

fn write(
    database: &Database,
    events: &[Arc<Event>],
    compacted: Revision,
    floor: Revision,
) -> Result<(), StoreError> {
    let mut write = database.begin_write().map_err(io)?;
    write.set_durability(Durability::Immediate).map_err(io)?;
    {
        let mut entries = write.open_table(ENTRIES).map_err(io)?;
        let mut history = write.open_table(HISTORY).map_err(io)?;
        let mut meta = write.open_table(META).map_err(io)?;
        let mut record = Vec::new();
        for event in events {
            match &event.current {
                Some(entry) => {
                    record.clear();
                    encode_entry(entry, &mut record);
                    entries.insert(&*event.key, &*record).map_err(io)?;
                }
                None => {
                    entries.remove(&*event.key).map_err(io)?;
                }
            }
            if event.revision > floor {
                record.clear();
                encode_event(event, &mut record);
                history.insert(event.revision, &*record).map_err(io)?;
            }
        }
        for revision in compacted + 1..=floor {
            history.remove(revision).map_err(io)?;
        }
        if let Some(last) = events.last() {
            meta.insert(REVISION, last.revision).map_err(io)?;
        }
        meta.insert(COMPACTED, floor).map_err(io)?;
    }
    write.commit().map_err(io)
}

/// create revision, mod revision, length: 8, 8 and 4 bytes, little-endian; then the value.
fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(&entry.create_revision.to_le_bytes());
    out.extend_from_slice(&entry.mod_revision.to_le_bytes());
    encode_bytes(&entry.value, out);
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // Keys and values are held to far less when they come in.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The key; then for what is after and what was before: 0, or 1 and the entry.
fn encode_event(event: &Event, out: &mut Vec<u8>) {
    encode_bytes(event.key.as_bytes(), out);
    for side in [&event.current, &event.previous] {
        out.push(u8::from(side.is_some()));
        if let Some(entry) = side {
            encode_entry(entry, out);
        }
    }
}

fn decode_event(revision: Revision, record: &[u8]) -> Result<Event, StoreError> {
    let mut record = Record(record);
    let key: Arc<str> = Arc::from(
        std::str::from_utf8(record.bytes()?)
            .map_err(|error| StoreError::Corrupt(format!("a key: {error}")))?,
    );
    let mut side = || match record.take(1)? {
        [0] => Ok(None),
        [1] => record.entry(&key).map(|entry| Some(Arc::new(entry))),
        other => Err(StoreError::Corrupt(format!("event {revision}: marker {other:?}"))),
    };
    let (current, previous) = (side()?, side()?);
    Ok(Event { revision, key, current, previous })
}

/// What is left to read of a record.
struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], StoreError> {
        let (head, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| StoreError::Corrupt("a record ends early".to_owned()))?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        let mut len = [0; 4];
        len.copy_from_slice(self.take(4)?);
        self.take(u32::from_le_bytes(len) as usize)
    }

    fn entry(&mut self, key: &Arc<str>) -> Result<Entry, StoreError> {
        Ok(Entry {
            key: key.clone(),
            create_revision: self.number()?,
            mod_revision: self.number()?,
            value: Bytes::copy_from_slice(self.bytes()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &'static [u8], revision: u64) -> Arc<Entry> {
        Arc::new(Entry {
            key: "k/é".into(),
            value: Bytes::from_static(value),
            create_revision: 3,
            mod_revision: revision,
        })
    }

    #[test]
    fn an_event_survives_the_record() {
        for (current, previous) in [
            (Some(entry(b"new", 7)), Some(entry(b"", 3))),
            (None, Some(entry(b"old", 4))),
            (Some(entry(b"{}", 7)), None),
        ] {
            let event = Event { revision: 7, key: "k/é".into(), current, previous };
            let mut record = Vec::new();
            encode_event(&event, &mut record);
            assert_eq!(decode_event(7, &record).unwrap(), event);
            for cut in 0..record.len() {
                assert!(decode_event(7, &record[..cut]).is_err(), "cut at {cut}");
            }
        }
    }
}
