//! The store in one redb file, for a single server.

mod disk;
mod state;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    thread::JoinHandle,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch as signal};

use self::{
    disk::Disk,
    state::{Op, State, Window},
    watch::Cursor,
    writer::Request,
};
use crate::{Answer, Entry, Event, List, Page, Read, Revision, Store, StoreError, Watch};

/// Writers that may wait for the disk at once; the next waits for its turn to wait.
const WAITING_WRITES: usize = 1024;
/// A key longer than this is none that the API server makes.
const MAX_KEY_BYTES: usize = 1024;

/// The limits of an [`EmbeddedStore`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many changes are kept for watches that resume and for lists of the past.
    pub history_events: usize,
    /// How many bytes these may have.
    pub history_bytes: usize,
    /// How many bytes all current entries may have. The file may be some times as large.
    pub quota_bytes: usize,
    pub max_value_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_events: 50_000,
            history_bytes: 32 << 20,
            quota_bytes: 1 << 30,
            max_value_bytes: 4 << 20,
        }
    }
}

impl Options {
    fn window(&self) -> Window {
        Window { events: self.history_events, bytes: self.history_bytes }
    }
}

struct Shared {
    options: Options,
    /// What is durable. Only the writer changes it.
    state: RwLock<State>,
    /// The newest revision, to wake whoever waits for one.
    newest: signal::Sender<Revision>,
}

/// All state in one file, all of it in memory as well. The file is locked: a second process that
/// opens it gets an error. Dropping the store waits for the writes that are under way.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the file or makes it. Blocks for as long as reading it takes.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        let (disk, state) = Disk::open(path.as_ref())?;
        let (newest, _) = signal::channel(state.revision());
        let shared = Arc::new(Shared { options, state: RwLock::new(state), newest });
        let (requests, receiver) = mpsc::channel(WAITING_WRITES);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let shared = shared.clone();
                move || writer::run(&shared, disk, receiver)
            })
            .map_err(|error| StoreError::Io(Arc::new(error)))?;
        Ok(Self { shared, requests: Some(requests), writer: Some(writer) })
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands a request to the writer and waits for what comes of it.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        if requests.send(request(reply)).await.is_err() {
            return Err(StoreError::Closed);
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn write(&self, op: Op) -> Result<Arc<Event>, StoreError> {
        if let Op::Create { value, .. } | Op::Update { value, .. } = &op {
            check_len(value.len(), self.shared.options.max_value_bytes)?;
        }
        self.ask(|reply| Request::Write { op, reply }).await
    }
}

fn check_len(len: usize, max: usize) -> Result<(), StoreError> {
    if len > max { Err(StoreError::TooLarge { len, max }) } else { Ok(()) }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("store writer panicked");
        }
    }
}

impl Store for EmbeddedStore {
    fn revision(&self) -> Answer<'_, Revision> {
        Box::pin(async { Ok(self.read(State::revision)) })
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Read<Option<Arc<Entry>>>> {
        Box::pin(async move {
            Ok(self
                .read(|state| Read { value: state.get(key).cloned(), revision: state.revision() }))
        })
    }

    fn list(&self, list: List) -> Answer<'_, Page> {
        Box::pin(async move { self.read(|state| state.list(&list)) })
    }

    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> Answer<'a, Arc<Entry>> {
        Box::pin(async move {
            check_len(key.len(), MAX_KEY_BYTES)?;
            let event = self.write(Op::Create { key: key.into(), value }).await?;
            written(&event)
        })
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Revision,
    ) -> Answer<'a, Arc<Entry>> {
        Box::pin(async move {
            let event = self.write(Op::Update { key: key.into(), value, expected }).await?;
            written(&event)
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: Revision) -> Answer<'a, Revision> {
        Box::pin(
            async move { Ok(self.write(Op::Delete { key: key.into(), expected }).await?.revision) },
        )
    }

    fn watch(&self, prefix: String, after: Revision) -> Answer<'_, Box<dyn Watch>> {
        Box::pin(async move {
            let watch: Box<dyn Watch> = Box::new(Cursor::new(self.shared.clone(), prefix, after)?);
            Ok(watch)
        })
    }

    fn compact(&self, up_to: Revision) -> Answer<'_, ()> {
        Box::pin(self.ask(move |reply| Request::Compact { up_to, reply }))
    }
}

fn written(event: &Event) -> Result<Arc<Entry>, StoreError> {
    // Only a deletion leaves nothing behind, and this is none.
    event.current.clone().ok_or(StoreError::NotFound)
}
