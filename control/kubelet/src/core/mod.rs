//! What is to be done for a pod, as a function of what is wanted, what is there, and the time.
//!
//! Nothing in here waits, reads or writes; the worker (`crate::pod`) performs the actions, notes
//! what came of them in [`Observed`] and asks again.

pub(crate) mod backoff;
mod decide;
pub(crate) mod probe;
pub(crate) mod status;

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    jiff::Timestamp,
};
use serde::{Deserialize, Serialize};

pub(crate) use decide::{Action, Decision, Desire, KillReason, decide};

/// What the node knows of a pod. It is the record on disk as well: what a later process has to
/// know is in here, what it can ask the runtime for is checked there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Observed {
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) sandbox: Sandbox,
    /// By name, init containers as well: a pod's names are unique over both.
    pub(crate) containers: BTreeMap<String, ContainerRecord>,
    /// When the node was told to stop the pod, and how long that may take.
    pub(crate) stopping: Option<Stopping>,
    /// The pod has run to its end, as `Succeeded` or `Failed`, and is not taken up again.
    pub(crate) outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stopping {
    pub(crate) since: Timestamp,
    pub(crate) grace_secs: i64,
    #[serde(default)]
    pub(crate) leaving: Leaving,
}

/// How far a pod has come on its way out of the services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Leaving {
    /// Nobody has been asked yet.
    #[default]
    Due,
    /// The nodes are being asked, at most until then.
    Waiting { until: Timestamp },
    /// No node sends it new flows, or nobody waits for that any longer. The grace counts from here.
    Left { at: Timestamp },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) succeeded: bool,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sandbox {
    #[default]
    Absent,
    /// The last attempt failed; the next is made after `retry_at`.
    Failed {
        message: String,
        attempts: u32,
        retry_at: Timestamp,
    },
    Ready {
        addresses: Vec<IpAddr>,
    },
    /// Torn down after the pod has ended.
    Removed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) state: ContainerState,
    /// How often it was started before the present time.
    pub(crate) restarts: u32,
    /// How the time before ended.
    pub(crate) last: Option<Exit>,
    pub(crate) backoff: backoff::Backoff,
    /// Why it could not be started; cleared when it is.
    pub(crate) failure: Option<StartFailure>,
    pub(crate) killing: Option<Killing>,
    /// Digest of the image it was started from.
    pub(crate) image_id: Option<String>,
    /// What the probes say; meaningless unless it runs. On disk as well: a pod that is ready
    /// stays so while the node's process is replaced.
    #[serde(default)]
    pub(crate) health: probe::Health,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ContainerState {
    #[default]
    Waiting,
    /// Written before the runtime is asked, so that a crash in between leaves a trace.
    Starting {
        id: String,
    },
    Running {
        id: String,
        started_at: Timestamp,
    },
    Exited(Exit),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) id: String,
    pub(crate) exit_code: i32,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
}

/// Kubernetes' own reasons: `ErrImageNeverPull`, `CreateContainerConfigError`, `RunContainerError`…
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartFailure {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) retry_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Killing {
    /// When SIGTERM is followed by SIGKILL.
    pub(crate) deadline: Timestamp,
    pub(crate) forced: bool,
    /// Its preStop hook is over, or it has none.
    #[serde(default)]
    pub(crate) pre_stop_over: bool,
    /// SIGTERM has been sent.
    #[serde(default)]
    pub(crate) signalled: bool,
}

impl Killing {
    pub(crate) fn begun(deadline: Timestamp, pre_stop_over: bool) -> Self {
        Self { deadline, forced: false, pre_stop_over, signalled: false }
    }

    pub(crate) fn forced(deadline: Timestamp) -> Self {
        Self { deadline, forced: true, pre_stop_over: true, signalled: true }
    }
}

impl Observed {
    pub(crate) fn container(&self, name: &str) -> Option<&ContainerRecord> {
        self.containers.get(name)
    }
}

impl ContainerRecord {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. } | ContainerState::Starting { .. })
    }

    pub(crate) fn running_id(&self) -> Option<&str> {
        match &self.state {
            ContainerState::Running { id, .. } | ContainerState::Starting { id } => Some(id),
            ContainerState::Waiting | ContainerState::Exited(_) => None,
        }
    }

    /// Whether it runs, its postStart hook is over and its startup probe has succeeded.
    pub(crate) fn has_started(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
            && self.health.started
            && !self.health.post_start_pending
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        match &self.state {
            ContainerState::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    /// Notes that the container has ended.
    pub(crate) fn note_exit(&mut self, exit: Exit) {
        self.backoff.note_exit(exit.started_at, exit.finished_at);
        self.killing = None;
        self.health = probe::Health::default();
        self.state = ContainerState::Exited(exit);
    }
}

/// Whether a container that has ended is to be started again.
pub(crate) fn restarts(policy: &str, exit: &Exit) -> bool {
    match policy {
        "Never" => false,
        "OnFailure" => exit.exit_code != 0,
        // Always, and the default.
        _ => true,
    }
}

/// An init container that does not end: it runs beside the others, and is theirs to rely on.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// When a container of the pod is started again.
pub(crate) fn policy<'a>(spec: &'a PodSpec, name: &str) -> &'a str {
    let of_pod = spec.restart_policy.as_deref().unwrap_or("Always");
    match spec.init_containers.iter().flatten().find(|c| c.name == name) {
        Some(sidecar) if is_sidecar(sidecar) => "Always",
        // Always means for an init container: until it succeeds.
        Some(_) if of_pod == "Always" => "OnFailure",
        _ => of_pod,
    }
}

/// Whether the hook and the probes that the container has leave it not ready until they succeed.
pub(crate) fn initially(container: &Container) -> probe::Health {
    let hooks = container.lifecycle.as_ref();
    probe::Health {
        started: container.startup_probe.is_none(),
        ready: container.readiness_probe.is_none(),
        post_start_pending: hooks.is_some_and(|hooks| hooks.post_start.is_some()),
        unhealthy: None,
        cause: None,
    }
}

#[cfg(test)]
mod tests;
