//! What the core decided, done.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::jiff::Timestamp;
use tracing::{info, warn};

use super::{
    Flow, Worker,
    api::{ApiError, PodEvent},
    errands::Note,
};
use crate::{
    core::{Action, KillReason, Killing, Leaving, Sandbox, probe::Cause},
    network::Leaver,
    runtime::{Signal, exits, rootfs},
};

impl Worker {
    pub(super) async fn perform(&mut self, action: &Action) -> Flow {
        match action {
            Action::CreateSandbox => self.create_sandbox().await,
            Action::RemoveSandbox => return self.remove_sandbox().await,
            Action::Start { container } => self.start(container).await,
            Action::Leave { until } => self.leave(*until),
            Action::Terminate { container, deadline, reason } => {
                self.terminate(container, *deadline, reason);
            }
            Action::Signal { container } => self.send_term(container).await,
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

    /// Runs the preStop hook, at once; SIGTERM comes after it.
    fn terminate(&mut self, name: &str, deadline: Timestamp, reason: &KillReason) {
        let hook = self.hooks(name).and_then(|hooks| hooks.pre_stop.clone());
        let Some(record) = self.observed.containers.get_mut(name) else { return };
        let Some(id) = record.running_id().map(str::to_owned) else { return };
        record.killing = Some(Killing::begun(deadline, hook.is_none()));
        self.save();
        let message = match reason {
            KillReason::PodStopped => format!("Stopping container {name}"),
            KillReason::DeadlineExceeded => {
                format!("Stopping container {name}: the pod's active deadline is over")
            }
            KillReason::Unhealthy(Cause::PostStart, _) => "FailedPostStartHook".to_owned(),
            KillReason::Unhealthy(Cause::Startup, why) => {
                format!("Container {name} failed startup probe, will be restarted: {why}")
            }
            KillReason::Unhealthy(Cause::Liveness, why) => {
                format!("Container {name} failed liveness probe, will be restarted: {why}")
            }
        };
        let container = Some(name.to_owned());
        self.event(PodEvent { warning: false, reason: "Killing", message, container });
        if let Some(hook) = hook {
            // Its time is part of the grace: SIGKILL comes at the deadline either way.
            let left = deadline.duration_since(Timestamp::now()).try_into().unwrap_or_default();
            let container = name.to_owned();
            self.run_hook(name, hook, id.clone(), left, |outcome| Note::PreStopOver {
                container,
                id,
                outcome,
            });
        }
    }

    /// Where it fails, SIGKILL comes in its time.
    async fn send_term(&mut self, name: &str) {
        let Some(record) = self.observed.containers.get_mut(name) else { return };
        let Some(id) = record.running_id().map(str::to_owned) else { return };
        if let Some(killing) = &mut record.killing {
            killing.signalled = true;
        }
        self.save();
        self.signal(&id, Signal::Term).await;
    }

    /// Begins to ask the nodes whether they have taken the pod out of the services.
    fn leave(&mut self, until: Timestamp) {
        let leaving = match (&self.node.network, &self.observed.sandbox) {
            (Some(network), Sandbox::Ready { addresses }) => {
                let network = Arc::clone(network);
                let leaver = Leaver { addresses: addresses.clone(), pids: self.pids() };
                let left = until.duration_since(Timestamp::now()).try_into().unwrap_or_default();
                let pod = self.uid.clone();
                self.errands.run(async move {
                    let parting = network.leave(&leaver, left).await;
                    info!(
                        pod,
                        endpoint = parting.was_endpoint,
                        nodes = parting.nodes,
                        unacknowledged = parting.unacknowledged,
                        withdrawn_ms = parting.withdrawn_after.as_secs_f64() * 1e3,
                        took_ms = parting.took.as_secs_f64() * 1e3,
                        busy = parting.busy,
                        "left the services"
                    );
                    Note::Left
                });
                Leaving::Waiting { until }
            }
            _ => Leaving::Left { at: Timestamp::now() },
        };
        if let Some(stopping) = &mut self.observed.stopping {
            stopping.leaving = leaving;
        }
        self.save();
    }

    /// The first processes of the containers that run.
    fn pids(&self) -> Vec<i32> {
        let running = self.observed.containers.iter().filter(|(_, record)| record.is_running());
        let files = running.map(|(name, record)| self.bundle(name, record.restarts).join("pid"));
        files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).collect()
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
            record.killing = Some(Killing::forced(deadline));
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
                self.node.images.release(&self.uid);
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
