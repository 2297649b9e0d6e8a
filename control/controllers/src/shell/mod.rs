//! Runs the reconcilers against the API: watches feed the world, changes fill the queue, and the
//! outcomes are made true a few at a time. One task owns the world and the queue; requests run
//! beside it and hand their answers back.

mod correlate;
mod events;
mod execute;
mod watch;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    execute::{Effect, ExecuteError, Executor},
    watch::Event,
};
use crate::{
    ControllersConfig,
    kinds::Kind,
    operation::{Now, Outcome},
    queue::Queue,
    task::{Task, affected, all},
    world::{Change, World},
};

/// Reconciliations whose requests run at once.
const WORKERS: usize = 16;
/// Watch events that have been read and not looked at; beyond it the watches wait.
const EVENTS_LIMIT: usize = 1024;
/// Taken in at once, so that a burst is one change to the controllers.
const EVENTS_BATCH: usize = 256;
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("every watch has ended")]
    WatchesEnded,
}

/// Runs every controller until `shutdown`. Loses of the connection are waited out.
pub async fn run(
    client: Client,
    config: ControllersConfig,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let (sender, mut events) = mpsc::channel(EVENTS_LIMIT);
    let mut tasks = JoinSet::new();
    watch::follow_all(&client, &sender, &mut tasks);
    drop(sender);
    let (notes, inbox) = mpsc::channel(EVENTS_LIMIT);
    tasks.spawn(events::record(client.clone(), inbox));
    let mut loop_ = Loop {
        executor: Executor::new(client, notes),
        config,
        world: World::default(),
        queue: Queue::default(),
        listed: BTreeSet::new(),
        workers: JoinSet::new(),
        started: Instant::now(),
        last_tick: Duration::ZERO,
    };
    let mut batch = Vec::new();
    loop {
        let wait = loop_.wait();
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            count = events.recv_many(&mut batch, EVENTS_BATCH) => {
                if count == 0 {
                    return Err(RunError::WatchesEnded);
                }
                for event in batch.drain(..) {
                    loop_.take(event);
                }
            }
            Some(finished) = loop_.workers.join_next() => match finished {
                Ok(finished) => loop_.finish(finished),
                // Its key would stay locked: what a panic left is not to be gone on with.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            () = sleep(wait) => {}
        }
        loop_.tick();
        loop_.dispatch();
    }
}

struct Finished {
    task: Task,
    effects: Vec<Effect>,
    error: Option<ExecuteError>,
    again_after: Option<Duration>,
}

struct Loop {
    executor: Executor,
    config: ControllersConfig,
    world: World,
    queue: Queue<Task>,
    /// Kinds whose objects are all known. Nothing is done before that is every kind: what is not
    /// known would look deleted.
    listed: BTreeSet<Kind>,
    workers: JoinSet<Finished>,
    started: Instant,
    last_tick: Duration,
}

impl Loop {
    fn now(&self) -> Now {
        Now { wall: Timestamp::now(), uptime: self.started.elapsed() }
    }

    fn is_synced(&self) -> bool {
        self.listed.len() == Kind::ALL.len()
    }

    fn wait(&self) -> Duration {
        let next = self.queue.next_at().filter(|_| self.is_synced());
        next.map_or(TICK, |at| at.saturating_sub(self.started.elapsed()).min(TICK))
    }

    /// A process that was stopped, or a machine that slept, has missed what the nodes said.
    fn tick(&mut self) {
        let now = self.now();
        if now.uptime - self.last_tick > (self.config.node_grace / 2).max(2 * TICK) {
            warn!(missed = ?(now.uptime - self.last_tick), "was stopped; nodes get their grace anew");
            self.world.excuse_nodes(now);
        }
        self.last_tick = now.uptime;
    }

    fn take(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Applied(object) => {
                let change = self.world.observe(object, now);
                self.changed(change);
            }
            Event::Deleted(reference, uid) => {
                let change = self.world.remove(&reference, &uid, now);
                self.changed(change);
            }
            Event::Listed(kind, objects) => {
                debug!(kind = kind.name(), objects = objects.len(), "listed");
                let changes = self.world.replace(kind, objects, now);
                let synced_before = self.is_synced();
                self.listed.insert(kind);
                if synced_before {
                    self.changed(changes);
                } else if self.is_synced() {
                    info!("controllers know the cluster");
                    for task in all(&self.world) {
                        self.queue.add(task);
                    }
                }
            }
        }
    }

    fn changed(&mut self, changes: impl IntoIterator<Item = Change>) {
        if !self.is_synced() {
            return;
        }
        for change in changes {
            for task in affected(&change, &self.world) {
                self.queue.add(task);
            }
        }
    }

    fn dispatch(&mut self) {
        if !self.is_synced() {
            return;
        }
        while self.workers.len() < WORKERS {
            let now = self.now();
            let Some(task) = self.queue.pop(now.uptime) else { return };
            let outcome = task.reconcile(&self.world, &self.config, now);
            for note in outcome.notes.iter().cloned() {
                self.executor.note(note);
            }
            if outcome.steps.is_empty() {
                self.queue.done(&task, false, now.uptime);
                self.again(task, outcome.again_after);
            } else {
                self.workers.spawn(work(self.executor.clone(), task, outcome));
            }
        }
    }

    fn finish(&mut self, finished: Finished) {
        let Finished { task, effects, error, again_after } = finished;
        let now = self.now();
        for effect in effects {
            let change = effect.apply(&mut self.world, now);
            self.changed(change);
        }
        match error {
            None => {
                self.queue.done(&task, true, now.uptime);
                self.again(task, again_after);
            }
            Some(error) => {
                let controller = task.controller();
                let delay = self.queue.failed(&task, now.uptime);
                if error.is_expected() {
                    debug!(controller, ?task, %error, ?delay, "again");
                } else {
                    warn!(controller, ?task, %error, ?delay, "again");
                }
            }
        }
    }

    fn again(&mut self, task: Task, after: Option<Duration>) {
        if let Some(after) = after {
            self.queue.add_at(task, self.started.elapsed() + after);
        }
    }
}

async fn work(executor: Executor, task: Task, outcome: Outcome) -> Finished {
    let again_after = outcome.again_after;
    let (effects, error) = executor.run(outcome).await;
    Finished { task, effects, error, again_after }
}
