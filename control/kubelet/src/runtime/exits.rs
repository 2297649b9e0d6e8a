//! Exit codes, as conmon leaves them.
#![expect(unsafe_code, reason = "the inotify descriptor is registered with the reactor")]

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::{io::unix::AsyncFd, sync::Notify};

use super::{Runtime, RuntimeError};

/// Who wants to know of which container's end.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExitListeners {
    by_id: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
}

impl ExitListeners {
    pub(crate) fn register(&self, id: &str, notify: &Arc<Notify>) {
        let mut listeners = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(id.to_owned(), Arc::clone(notify));
    }

    pub(crate) fn forget(&self, id: &str) {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn wake(&self, id: &str) {
        let listeners = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = listeners.get(id) {
            notify.notify_one();
        }
    }

    fn wake_all(&self) {
        let listeners = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.values().for_each(|notify| notify.notify_one());
    }
}

/// The exit code of a container and when it was left; `None` while it runs.
pub(crate) fn read(runtime: &Runtime, id: &str) -> io::Result<Option<(i32, SystemTime)>> {
    let path = runtime.exits().join(id);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let code = text.trim().parse::<i32>().map_err(io::Error::other)?;
    Ok(Some((code, fs::metadata(&path)?.modified()?)))
}

pub(crate) fn forget(runtime: &Runtime, id: &str) -> io::Result<()> {
    crate::disk::remove(&runtime.exits().join(id))
}

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Watches the directory and wakes whoever listens; ends only by an error.
pub(crate) async fn watch(dir: &Path, listeners: &ExitListeners) -> Result<(), RuntimeError> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
        .map_err(RuntimeError::nix("inotify (fs.inotify.max_user_instances may be used up)"))?;
    // conmon writes a scratch file and renames it.
    inotify
        .add_watch(dir, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE)
        .map_err(RuntimeError::nix(dir.display().to_string()))?;
    // SAFETY: the descriptor is owned, and always the same one.
    let events = unsafe { AsyncFd::register(Descriptor(inotify)) }
        .map_err(|error| RuntimeError::io("inotify")(error.into()))?;
    // What ended before the watch was there.
    listeners.wake_all();
    loop {
        let mut ready = events.readable().await.map_err(RuntimeError::io("inotify"))?;
        match ready.get_inner().0.read_events() {
            Ok(batch) => {
                for event in batch {
                    match event.name {
                        Some(name) if !event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => {
                            listeners.wake(&name.to_string_lossy());
                        }
                        _ => listeners.wake_all(),
                    }
                }
            }
            Err(nix::Error::EAGAIN) => ready.clear_ready(),
            Err(errno) => return Err(RuntimeError::nix("inotify")(errno)),
        }
    }
}
