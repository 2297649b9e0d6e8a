//! One worker for each pod: it asks the core what to do, does it, and notes what came of it.
//!
//! The record on disk is written before and after whatever it speaks of, so a worker that takes
//! over from one that was killed finds out the rest by asking the runtime ([`adopt`]).

mod actions;
pub(crate) mod adopt;
pub(crate) mod api;
pub(crate) mod context;
mod errands;
mod files;
mod hook;
mod identity;
mod probing;
mod report;
mod resolv_conf;
mod sandbox;
mod start;

use std::{path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::{
    api::PodEvent, context::NodeContext, errands::Errands, probing::Probes, report::Reported,
};
use crate::{
    core::{ContainerState, Decision, Desire, Exit, Observed, decide, status},
    env::References,
    runtime::exits,
    volumes,
};

/// A lost notification costs at most this long.
const RESYNC: Duration = Duration::from_secs(10);
/// Between attempts at what has to succeed: teardown, and word to the API.
const RETRY: Duration = Duration::from_secs(1);
/// A pod stopped without a word about its grace.
const GRACE_SECS_DEFAULT: i64 = 30;

/// What the node is told of a pod.
#[derive(Clone, Debug)]
pub(crate) enum Assignment {
    Present(Arc<Pod>),
    /// Not in the API any more.
    Gone,
}

pub(crate) struct Worker {
    node: Arc<NodeContext>,
    uid: String,
    pod: Pod,
    gone: bool,
    assignment: watch::Receiver<Assignment>,
    observed: Observed,
    /// Some container of the pod has ended.
    exited: Arc<Notify>,
    probes: Probes,
    errands: Errands,
    references: References,
    reported: Reported,
    /// Nothing is tried again before that.
    held_until: Option<Timestamp>,
}

/// Whether a worker has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    /// The action failed and is tried again a little later.
    Hold,
    /// Nothing is left of the pod.
    Finished,
}

