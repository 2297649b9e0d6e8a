//! A channel of keyed state that never holds more than the latest value of a key.
//!
//! Between the speaker and the vRouter a queue of updates would grow as long as the kernel is
//! slower than the peers. A feed merges: what the reader has not yet taken is overwritten by what
//! is newer, so it is bounded by the number of keys and the writer never waits. It needs no
//! runtime: the reader is woken through the standard library's [`Waker`].

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// What the reader takes at once.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<K, V> {
    /// The latest value of every key that changed since the last batch, in the order of the keys.
    pub changes: BTreeMap<K, V>,
    /// Whether the writer has said that its first picture is complete. Stays true.
    pub synced: bool,
}

#[derive(Debug)]
struct State<K, V> {
    changes: BTreeMap<K, V>,
    synced: bool,
    synced_is_news: bool,
    closed: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub struct Writer<K, V>(Arc<Mutex<State<K, V>>>);

#[derive(Debug)]
pub struct Reader<K, V>(Arc<Mutex<State<K, V>>>);

pub fn feed<K: Ord, V>() -> (Writer<K, V>, Reader<K, V>) {
    let state = State {
        changes: BTreeMap::new(),
        synced: false,
        synced_is_news: false,
        closed: false,
        waker: None,
    };
    let shared = Arc::new(Mutex::new(state));
    (Writer(shared.clone()), Reader(shared))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code of a user runs under the lock, so a poisoned state is still a whole one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Ord, V> Writer<K, V> {
    /// Sets the value of a key, over one that has not been read yet.
    pub fn set(&self, key: K, value: V) {
        let waker = {
            let mut state = lock(&self.0);
            state.changes.insert(key, value);
            state.waker.take()
        };
        wake(waker);
    }

    /// Says that every key known at the start has been set. Said once, it stays so.
    pub fn synced(&self) {
        let waker = {
            let mut state = lock(&self.0);
            if state.synced {
                return;
            }
            state.synced = true;
            state.synced_is_news = true;
            state.waker.take()
        };
        wake(waker);
    }
}

impl<K, V> Drop for Writer<K, V> {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.0);
            state.closed = true;
            state.waker.take()
        };
        wake(waker);
    }
}

impl<K: Ord, V> Reader<K, V> {
    /// Waits for a change and takes all there is; `None` once the writer is gone and all was read.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Batch<K, V>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Batch<K, V>>> {
        let mut state = lock(&self.0);
        if !state.changes.is_empty() || state.synced_is_news {
            state.synced_is_news = false;
            let changes = std::mem::take(&mut state.changes);
            return Poll::Ready(Some(Batch { changes, synced: state.synced }));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<K: Ord, V>(reader: &mut Reader<K, V>) -> Poll<Option<Batch<K, V>>> {
        reader.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn only_the_latest_value_is_read() {
        let (writer, mut reader) = feed();
        assert_eq!(poll(&mut reader), Poll::Pending);
        writer.set("a", 1);
        writer.set("b", 2);
        writer.set("a", 3);
        let changes = BTreeMap::from([("a", 3), ("b", 2)]);
        assert_eq!(poll(&mut reader), Poll::Ready(Some(Batch { changes, synced: false })));
        assert_eq!(poll(&mut reader), Poll::Pending);
    }

    #[test]
    fn sync_is_news_once_and_even_without_changes() {
        let (writer, mut reader) = feed::<u8, u8>();
        writer.synced();
        writer.synced();
        let changes = BTreeMap::new();
        assert_eq!(poll(&mut reader), Poll::Ready(Some(Batch { changes, synced: true })));
        assert_eq!(poll(&mut reader), Poll::Pending);
    }

    #[test]
    fn what_was_written_is_read_after_the_writer_is_gone() {
        let (writer, mut reader) = feed();
        writer.set(1, 1);
        drop(writer);
        assert!(matches!(poll(&mut reader), Poll::Ready(Some(_))));
        assert_eq!(poll(&mut reader), Poll::Ready(None));
    }
}
