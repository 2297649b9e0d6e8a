//! A pod's status, as its readers expect it of a node.

use std::net::IpAddr;

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec,
        PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::{
    ContainerRecord, ContainerState, Exit, Observed, Sandbox, decide::has_begun, is_sidecar,
    policy, restarts,
};
use crate::quantity::QosClass;

/// What the status says besides the pod's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host<'a> {
    pub(crate) addresses: &'a [IpAddr],
}

pub(crate) fn status(pod: &Pod, observed: &Observed, host: Host<'_>, now: Timestamp) -> PodStatus {
    let Some(spec) = &pod.spec else { return PodStatus::default() };
    let known = pod.status.as_ref();
    let reporter = Reporter { pod, spec, observed, now };
    let containers = reporter.statuses(&spec.containers);
    let init_containers = spec.init_containers.as_deref().map(|c| reporter.statuses(c));
    let phase = reporter.phase();
    let sidecars = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c));
    let lasting: Vec<ContainerStatus> = sidecars
        .map(|container| reporter.container(container))
        .chain(containers.iter().cloned())
        .collect();
    let conditions = reporter.conditions(phase, &lasting);
    let outcome = observed.outcome.as_ref();
    let addresses = match (&observed.sandbox, spec.host_network) {
        (Sandbox::Ready { .. }, Some(true)) => host.addresses,
        (Sandbox::Ready { addresses }, _) => addresses,
        _ => &[],
    };
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        reason: outcome.and_then(|o| o.reason.clone()),
        message: outcome.and_then(|o| o.message.clone()),
        host_ip: host.addresses.first().map(ToString::to_string),
        host_ips: some_of(host.addresses.iter().map(|a| HostIP { ip: a.to_string() })),
        pod_ip: addresses.first().map(ToString::to_string),
        pod_ips: some_of(addresses.iter().map(|a| PodIP { ip: a.to_string() })),
        start_time: observed.started_at.map(time),
        container_statuses: Some(containers),
        init_container_statuses: init_containers,
        qos_class: Some(
            known
                .and_then(|s| s.qos_class.clone())
                .unwrap_or_else(|| QosClass::of(spec).name().to_owned()),
        ),
        ..PodStatus::default()
    }
}

fn some_of<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<T> = items.collect();
    (!items.is_empty()).then_some(items)
}

/// Whole seconds: the API has no finer ones, and what comes back has to be equal.
fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

struct Reporter<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    observed: &'a Observed,
    now: Timestamp,
}