/// Names become directories and container ids, so only what cannot mislead is taken.
pub(crate) fn is_path_safe(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// The images that a pod names.
pub(crate) fn image_names(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
    containers.filter_map(|container| container.image.clone()).collect()
}

impl Worker {
    pub(crate) fn new(
        node: Arc<NodeContext>,
        pod: Pod,
        assignment: watch::Receiver<Assignment>,
    ) -> Self {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        Self {
            probes: Probes::new(Arc::clone(&node)),
            errands: Errands::new(),
            node,
            uid,
            pod,
            gone: false,
            assignment,
            observed: Observed::default(),
            exited: Arc::new(Notify::new()),
            references: References::default(),
            reported: Reported::default(),
            held_until: None,
        }
    }

    /// Runs until nothing is left of the pod, or until `stop`, which leaves it as it is.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        self.node.images.claim(&self.uid, &image_names(&self.pod));
        self.adopt().await;
        let mut refreshed = tokio::time::Instant::now();
        loop {
            self.take_assignment();
            self.note_exits().await;
            let decision = self.decide();
            let mut flow = Flow::Continue;
            for action in &decision.actions {
                debug!(pod = self.uid, ?action, "action");
                flow = self.perform(action).await;
                if flow != Flow::Continue {
                    break;
                }
            }
            match flow {
                Flow::Finished => return,
                Flow::Hold => self.held_until = Some(later(Timestamp::now(), RETRY)),
                Flow::Continue if !decision.actions.is_empty() => continue,
                Flow::Continue => {}
            }
            self.probes.follow(&self.pod, &self.observed);
            let unreported = !self.report().await;
            if stop.is_cancelled() {
                return;
            }
            if refreshed.elapsed() > RESYNC {
                refreshed = tokio::time::Instant::now();
                self.refresh_volumes().await;
            }
            self.wait(decision.wake.map(|(at, _)| at), unreported, &stop).await;
            if stop.is_cancelled() {
                return;
            }
        }
    }

    fn desire(&self) -> Desire {
        if self.gone {
            return Desire::Forget;
        }
        let metadata = &self.pod.metadata;
        let of_spec = || self.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
        match metadata.deletion_timestamp {
            Some(_) => Desire::Stop {
                grace_secs: metadata
                    .deletion_grace_period_seconds
                    .or_else(of_spec)
                    .unwrap_or(GRACE_SECS_DEFAULT),
            },
            None => Desire::Run,
        }
    }

    fn decide(&mut self) -> Decision {
        let now = Timestamp::now();
        if let Some(until) = self.held_until {
            if now < until {
                return Decision { actions: Vec::new(), wake: Some((until, "retry")) };
            }
            self.held_until = None;
        }
        decide(&self.pod, self.desire(), &self.observed, now)
    }

    fn take_assignment(&mut self) {
        let assignment = self.assignment.borrow_and_update().clone();
        match assignment {
            Assignment::Present(pod) => {
                if *pod != self.pod {
                    self.pod = Arc::unwrap_or_clone(pod);
                    self.save_pod();
                }
            }
            Assignment::Gone => self.gone = true,
        }
    }

    /// Waits for whatever could change a decision.
    async fn wait(&mut self, wake: Option<Timestamp>, unreported: bool, stop: &CancellationToken) {
        let mut pause = RESYNC;
        if let Some(at) = wake {
            let until = at.duration_since(Timestamp::now());
            pause = pause.min(until.try_into().unwrap_or(Duration::ZERO));
        }
        if unreported {
            pause = pause.min(RETRY);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            changed = self.assignment.changed() => {
                if changed.is_err() {
                    // Whoever assigned pods is gone; so is the node's process, then.
                    stop.cancelled().await;
                }
            }
            () = self.exited.notified() => {}
            result = self.probes.next() => self.note_probe(result),
            note = self.errands.next() => self.take_note(note),
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn note_probe(&mut self, result: probing::ProbeResult) {
        let Some(container) = probing::container(&self.pod, &result.container) else { return };
        let Some(record) = self.observed.containers.get_mut(&result.container) else { return };
        if record.running_id() != Some(&result.id) {
            return;
        }
        let Some(probe) = result.kind.probe(container) else { return };
        let verdict = self.probes.count(&result, probe);
        let changed = record.health.apply(result.kind, verdict, &result.message);
        if !result.success && !result.early {
            let message = format!("{} probe failed: {}", result.kind.name(), result.message);
            let container = Some(result.container);
            self.event(PodEvent { warning: true, reason: "Unhealthy", message, container });
        }
        if changed {
            self.save();
        }
    }

    /// Takes in the exit codes that conmon has left.
    async fn note_exits(&mut self) {
        let running: Vec<(String, String)> = self
            .observed
            .containers
            .iter()
            .filter_map(|(name, record)| Some((name.clone(), record.running_id()?.to_owned())))
            .collect();
        for (name, id) in running {
            match exits::read(&self.node.runtime, &id) {
                Ok(Some((exit_code, at))) => {
                    let finished_at = Timestamp::try_from(at).unwrap_or_else(|_e| Timestamp::now());
                    self.note_exit(&name, &id, exit_code, finished_at, None).await;
                }
                Ok(None) => {}
                Err(error) => warn!(pod = self.uid, container = name, %error, "exit code"),
            }
        }
    }

    async fn note_exit(
        &mut self,
        name: &str,
        id: &str,
        exit_code: i32,
        finished_at: Timestamp,
        reason: Option<&str>,
    ) {
        let Some(record) = self.observed.containers.get(name) else { return };
        let started_at = match &record.state {
            ContainerState::Running { started_at, .. } => *started_at,
            _ => finished_at,
        };
        let bundle = self.bundle(name, record.restarts);
        // conmon leaves a file when the kernel's OOM killer was there, but misses it where the
        // container ends at once.
        let group = format!("{}/{name}", self.node.pod_cgroup(&self.uid));
        let oom_killed = bundle.join("oom").exists()
            || exit_code != 0 && self.node.hierarchies.oom_kills(&group) > 0;
        let reason = match reason {
            Some(reason) => Some(reason.to_owned()),
            None => oom_killed.then(|| "OOMKilled".to_owned()),
        };
        let message = self.termination_message(name, &bundle, exit_code);
        let exit = Exit { id: id.to_owned(), exit_code, started_at, finished_at, reason, message };
        debug!(pod = self.uid, container = name, exit_code, "exited");
        if let Some(record) = self.observed.containers.get_mut(name) {
            record.note_exit(exit);
        }
        self.save();
        self.clean_container(name, id).await;
        self.announce_backoff(name);
    }

    fn announce_backoff(&self, name: &str) {
        let Some(record) = self.observed.containers.get(name) else { return };
        let Some(spec) = &self.pod.spec else { return };
        let policy = crate::core::policy(spec, name);
        let delay = record.backoff.delay().as_secs();
        let stays = self.observed.stopping.is_some()
            || record.exit().is_some_and(|exit| !crate::core::restarts(policy, exit));
        if delay > 0 && !stays {
            self.event(PodEvent {
                warning: true,
                reason: "BackOff",
                message: format!("Back-off restarting failed container {name}"),
                container: Some(name.to_owned()),
            });
        }
    }

    fn event(&self, event: PodEvent) {
        self.node.api.event(&self.pod, event);
    }

    fn dir(&self) -> PathBuf {
        self.node.runtime.pod_dir(&self.uid)
    }

    fn bundle(&self, container: &str, restarts: u32) -> PathBuf {
        self.dir().join("containers").join(container).join(restarts.to_string())
    }

    fn log(&self, container: &str, restarts: u32) -> PathBuf {
        log_path(&self.dir(), container, restarts)
    }

    fn save(&self) {
        let path = self.dir().join("state.json");
        if let Err(error) = crate::disk::write_json(&path, &self.observed) {
            // The pod goes on; only a later process would know less of it.
            warn!(pod = self.uid, path = %path.display(), %error, "record not written");
        }
    }

    fn save_pod(&self) {
        let path = self.dir().join("pod.json");
        if let Err(error) = crate::disk::write_json(&path, &self.pod) {
            warn!(pod = self.uid, path = %path.display(), %error, "record not written");
        }
    }

    /// ConfigMaps and Secrets may have changed under a running pod.
    async fn refresh_volumes(&mut self) {
        let running = matches!(self.observed.sandbox, crate::core::Sandbox::Ready { .. });
        if !running || self.observed.stopping.is_some() || !volumes::has_projections(&self.pod) {
            return;
        }
        if let Err(error) = self.prepare_volumes().await {
            warn!(pod = self.uid, %error, "volumes not refreshed");
        }
    }

    fn status(&self) -> k8s_openapi::api::core::v1::PodStatus {
        let host = status::Host { addresses: &self.node.config.node_addresses };
        status::status(&self.pod, &self.observed, host, Timestamp::now())
    }
}

pub(crate) fn log_path(pod_dir: &std::path::Path, container: &str, restarts: u32) -> PathBuf {
    pod_dir.join("logs").join(container).join(format!("{restarts}.log"))
}

#[cfg(test)]
mod tests;

fn later(from: Timestamp, pause: Duration) -> Timestamp {
    from.checked_add(pause).unwrap_or(Timestamp::MAX)
}
