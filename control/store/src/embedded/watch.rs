//! A watcher: a place in the shared history, and a signal that there is more of it.

use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::watch as signal;

use super::Shared;
use crate::{Answer, Event, Revision, StoreError, Watch};

/// Events handed out at once, so that one watcher far behind does not hold the lock for long.
const BATCH: usize = 256;
/// As much as a watcher is given at once, or one event more. Each watcher holds what it was given
/// until its client has taken it, and there may be many with slow clients.
const BATCH_BYTES: usize = 64 << 10;

pub(super) struct Cursor {
    /// Weak, so that a watcher left behind does not keep a closed store in memory.
    shared: Weak<Shared>,
    newest: signal::Receiver<Revision>,
    prefix: String,
    after: Revision,
}

impl Cursor {
    pub(super) fn new(
        shared: Arc<Shared>,
        prefix: String,
        after: Revision,
    ) -> Result<Self, StoreError> {
        let newest = shared.newest.subscribe();
        // Only to learn whether `after` can be served.
        shared.state.read().unwrap_or_else(PoisonError::into_inner).events_after(
            &prefix,
            after,
            1,
            BATCH_BYTES,
        )?;
        Ok(Self { shared: Arc::downgrade(&shared), newest, prefix, after })
    }

    async fn advance(&mut self) -> Result<Vec<Arc<Event>>, StoreError> {
        loop {
            // Before the history is read: what comes after it has been read wakes us again.
            self.newest.borrow_and_update();
            let (events, searched) = {
                let shared = self.shared.upgrade().ok_or(StoreError::Closed)?;
                let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
                state.events_after(&self.prefix, self.after, BATCH, BATCH_BYTES)?
            };
            self.after = searched;
            if !events.is_empty() {
                return Ok(events);
            }
            if self.newest.changed().await.is_err() {
                return Err(StoreError::Closed);
            }
        }
    }
}

impl Watch for Cursor {
    fn next(&mut self) -> Answer<'_, Vec<Arc<Event>>> {
        Box::pin(self.advance())
    }

    fn revision(&self) -> Revision {
        self.after
    }
}
