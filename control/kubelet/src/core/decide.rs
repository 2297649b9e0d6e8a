//! The decision.

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec},
    jiff::{SignedDuration, Timestamp},
};

use super::{ContainerRecord, ContainerState, Observed, Outcome, Sandbox, Stopping, restarts};

/// Grace of a pod that says nothing, as the API server would have filled in.
const GRACE_SECS_DEFAULT: i64 = 30;

/// What is wanted of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Desire {
    Run,
    /// Deleted in the API, which waits for the node to say that it is gone.
    Stop {
        grace_secs: i64,
    },
    /// Gone from the API: nobody waits, and nobody is told.
    Forget,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KillReason {
    PodStopped,
    Unhealthy(String),
    DeadlineExceeded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    CreateSandbox,
    /// Namespaces, network and volumes; records and logs stay.
    RemoveSandbox,
    Start {
        container: String,
    },
    Terminate {
        container: String,
        deadline: Timestamp,
        reason: KillReason,
    },
    Kill {
        container: String,
    },
    /// Nothing runs any more: tell the API that the pod is gone, where it asked.
    ConfirmDeletion,
    /// Drop every trace of the pod.
    Erase,
    NoteStopping(Stopping),
    NoteOutcome(Outcome),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) actions: Vec<Action>,
    /// When to ask again although nothing was heard, and why.
    pub(crate) wake: Option<(Timestamp, &'static str)>,
}

impl Decision {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn wake_at(&mut self, at: Timestamp, why: &'static str) {
        if self.wake.is_none_or(|(earliest, _)| at < earliest) {
            self.wake = Some((at, why));
        }
    }
}

pub(crate) fn decide(pod: &Pod, desire: Desire, observed: &Observed, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    let Some(spec) = &pod.spec else {
        return decision;
    };
    match desire {
        Desire::Stop { grace_secs } => stop(&mut decision, grace_secs, false, observed, now),
        Desire::Forget => {
            let grace_secs = spec.termination_grace_period_seconds.unwrap_or(GRACE_SECS_DEFAULT);
            stop(&mut decision, grace_secs, true, observed, now);
        }
        Desire::Run if observed.outcome.is_some() => wind_up(&mut decision, observed),
        Desire::Run => run(&mut decision, spec, observed, now),
    }
    decision
}

/// The pod is to go: every container ends, then the sandbox, then the record.
fn stop(
    decision: &mut Decision,
    grace_secs: i64,
    forget: bool,
    observed: &Observed,
    now: Timestamp,
) {
    // A later request may shorten the time, never lengthen it.
    let stopping = match observed.stopping {
        Some(known) if known.grace_secs <= grace_secs => known,
        Some(known) => Stopping { grace_secs, ..known },
        None => Stopping { since: now, grace_secs },
    };
    if observed.stopping != Some(stopping) {
        return decision.act(Action::NoteStopping(stopping));
    }
    let deadline = after(stopping.since, stopping.grace_secs);
    let mut running = false;
    for (name, record) in observed.containers.iter().filter(|(_, r)| r.is_running()) {
        running = true;
        end(decision, name, record, deadline, now, || KillReason::PodStopped);
    }
    if running {
        return;
    }
    match observed.sandbox {
        Sandbox::Ready { .. } | Sandbox::Failed { .. } => decision.act(Action::RemoveSandbox),
        // Begun by a process that was killed before it could write down how far it had come.
        Sandbox::Absent if observed.started_at.is_some() => decision.act(Action::RemoveSandbox),
        Sandbox::Absent | Sandbox::Removed => {
            if !forget {
                decision.act(Action::ConfirmDeletion);
            }
            decision.act(Action::Erase);
        }
    }
}

/// The pod has ended by itself; its record and its logs stay until it is deleted.
fn wind_up(decision: &mut Decision, observed: &Observed) {
    let mut running = false;
    for (name, record) in observed.containers.iter().filter(|(_, r)| r.is_running()) {
        running = true;
        if !record.killing.is_some_and(|k| k.forced) {
            decision.act(Action::Kill { container: name.clone() });
        }
    }
    if !running && matches!(observed.sandbox, Sandbox::Ready { .. }) {
        decision.act(Action::RemoveSandbox);
    }
}

fn run(decision: &mut Decision, spec: &PodSpec, observed: &Observed, now: Timestamp) {
    if exceeded_deadline(decision, spec, observed, now) {
        return;
    }
    match &observed.sandbox {
        Sandbox::Ready { .. } => {}
        Sandbox::Failed { retry_at, .. } if now < *retry_at => {
            return decision.wake_at(*retry_at, "sandbox retry");
        }
        Sandbox::Absent | Sandbox::Failed { .. } | Sandbox::Removed => {
            return decision.act(Action::CreateSandbox);
        }
    }
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    if !initialize(decision, spec, policy, observed, now) {
        return;
    }
    let mut ended = 0;
    let mut failed = false;
    for container in &spec.containers {
        match observed.container(&container.name) {
            None => start_when_due(decision, container, None, now),
            Some(record) => match &record.state {
                ContainerState::Waiting => start_when_due(decision, container, Some(record), now),
                ContainerState::Starting { .. } | ContainerState::Running { .. } => {
                    check_health(decision, spec, container, record, now);
                }
                ContainerState::Exited(exit) if restarts(policy, exit) => {
                    start_when_due(decision, container, Some(record), now);
                }
                ContainerState::Exited(exit) => {
                    ended += 1;
                    failed |= exit.exit_code != 0;
                }
            },
        }
    }
    if ended == spec.containers.len() {
        decision.act(Action::NoteOutcome(Outcome {
            succeeded: !failed,
            reason: None,
            message: None,
        }));
    }
}

