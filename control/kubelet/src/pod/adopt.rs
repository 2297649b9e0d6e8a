//! A pod found on disk: what is written there, checked against what is really running.

use std::{fs, path::Path, time::Duration};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use nix::{sys::signal::kill, unistd::Pid};
use tracing::{info, warn};

use super::Worker;
use crate::{
    core::{ContainerState, Leaving, Observed, Outcome, Sandbox},
    runtime::{Inspection, Runtime, exits},
};

/// Exit code of a container of which nobody knows how it ended.
const EXIT_CODE_UNKNOWN: i32 = 255;
/// conmon writes the exit code right after the container's end.
const EXIT_CODE_WAIT: Duration = Duration::from_secs(2);
const EXIT_CODE_POLL: Duration = Duration::from_millis(20);

/// The pods that have a record on this node.
pub(crate) fn recorded_pods(runtime: &Runtime) -> Vec<Pod> {
    let Ok(entries) = fs::read_dir(runtime.pods()) else { return Vec::new() };
    let mut pods = Vec::new();
    for entry in entries.flatten() {
        match crate::disk::read_json::<Pod>(&entry.path().join("pod.json")) {
            Ok(Some(pod)) => pods.push(pod),
            Ok(None) => {}
            Err(error) => warn!(path = %entry.path().display(), %error, "unreadable record"),
        }
    }
    pods
}

impl Worker {
    pub(super) async fn adopt(&mut self) {
        let path = self.dir().join("state.json");
        match crate::disk::read_json::<Observed>(&path) {
            Ok(Some(observed)) => self.observed = observed,
            Ok(None) => return self.note_foreign_end(),
            Err(error) => {
                warn!(pod = self.uid, %error, "unreadable record, taken as new");
                return;
            }
        }
        if let Some(stopping) = &mut self.observed.stopping
            && matches!(stopping.leaving, Leaving::Waiting { .. })
        {
            stopping.leaving = Leaving::Due;
        }
        self.adopt_containers().await;
        self.sweep().await;
        if matches!(self.observed.sandbox, Sandbox::Ready { .. }) && !self.sandbox_alive() {
            warn!(pod = self.uid, "namespaces are gone, the machine was restarted");
            self.observed.sandbox = Sandbox::Absent;
        }
        self.save();
    }

    /// A pod that the API knows as ended and we do not know at all is not begun anew.
    fn note_foreign_end(&mut self) {
        let status = self.pod.status.as_ref();
        let succeeded = match status.and_then(|s| s.phase.as_deref()) {
            Some("Succeeded") => true,
            Some("Failed") => false,
            _ => return,
        };
        self.observed.outcome = Some(Outcome {
            succeeded,
            reason: status.and_then(|s| s.reason.clone()),
            message: status.and_then(|s| s.message.clone()),
        });
    }

    async fn adopt_containers(&mut self) {
        let running: Vec<(String, String)> = self
            .observed
            .containers
            .iter()
            .filter_map(|(name, record)| Some((name.clone(), record.running_id()?.to_owned())))
            .collect();
        for (name, id) in running {
            self.node.exits.register(&id, &self.exited);
            let state = self.node.runtime.inspect(&id).await;
            match state {
                Ok(Inspection::Running) => self.keep(&name, &id),
                // Its program never ran, so nothing is lost by starting over.
                Ok(Inspection::Created) => self.start_over(&name, &id).await,
                Ok(Inspection::Stopped | Inspection::Unknown) => self.find_end(&name, &id).await,
                Err(error) => {
                    // Rather watched for its exit code than started a second time.
                    warn!(pod = self.uid, id, %error, "state unknown, taken as running");
                    self.keep(&name, &id);
                }
            }
        }
    }

    fn keep(&mut self, name: &str, id: &str) {
        info!(pod = self.uid, container = name, "adopted");
        let container = super::probing::container(&self.pod, name);
        let initial = container.map(crate::core::initially);
        if let Some(record) = self.observed.containers.get_mut(name)
            && matches!(record.state, ContainerState::Starting { .. })
        {
            record.state =
                ContainerState::Running { id: id.to_owned(), started_at: Timestamp::now() };
            record.health = initial.unwrap_or_default();
        }
        if let Some(record) = self.observed.containers.get_mut(name) {
            // A hook that our predecessor began has run on without us, and is not run twice.
            record.health.post_start_pending = false;
            // What ends a container is begun again, unless it has had its signal.
            record.killing = record.killing.filter(|killing| killing.signalled);
        }
    }

    async fn start_over(&mut self, name: &str, id: &str) {
        self.clean_container(name, id).await;
        if let Some(record) = self.observed.containers.get_mut(name) {
            record.state = ContainerState::Waiting;
        }
    }

    async fn find_end(&mut self, name: &str, id: &str) {
        let starting = self
            .observed
            .containers
            .get(name)
            .is_some_and(|r| matches!(r.state, ContainerState::Starting { .. }));
        let restarts = self.observed.containers.get(name).map_or(0, |r| r.restarts);
        let conmon = self.bundle(name, restarts).join("conmon.pid");
        let deadline = tokio::time::Instant::now() + EXIT_CODE_WAIT;
        loop {
            match exits::read(&self.node.runtime, id) {
                // The worker's next step takes it in.
                Ok(Some(_)) => return,
                Err(error) => warn!(pod = self.uid, id, %error, "exit code"),
                Ok(None) => {}
            }
            // A conmon that was begun right before our predecessor's end may be creating it still.
            if starting && matches!(self.node.runtime.inspect(id).await, Ok(Inspection::Created)) {
                break;
            }
            if tokio::time::Instant::now() > deadline || !is_alive(&conmon) {
                break;
            }
            tokio::time::sleep(EXIT_CODE_POLL).await;
        }
        if starting {
            return self.start_over(name, id).await;
        }
        let now = Timestamp::now();
        let reason = Some("ContainerStatusUnknown");
        self.note_exit(name, id, EXIT_CODE_UNKNOWN, now, reason).await;
    }
}

fn is_alive(pid_file: &Path) -> bool {
    let pid = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse().ok());
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None).is_ok())
}
