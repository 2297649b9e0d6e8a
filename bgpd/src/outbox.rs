//! What is to be written to one connection.
//!
//! Little is written by the speaker's task itself, at once: to wake another for a single update costs
//! more than to write it. Much is left to the connection's own task, for which TCP may have to make room
//! and which another core can run. Never both: what is left to the task is its own until it has written
//! everything.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bgp_speaker::ConnId;
use bytes::{Buf, Bytes};
use tokio::{
    net::tcp::OwnedWriteHalf,
    sync::{Notify, mpsc},
};

/// What one connection may have waiting to be written. The speaker stays far below; whoever gets
/// here is cut off.
pub(crate) const MAX_OUTBOX_BYTES: usize = 8 << 20;
const _: () = assert!(MAX_OUTBOX_BYTES > bgp_speaker::MAX_UNWRITTEN_BYTES);

/// More than this is left to the task.
const LITTLE: usize = 32 << 10;

/// Pieces written at once.
const MAX_SLICES: usize = 64;

/// Who has the next octet to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hand {
    /// The speaker's task.
    #[default]
    Ours,
    /// The connection's.
    Theirs,
    /// Nobody: the connection stands still.
    Paused,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Shared with the outboxes of others who are told the same.
    bytes: VecDeque<Bytes>,
    len: usize,
    hand: Hand,
    close: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    /// There is something to do for the task.
    left: Notify,
    /// Octets written by the task that the speaker does not know of.
    untold: AtomicUsize,
}

/// TCP has taken more of what a connection was sent: [`Outbox::take_untold`] says how much.
pub(crate) type Taken = (ConnId, Arc<Outbox>);

impl Outbox {
    /// What is unwritten is left to the task.
    pub(crate) fn new(unwritten: VecDeque<Bytes>) -> Self {
        let len = unwritten.iter().map(Bytes::len).sum();
        let outbox = Self::default();
        *outbox.lock() = Waiting { bytes: unwritten, len, hand: Hand::Theirs, close: false };
        outbox
    }

    /// Nothing that is done under the lock can leave it half done.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves bytes to be written; false when too many are waiting.
    #[must_use]
    pub(crate) fn push(&self, bytes: Bytes) -> bool {
        let mut waiting = self.lock();
        let fits = waiting.len + bytes.len() <= MAX_OUTBOX_BYTES;
        if fits {
            waiting.len += bytes.len();
            waiting.bytes.push_back(bytes);
        }
        fits
    }

    /// Writes what waits where that is little, and leaves to the task what TCP does not take. Gives how
    /// many octets TCP has taken. To be called after [`Self::push`].
    pub(crate) fn flush(&self, stream: &OwnedWriteHalf) -> usize {
        let mut waiting = self.lock();
        // The task looks again before it gives the hand back.
        if waiting.hand != Hand::Ours {
            return 0;
        }
        let before = waiting.len;
        // An error is the task's to meet: it ends by it.
        while !waiting.bytes.is_empty()
            && waiting.len <= LITTLE
            && let Ok(count) = write_some(stream, &mut waiting.bytes)
        {
            waiting.len -= count;
        }
        if !waiting.bytes.is_empty() {
            waiting.hand = Hand::Theirs;
            self.left.notify_one();
        }
        before - waiting.len
    }

    /// The connection ends behind what waits.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.close = true;
        waiting.hand = Hand::Theirs;
        self.left.notify_one();
    }

    /// Nothing is written any more, by nobody.
    pub(crate) fn pause(&self) {
        self.lock().hand = Hand::Paused;
    }

    /// All that waits.
    pub(crate) fn take(&self) -> VecDeque<Bytes> {
        let mut waiting = self.lock();
        waiting.len = 0;
        std::mem::take(&mut waiting.bytes)
    }

    /// What the task has not written after all stands first again.
    pub(crate) fn give_back(&self, mut unwritten: VecDeque<Bytes>) {
        let mut waiting = self.lock();
        waiting.len += unwritten.iter().map(Bytes::len).sum::<usize>();
        unwritten.append(&mut waiting.bytes);
        waiting.bytes = unwritten;
    }

    /// What the task is to write, and whether the connection ends behind it.
    pub(crate) async fn next(&self) -> (VecDeque<Bytes>, bool) {
        loop {
            let left = self.left.notified();
            {
                let mut waiting = self.lock();
                if waiting.hand == Hand::Theirs {
                    if waiting.close || !waiting.bytes.is_empty() {
                        waiting.len = 0;
                        return (std::mem::take(&mut waiting.bytes), waiting.close);
                    }
                    waiting.hand = Hand::Ours;
                }
            }
            left.await;
        }
    }

    /// The task has written so much. A speaker that does not listen any more has been told enough.
    pub(crate) fn tell(self: &Arc<Self>, id: ConnId, count: usize, taken: &Told) {
        if self.untold.fetch_add(count, Ordering::AcqRel) == 0 {
            drop(taken.send((id, self.clone())));
        }
    }

    /// Octets written by the task since this was asked last.
    pub(crate) fn take_untold(&self) -> usize {
        self.untold.swap(0, Ordering::AcqRel)
    }
}

/// Bounded by the number of connections: each stands in it once until it is asked.
pub(crate) type Told = mpsc::UnboundedSender<Taken>;

/// Writes as much as TCP takes at once, and gives how much that was.
pub(crate) fn write_some(
    stream: &OwnedWriteHalf,
    bytes: &mut VecDeque<Bytes>,
) -> io::Result<usize> {
    let count = match bytes.len() {
        1 => stream.try_write(&bytes[0])?,
        _ => {
            let slices: Vec<_> =
                bytes.iter().take(MAX_SLICES).map(|one| IoSlice::new(one)).collect();
            stream.try_write_vectored(&slices)?
        }
    };
    if count == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    advance(bytes, count);
    Ok(count)
}

/// Forgets so many octets at the front.
pub(crate) fn advance(bytes: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(first) = bytes.front_mut()
        && count > 0
    {
        let here = count.min(first.len());
        first.advance(here);
        count -= here;
        if first.is_empty() {
            bytes.pop_front();
        }
    }
}