/// `activeDeadlineSeconds`: the pod fails when it has been there for so long.
fn exceeded_deadline(
    decision: &mut Decision,
    spec: &PodSpec,
    observed: &Observed,
    now: Timestamp,
) -> bool {
    let (Some(limit_secs), Some(started_at)) = (spec.active_deadline_seconds, observed.started_at)
    else {
        return false;
    };
    let deadline = after(started_at, limit_secs);
    if now < deadline {
        decision.wake_at(deadline, "active deadline");
        return false;
    }
    let grace_secs = spec.termination_grace_period_seconds.unwrap_or(GRACE_SECS_DEFAULT);
    let mut running = false;
    for (name, record) in observed.containers.iter().filter(|(_, r)| r.is_running()) {
        running = true;
        end(decision, name, record, after(deadline, grace_secs), now, || {
            KillReason::DeadlineExceeded
        });
    }
    if !running {
        decision.act(Action::NoteOutcome(Outcome {
            succeeded: false,
            reason: Some("DeadlineExceeded".to_owned()),
            message: Some(format!("Pod was active longer than {limit_secs} s")),
        }));
    }
    true
}

/// Init containers one after another; `true` when all have succeeded.
fn initialize(
    decision: &mut Decision,
    spec: &PodSpec,
    policy: &str,
    observed: &Observed,
    now: Timestamp,
) -> bool {
    if spec
        .containers
        .iter()
        .any(|c| observed.container(&c.name).is_some_and(|r| r.state != ContainerState::Waiting))
    {
        // They succeeded once, or nothing else had been started.
        return true;
    }
    // Always means for an init container: until it succeeds.
    let policy = if policy == "Always" { "OnFailure" } else { policy };
    for container in spec.init_containers.iter().flatten() {
        let record = observed.container(&container.name);
        match record.map(|r| &r.state) {
            None | Some(ContainerState::Waiting) => {
                start_when_due(decision, container, record, now);
                return false;
            }
            Some(ContainerState::Starting { .. } | ContainerState::Running { .. }) => return false,
            Some(ContainerState::Exited(exit)) if exit.exit_code == 0 => {}
            Some(ContainerState::Exited(exit)) if restarts(policy, exit) => {
                start_when_due(decision, container, record, now);
                return false;
            }
            Some(ContainerState::Exited(_)) => {
                decision.act(Action::NoteOutcome(Outcome {
                    succeeded: false,
                    reason: None,
                    message: Some(format!("init container {} failed", container.name)),
                }));
                return false;
            }
        }
    }
    true
}

fn start_when_due(
    decision: &mut Decision,
    container: &Container,
    record: Option<&ContainerRecord>,
    now: Timestamp,
) {
    let due = record.and_then(|record| {
        let after_exit = record.exit().map(|exit| exit.finished_at + record.backoff.delay());
        let after_failure = record.failure.as_ref().map(|failure| failure.retry_at);
        after_exit.max(after_failure)
    });
    match due {
        Some(due) if now < due => decision.wake_at(due, "back-off"),
        _ => decision.act(Action::Start { container: container.name.clone() }),
    }
}

fn check_health(
    decision: &mut Decision,
    spec: &PodSpec,
    container: &Container,
    record: &ContainerRecord,
    now: Timestamp,
) {
    if record.killing.is_none() && record.health.unhealthy.is_none() {
        return;
    }
    let grace_secs = container
        .liveness_probe
        .as_ref()
        .and_then(|p| p.termination_grace_period_seconds)
        .or(spec.termination_grace_period_seconds)
        .unwrap_or(GRACE_SECS_DEFAULT);
    let why = || KillReason::Unhealthy(record.health.unhealthy.clone().unwrap_or_default());
    end(decision, &container.name, record, after(now, grace_secs), now, why);
}

/// SIGTERM once, SIGKILL once when its time is over.
fn end(
    decision: &mut Decision,
    name: &str,
    record: &ContainerRecord,
    deadline: Timestamp,
    now: Timestamp,
    reason: impl FnOnce() -> KillReason,
) {
    let container = name.to_owned();
    match record.killing {
        // A container that is ending anyway may have less time now.
        Some(killing) => match killing.deadline.min(deadline) {
            _ if killing.forced => {}
            due if now < due => decision.wake_at(due, "grace"),
            _ => decision.act(Action::Kill { container }),
        },
        None => decision.act(Action::Terminate { container, deadline, reason: reason() }),
    }
}

fn after(from: Timestamp, secs: i64) -> Timestamp {
    from.checked_add(SignedDuration::from_secs(secs.max(0))).unwrap_or(Timestamp::MAX)
}
