//! The thread that the speaker has to itself, with its sockets.
//!
//! To carry a small message to a task on another core costs more than to handle it: two tasks on one
//! thread hand it over without the kernel.

use std::{thread::Builder, time::Duration};

use tokio::{runtime, sync::watch};
use tracing::{
    dispatcher::{get_default, with_default},
    error,
};

use crate::task::Task;

/// What is left of the tasks when the speaker has ended has so long.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs the task that `begin` gives until its end, and says then whether another process goes on.
/// Without a thread, or a task, `alive` is dropped.
pub(crate) fn start<F>(alive: watch::Sender<bool>, begin: F)
where
    F: AsyncFnOnce() -> Option<Task> + Send + 'static,
{
    let run = move || {
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return error!(%error, "the speaker cannot start"),
        };
        let handed_over = runtime.block_on(async move {
            match begin().await {
                Some(task) => Some(task.run().await),
                None => None,
            }
        });
        // Whoever hears of the end finds every socket closed.
        runtime.shutdown_timeout(LEFTOVERS);
        if let Some(handed_over) = handed_over {
            alive.send_replace(handed_over);
        }
    };
    // What is logged goes where our caller's goes.
    let log = get_default(Clone::clone);
    if let Err(error) = Builder::new().name("bgp".to_owned()).spawn(move || with_default(&log, run))
    {
        error!(%error, "the speaker cannot start");
    }
}
