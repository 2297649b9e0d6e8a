//! Where the control plane keeps its state: keys, values and one revision that only grows.
//!
//! [`Store`] is what the API server needs of a store, in the shape that etcd gives it too:
//! optimistic writes against the revision an entry was last changed at, lists at a revision, and
//! watches that resume from a revision. [`EmbeddedStore`] keeps everything in one redb file.
//!
//! What is acknowledged is durable, and what can be read or watched is durable as well: nobody
//! ever sees a write that a crash could take back.

mod embedded;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;

pub use embedded::{EmbeddedStore, Options};

/// Counts the changes of the whole store. The first change has revision 1; 0 is the empty store.
pub type Revision = u64;

/// A key with its value, as of one revision.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Bytes,
    /// The revision that made the key. A key that is deleted and made again has a new one.
    pub create_revision: Revision,
    /// The revision that wrote this value.
    pub mod_revision: Revision,
}

impl Entry {
    /// What the entry counts against the limits of the store, in bytes.
    fn size(&self) -> usize {
        self.key.len() + self.value.len() + 16
    }
}

impl fmt::Debug for Entry {
    /// Leaves the value out: it may be a Secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{}..{} ({} bytes)",
            self.key,
            self.create_revision,
            self.mod_revision,
            self.value.len()
        )
    }
}

/// One change. `current` is `None` for a deletion, `previous` for a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub revision: Revision,
    pub key: Arc<str>,
    pub current: Option<Arc<Entry>>,
    pub previous: Option<Arc<Entry>>,
}

/// What is read, and the revision of the store it was read at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    pub value: T,
    pub revision: Revision,
}

/// Which entries [`Store::list`] gives, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub prefix: String,
    /// Only keys behind this one.
    pub start_after: Option<String>,
    /// At most so many; 0 for all.
    pub limit: usize,
    /// As of this revision; the newest where `None`.
    pub at: Option<Revision>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Arc<Entry>>,
    /// How many more there are behind the last of `entries`.
    pub remaining: usize,
    /// The revision of which `entries` is the state.
    pub revision: Revision,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the key exists")]
    AlreadyExists,
    #[error("no such key")]
    NotFound,
    /// The entry was changed since the revision that the write expected; this is what it is now.
    #[error("the entry was changed by revision {}", .0.mod_revision)]
    Conflict(Arc<Entry>),
    /// The changes behind `requested` are no longer all known: whoever follows the store from
    /// there must list anew. A watcher that is too slow ends with this, too.
    #[error("revision {requested} is too old: changes are known from {oldest} on")]
    Compacted { requested: Revision, oldest: Revision },
    #[error("revision {requested} is yet to come: the newest is {current}")]
    Future { requested: Revision, current: Revision },
    #[error("the value has {len} bytes, more than the {max} allowed")]
    TooLarge { len: usize, max: usize },
    #[error("the store is full: {used} of {quota} bytes are used")]
    Full { used: usize, quota: usize },
    /// Of the disk, where `Full` is the quota's.
    #[error("cannot write the store's file: no space left on device")]
    NoSpace,
    #[error("the store is closed")]
    Closed,
    /// Whether a write that ends so took place is not known.
    #[error("cannot access the store's file")]
    Io(#[source] Arc<dyn std::error::Error + Send + Sync>),
    #[error("the store's file is damaged: {0}")]
    Corrupt(String),
}

/// The future that the methods of [`Store`] return.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

pub trait Store: Send + Sync + 'static {
    /// The newest revision.
    fn revision(&self) -> Answer<'_, Revision>;

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Read<Option<Arc<Entry>>>>;

    /// Errors: [`StoreError::Compacted`] and [`StoreError::Future`] for what `at` asks.
    fn list(&self, list: List) -> Answer<'_, Page>;

    /// Errors: [`StoreError::AlreadyExists`].
    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> Answer<'a, Arc<Entry>>;

    /// Replaces the value of an entry that was last changed at `expected`.
    ///
    /// Errors: [`StoreError::NotFound`], [`StoreError::Conflict`].
    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Revision,
    ) -> Answer<'a, Arc<Entry>>;

    /// Removes an entry that was last changed at `expected`; gives the revision of the removal.
    ///
    /// Errors: [`StoreError::NotFound`], [`StoreError::Conflict`].
    fn delete<'a>(&'a self, key: &'a str, expected: Revision) -> Answer<'a, Revision>;

    /// Follows the changes of all keys under `prefix` behind revision `after`.
    ///
    /// Errors: [`StoreError::Compacted`], [`StoreError::Future`].
    fn watch(&self, prefix: String, after: Revision) -> Answer<'_, Box<dyn Watch>>;

    /// Forgets the history up to and including revision `up_to`.
    fn compact(&self, up_to: Revision) -> Answer<'_, ()>;
}

/// A place in the history of the store. It holds no buffer of its own, so however many there are
/// and however slow they are, they cost the store nothing.
pub trait Watch: Send {
    /// The next changes, in order; waits until there is one. May be dropped while it waits and
    /// called again.
    ///
    /// Errors: [`StoreError::Compacted`] when the watcher was too slow, [`StoreError::Closed`].
    fn next(&mut self) -> Answer<'_, Vec<Arc<Event>>>;

    /// Every change up to and including this revision has been given by [`Watch::next`]. It grows
    /// with the store even where nothing happens under the prefix, as long as `next` is awaited.
    fn revision(&self) -> Revision;
}