impl Reporter<'_> {
    fn initialized(&self) -> bool {
        has_begun(self.spec, self.observed) || self.incomplete().is_empty()
    }

    /// The init containers that the pod waits for.
    fn incomplete(&self) -> Vec<&str> {
        let init = self.spec.init_containers.iter().flatten();
        let waits = init.filter(|c| {
            let record = self.observed.container(&c.name);
            let exit = record.and_then(ContainerRecord::exit);
            !record.is_some_and(|r| is_sidecar(c) && r.has_started())
                && exit.is_none_or(|exit| exit.exit_code != 0 || is_sidecar(c))
        });
        waits.map(|c| c.name.as_str()).collect()
    }

    fn phase(&self) -> &'static str {
        // While a sidecar ends after the others, the pod still runs.
        let running = self.observed.containers.values().any(ContainerRecord::is_running);
        if let Some(outcome) = self.observed.outcome.as_ref().filter(|_| !running) {
            return if outcome.succeeded { "Succeeded" } else { "Failed" };
        }
        let was_started = |c: &Container| {
            self.observed.container(&c.name).is_some_and(|record| {
                record.last.is_some()
                    || matches!(
                        record.state,
                        ContainerState::Running { .. } | ContainerState::Exited(_)
                    )
            })
        };
        if self.spec.containers.iter().all(was_started) { "Running" } else { "Pending" }
    }

    fn statuses(&self, containers: &[Container]) -> Vec<ContainerStatus> {
        containers.iter().map(|container| self.container(container)).collect()
    }

    fn container(&self, container: &Container) -> ContainerStatus {
        let image = container.image.clone().unwrap_or_default();
        let Some(record) = self.observed.container(&container.name) else {
            return ContainerStatus {
                name: container.name.clone(),
                image,
                image_id: String::new(),
                started: Some(false),
                state: Some(waiting(self.waiting_reason(), None)),
                ..ContainerStatus::default()
            };
        };
        let (state, last, id) = self.states(&container.name, record);
        let running = matches!(record.state, ContainerState::Running { .. });
        ContainerStatus {
            name: container.name.clone(),
            image,
            image_id: record.image_id.clone().unwrap_or_default(),
            container_id: id.map(|id| format!("runc://{id}")),
            restart_count: i32::try_from(record.restarts).unwrap_or(i32::MAX),
            ready: self.is_ready(container, record),
            started: Some(running && record.has_started()),
            state: Some(state),
            last_state: Some(last.unwrap_or_default()),
            ..ContainerStatus::default()
        }
    }

    fn is_ready(&self, container: &Container, record: &ContainerRecord) -> bool {
        let init = self.spec.init_containers.iter().flatten();
        let is_init = init.filter(|c| !is_sidecar(c)).any(|c| c.name == container.name);
        match &record.state {
            ContainerState::Running { .. } => {
                !is_init && record.has_started() && record.health.ready
            }
            // An init container is ready once it has done its work.
            ContainerState::Exited(exit) => is_init && exit.exit_code == 0,
            ContainerState::Waiting | ContainerState::Starting { .. } => false,
        }
    }

    fn waiting_reason(&self) -> &'static str {
        if self.initialized() { "ContainerCreating" } else { "PodInitializing" }
    }

    /// The present state, the last one, and the id of the container that the present one is of.
    fn states(
        &self,
        name: &str,
        record: &ContainerRecord,
    ) -> (ApiState, Option<ApiState>, Option<String>) {
        let last = record.last.as_ref().map(terminated);
        let last_id = record.last.as_ref().map(|exit| exit.id.clone());
        let failure = record.failure.as_ref();
        match &record.state {
            ContainerState::Waiting | ContainerState::Starting { .. } => {
                let state = match failure {
                    Some(failure) => waiting(&failure.reason, Some(failure.message.clone())),
                    None => waiting(self.waiting_reason(), None),
                };
                (state, last, last_id)
            }
            ContainerState::Running { id, .. } if record.health.post_start_pending => {
                (waiting(self.waiting_reason(), None), last, Some(id.clone()))
            }
            ContainerState::Running { id, started_at } => {
                let running = ContainerStateRunning { started_at: Some(time(*started_at)) };
                let state = ApiState { running: Some(running), ..ApiState::default() };
                (state, last, Some(id.clone()))
            }
            ContainerState::Exited(exit) => match self.pause(name, record, exit) {
                Some(state) => (state, Some(terminated(exit)), Some(exit.id.clone())),
                None => (terminated(exit), last, Some(exit.id.clone())),
            },
        }
    }

    /// Why a container that has ended and will be started again is not running yet.
    fn pause(&self, name: &str, record: &ContainerRecord, exit: &Exit) -> Option<ApiState> {
        let stays = self.observed.stopping.is_some()
            || self.observed.outcome.is_some()
            || !restarts(policy(self.spec, name), exit);
        if stays {
            return None;
        }
        if let Some(failure) = &record.failure {
            return Some(waiting(&failure.reason, Some(failure.message.clone())));
        }
        let delay = record.backoff.delay();
        if delay == SignedDuration::ZERO || self.now >= exit.finished_at + delay {
            return None;
        }
        let metadata = &self.pod.metadata;
        let message = format!(
            "back-off {}s restarting failed container={name} pod={}_{}({})",
            delay.as_secs(),
            metadata.name.as_deref().unwrap_or_default(),
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.uid.as_deref().unwrap_or_default(),
        );
        Some(waiting("CrashLoopBackOff", Some(message)))
    }

    fn conditions(&self, phase: &str, containers: &[ContainerStatus]) -> Vec<PodCondition> {
        let unready: Vec<&str> =
            containers.iter().filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
        let ended = matches!(phase, "Succeeded" | "Failed");
        let containers_ready = match (ended, unready.is_empty()) {
            (true, _) if phase == "Succeeded" => Finding::not("PodCompleted", String::new()),
            (true, _) => Finding::not("PodFailed", String::new()),
            (false, true) => Finding::holds(),
            (false, false) => Finding::not(
                "ContainersNotReady",
                format!("containers with unready status: [{}]", unready.join(" ")),
            ),
        };
        let ready = match self.closed_gate() {
            Some(gate) if containers_ready.holds => Finding::not(
                "ReadinessGatesNotReady",
                format!("the status of pod readiness gate {gate:?} is not \"True\""),
            ),
            _ => containers_ready.clone(),
        };
        let initialized = match self.initialized() {
            true => Finding::holds(),
            false => Finding::not(
                "ContainersNotInitialized",
                format!("containers with incomplete status: [{}]", self.incomplete().join(" ")),
            ),
        };
        let mut conditions: Vec<PodCondition> = Vec::new();
        for (kind, finding) in [
            ("PodScheduled", Finding::holds()),
            ("Initialized", initialized),
            ("ContainersReady", containers_ready),
            ("Ready", ready),
        ] {
            conditions.push(self.condition(kind, finding));
        }
        // Those that others keep, readiness gates among them.
        let others = self.known_conditions().iter().filter(|known| {
            !["PodScheduled", "Initialized", "ContainersReady", "Ready"]
                .contains(&known.type_.as_str())
        });
        conditions.extend(others.cloned());
        conditions
    }

    fn known_conditions(&self) -> &[PodCondition] {
        self.pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default()
    }

    fn closed_gate(&self) -> Option<&str> {
        self.spec.readiness_gates.iter().flatten().map(|g| g.condition_type.as_str()).find(|gate| {
            !self.known_conditions().iter().any(|c| c.type_ == *gate && c.status == "True")
        })
    }

    fn condition(&self, kind: &str, finding: Finding) -> PodCondition {
        let status = if finding.holds { "True" } else { "False" };
        let known = self.known_conditions().iter().find(|c| c.type_ == kind);
        // The time is that of the last change of the status, not of its reason.
        let since = known
            .filter(|c| c.status == status)
            .and_then(|c| c.last_transition_time.clone())
            .unwrap_or_else(|| time(self.now));
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: finding.reason.map(str::to_owned),
            message: finding.message.filter(|m| !m.is_empty()),
            last_transition_time: Some(since),
            ..PodCondition::default()
        }
    }
}

#[derive(Clone)]
struct Finding {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Finding {
    fn holds() -> Self {
        Self { holds: true, reason: None, message: None }
    }

    fn not(reason: &'static str, message: String) -> Self {
        Self { holds: false, reason: Some(reason), message: Some(message) }
    }
}

fn waiting(reason: &str, message: Option<String>) -> ApiState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ApiState { waiting: Some(waiting), ..ApiState::default() }
}

fn terminated(exit: &Exit) -> ApiState {
    let reason = match (&exit.reason, exit.exit_code) {
        (Some(reason), _) => reason.clone(),
        (None, 0) => "Completed".to_owned(),
        (None, _) => "Error".to_owned(),
    };
    let terminated = ContainerStateTerminated {
        exit_code: exit.exit_code,
        reason: Some(reason),
        message: exit.message.clone(),
        started_at: Some(time(exit.started_at)),
        finished_at: Some(time(exit.finished_at)),
        container_id: Some(format!("runc://{}", exit.id)),
        ..ContainerStateTerminated::default()
    };
    ApiState { terminated: Some(terminated), ..ApiState::default() }
}
