//! Whose turn it is: of the processes of one run folder, one at a time changes what is the kernel's.
//!
//! The lock goes with the process that holds it, however that ends, and no sooner unless it is given up:
//! whoever has it knows that the one before touches nothing any more.

use std::{
    fs::{File, OpenOptions, TryLockError},
    mem::ManuallyDrop,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

/// Between two looks whether the lock is free. Requests wait meanwhile.
const LOOK: Duration = Duration::from_millis(5);
/// A process that was told to end has ended by then.
const ENDING: Duration = Duration::from_secs(5);
/// How often it is said that another is waited for.
const REMINDER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Turn {
    /// Tasks that were started may be at work until the very end of the process.
    lock: ManuallyDrop<File>,
    path: PathBuf,
    ours: watch::Sender<bool>,
}

impl Turn {
    pub(crate) fn in_folder(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join("turn.lock");
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.with_context(|| format!("open {}", path.display()))?;
        Ok(Self { lock: ManuallyDrop::new(lock), path, ours: watch::Sender::new(false) })
    }

    /// Whether it is ours, as that changes.
    pub(crate) fn ours(&self) -> watch::Receiver<bool> {
        self.ours.subscribe()
    }

    /// Whether it is ours from here on; not while another has it.
    pub(crate) fn try_take(&self) -> Result<bool> {
        if *self.ours.borrow() {
            return Ok(true);
        }
        match self.lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", self.path.display()));
            }
        }
        self.ours.send_replace(true);
        Ok(true)
    }

    /// Takes it where nobody has it, or whoever has it is about to end.
    pub(crate) async fn take(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.try_take()? {
            if begun.elapsed() > ENDING {
                bail!("another daemon runs in this folder: it holds {}", self.path.display());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Takes it from a process that gives it to us, as soon as that has finished what it is at.
    pub(crate) async fn take_over(&self) -> Result<()> {
        let begun = Instant::now();
        let mut said = begun;
        while !self.try_take()? {
            if said.elapsed() > REMINDER {
                said = Instant::now();
                let waited = begun.elapsed();
                warn!(?waited, "the process before this one has not let go of the kernel yet");
            }
            sleep(LOOK).await;
        }
        info!(waited = ?begun.elapsed(), "the turn is ours");
        Ok(())
    }

    /// Leaves it to the next.
    pub(crate) fn give_up(self) {
        self.ours.send_replace(false);
        drop(ManuallyDrop::into_inner(self.lock));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let one = Turn::in_folder(folder.path()).unwrap();
        let other = Turn::in_folder(folder.path()).unwrap();
        let (ours, theirs) = (one.ours(), other.ours());
        one.take().await.unwrap();
        assert!(*ours.borrow() && one.try_take().unwrap());
        assert!(!other.try_take().unwrap() && !*theirs.borrow());
        let waiting = tokio::spawn(async move { other.take_over().await.map(|()| other) });
        one.give_up();
        let other = waiting.await.unwrap().unwrap();
        assert!(!*ours.borrow() && *theirs.borrow());
        drop(other);
        assert!(!Turn::in_folder(folder.path()).unwrap().try_take().unwrap(), "we have not ended");
    }
}
