//! What the core decided, done.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{api::core::v1::LifecycleHandler, jiff::Timestamp};
use tracing::{info, warn};

use super::{
    Flow, Worker,
    api::{ApiError, PodEvent},
};
use crate::{
    core::{Action, KillReason, Killing},
    runtime::{Signal, exits, rootfs},
};

impl Worker {
    pub(super) async fn perform(&mut self, action: &Action) -> Flow {
        match action {
            Action::CreateSandbox => self.create_sandbox().await,
            Action::RemoveSandbox => return self.remove_sandbox().await,
            Action::Start { container } => self.start(container).await,
            Action::Terminate { container, deadline, reason } => {
                self.terminate(container, *deadline, reason).await;
            }
            Action::Kill { container } => return self.kill(container).await,
            Action::ConfirmDeletion => return self.confirm_deletion().await,
            Action::Erase => return self.erase().await,
            Action::NoteStopping(stopping) => {
                self.observed.stopping = Some(*stopping);
                self.save();
            }
            Action::NoteOutcome(outcome) => {
                info!(pod = self.uid, succeeded = outcome.succeeded, "ended");
                self.observed.outcome = Some(outcome.clone());
                self.save();
            }
        }
        Flow::Continue
    }

    async fn terminate(&mut self, name: &str, deadline: Timestamp, reason: &KillReason) {
        let Some(record) = self.observed.containers.get_mut(name) else { return };
        let Some(id) = record.running_id().map(str::to_owned) else { return };
        record.killing = Some(Killing { deadline, forced: false });
        let message = match reason {
            KillReason::PodStopped => format!("Stopping container {name}"),
            KillReason::DeadlineExceeded => {
                format!("Stopping container {name}: the pod's active deadline is over")
            }
            KillReason::Unhealthy(why) => {
                format!("Container {name} failed liveness probe, will be restarted: {why}")
            }
        };
        self.save();
        let container = Some(name.to_owned());
        self.event(PodEvent { warning: false, reason: "Killing", message, container });
        match self.pre_stop(name) {
            // Where it fails, SIGKILL comes in its time.
            None => drop(self.signal(&id, Signal::Term).await),
            Some(hook) => self.signal_after(hook, id, deadline),
        }
    }

    fn pre_stop(&self, name: &str) -> Option<LifecycleHandler> {
        let container = super::probing::container(&self.pod, name)?;
        container.lifecycle.as_ref()?.pre_stop.clone()
    }

    /// The hook's time is part of the grace: SIGKILL comes at the deadline either way.
    fn signal_after(&self, hook: LifecycleHandler, id: String, deadline: Timestamp) {
        let left = deadline.duration_since(Timestamp::now()).try_into().unwrap_or(Duration::ZERO);
        let node = Arc::clone(&self.node);
        let address = super::probing::address(&self.pod, &self.observed, &node);
        tokio::spawn(async move {
            let work = super::hook::run(&node, &hook, &id, address, left);
            if let Ok(Err(message)) = tokio::time::timeout(left, work).await {
                warn!(id, message, "preStop hook");
            }
            if let Err(error) = node.runtime.kill(&id, Signal::Term).await {
                warn!(id, %error, "signal");
            }
        });
    }

    /// Noted only once it is sent: after it nothing else would end the container.
    async fn kill(&mut self, container: &str) -> Flow {
        let Some(record) = self.observed.containers.get(container) else { return Flow::Continue };
        let Some(id) = record.running_id().map(str::to_owned) else { return Flow::Continue };
        let deadline = record.killing.map_or_else(Timestamp::now, |k| k.deadline);
        if !self.signal(&id, Signal::Kill).await {
            return Flow::Hold;
        }
        if let Some(record) = self.observed.containers.get_mut(container) {
            record.killing = Some(Killing { deadline, forced: true });
        }
        self.save();
        Flow::Continue
    }

    /// Whether it was sent, or nobody is there to hear it.
    async fn signal(&self, id: &str, signal: Signal) -> bool {
        let sent = self.node.runtime.kill(id, signal).await;
        if let Err(error) = &sent {
            warn!(pod = self.uid, id, ?signal, %error, "signal");
        }
        sent.is_ok()
    }

    async fn confirm_deletion(&mut self) -> Flow {
        // The last word on the containers, for whoever watches the pod go.
        self.report().await;
        match self.node.api.confirm_deletion(&self.pod).await {
            Ok(()) | Err(ApiError::Gone) => Flow::Continue,
            Err(error) => {
                warn!(pod = self.uid, %error, "deletion not confirmed");
                Flow::Hold
            }
        }
    }

    async fn erase(&mut self) -> Flow {
        self.probes.stop();
        self.sweep().await;
        let done = crate::volumes::release(&self.dir(), &self.pod)
            .and_then(|()| {
                self.node.hierarchies.remove(&self.node.pod_cgroup(&self.uid)).map_err(
                    crate::runtime::RuntimeError::io(format!("cgroup of pod {}", self.uid)),
                )
            })
            .and_then(|()| {
                crate::disk::remove(&self.dir())
                    .map_err(crate::runtime::RuntimeError::io(self.dir().display().to_string()))
            });
        match done {
            Ok(()) => {
                info!(pod = self.uid, "removed");
                Flow::Finished
            }
            Err(error) => {
                warn!(pod = self.uid, %error, "pod not removed");
                Flow::Hold
            }
        }
    }

    /// Takes away what a container that has ended leaves behind, but for its log.
    pub(super) async fn clean_container(&self, name: &str, id: &str) {
        let restarts = self.observed.containers.get(name).map_or(0, |r| r.restarts);
        self.clean(id, &self.bundle(name, restarts)).await;
    }

    /// Cleans up after the containers that do not run: a process that was killed right after it
    /// had noted an end has left their roots mounted.
    pub(super) async fn sweep(&self) {
        for (name, dir) in directories(&self.dir().join("containers")) {
            for (time, bundle) in directories(&dir) {
                let id = format!("{}_{name}_{time}", self.uid);
                let running = self.observed.containers.get(&name).and_then(|r| r.running_id());
                if running != Some(id.as_str()) {
                    self.clean(&id, &bundle).await;
                }
            }
        }
    }

    async fn clean(&self, id: &str, bundle: &Path) {
        self.node.exits.forget(id);
        let done = self.node.runtime.delete(id).await;
        let done = done.and_then(|()| rootfs::unmount_rootfs(bundle)).and_then(|()| {
            crate::disk::remove(bundle)
                .map_err(crate::runtime::RuntimeError::io(bundle.display().to_string()))
        });
        match done {
            // Only now: until then it is the trace by which a later process cleans up.
            Ok(()) => {
                if let Err(error) = exits::forget(&self.node.runtime, id) {
                    warn!(pod = self.uid, id, %error, "exit code not removed");
                }
            }
            Err(error) => warn!(pod = self.uid, id, %error, "container not cleaned up"),
        }
    }
}

fn directories(of: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(of) else { return Vec::new() };
    let named =
        entries.flatten().filter_map(|e| Some((e.file_name().into_string().ok()?, e.path())));
    named.collect()
}
