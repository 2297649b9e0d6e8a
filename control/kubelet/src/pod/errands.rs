//! What is done beside the worker, which goes on meanwhile: hooks, and the way out of the services.

use std::{future::Future, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Lifecycle, LifecycleHandler},
    jiff::Timestamp,
};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::debug;

use super::{Worker, api::PodEvent, hook, probing};
use crate::core::{Leaving, probe::Cause};

/// Notes that wait for the worker; an errand that finds no room waits itself.
const NOTES_MAX: usize = 64;

/// What came of an errand.
#[derive(Debug)]
pub(super) enum Note {
    Left,
    PostStartOver { container: String, id: String, outcome: Result<(), String> },
    PreStopOver { container: String, id: String, outcome: Result<(), String> },
}

/// The errands of one pod; they end with it.
pub(super) struct Errands {
    sender: mpsc::Sender<Note>,
    receiver: mpsc::Receiver<Note>,
    tasks: JoinSet<()>,
}

impl Errands {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(NOTES_MAX);
        Self { sender, receiver, tasks: JoinSet::new() }
    }

    pub(super) fn run(&mut self, errand: impl Future<Output = Note> + Send + 'static) {
        // Those that are over are forgotten when the next one begins.
        while self.tasks.try_join_next().is_some() {}
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            // The worker has gone where it fails.
            let _ = sender.send(errand.await).await;
        });
    }

    pub(super) async fn next(&mut self) -> Note {
        match self.receiver.recv().await {
            Some(note) => note,
            // Not while we hold a sender.
            None => std::future::pending().await,
        }
    }
}

impl Worker {
    pub(super) fn hooks(&self, name: &str) -> Option<&Lifecycle> {
        probing::container(&self.pod, name)?.lifecycle.as_ref()
    }

    /// Runs a hook of a container, for so long at most.
    pub(super) fn run_hook(
        &mut self,
        name: &str,
        hook: LifecycleHandler,
        id: String,
        limit: Duration,
        note: impl FnOnce(Result<(), String>) -> Note + Send + 'static,
    ) {
        let node = Arc::clone(&self.node);
        let address = probing::address(&self.pod, &self.observed, &node);
        let Some(container) = probing::container(&self.pod, name).cloned() else { return };
        self.errands.run(async move {
            let work = hook::run(&node, &hook, &id, &container, address, limit);
            let outcome = match tokio::time::timeout(limit, work).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => Err(format!("not over within {} s", limit.as_secs())),
            };
            note(outcome)
        });
    }

    pub(super) fn take_note(&mut self, note: Note) {
        match note {
            Note::Left => {
                if let Some(stopping) = &mut self.observed.stopping
                    && matches!(stopping.leaving, Leaving::Waiting { .. })
                {
                    stopping.leaving = Leaving::Left { at: Timestamp::now() };
                }
            }
            Note::PostStartOver { container, id, outcome } => {
                self.note_post_start(&container, &id, outcome);
            }
            Note::PreStopOver { container, id, outcome } => {
                if let Err(why) = outcome {
                    self.hook_failed("FailedPreStopHook", "PreStopHook", &container, why);
                }
                if let Some(record) = self.observed.containers.get_mut(&container)
                    && record.running_id() == Some(&id)
                    && let Some(killing) = &mut record.killing
                {
                    killing.pre_stop_over = true;
                }
            }
        }
        self.save();
    }

    fn note_post_start(&mut self, name: &str, id: &str, outcome: Result<(), String>) {
        let Some(record) = self.observed.containers.get_mut(name) else { return };
        if record.running_id() != Some(id) {
            return;
        }
        record.health.post_start_pending = false;
        if let Err(why) = outcome {
            record.health.fail(Cause::PostStart, &why);
            self.hook_failed("FailedPostStartHook", "PostStartHook", name, why);
        }
    }

    fn hook_failed(&self, reason: &'static str, hook: &str, container: &str, why: String) {
        debug!(pod = self.uid, container, reason, why, "hook");
        let message = format!("{hook} failed: {why}");
        let container = Some(container.to_owned());
        self.event(PodEvent { warning: true, reason, message, container });
    }
}
