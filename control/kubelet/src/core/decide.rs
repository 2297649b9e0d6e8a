//! The decision.

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec},
    jiff::{SignedDuration, Timestamp},
};

use super::{
    ContainerRecord, ContainerState, Leaving, Observed, Outcome, Sandbox, Stopping, is_sidecar,
    policy, probe::Cause, restarts,
};

/// Grace of a pod that says nothing, as the API server would have filled in.
const GRACE_SECS_DEFAULT: i64 = 30;
/// How long a deleted pod is kept from its SIGTERM while nodes may send it new flows, or requests
/// are under way. A node that is cut off costs no more than this.
const LEAVE_BOUND: SignedDuration = SignedDuration::from_secs(2);

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
    Unhealthy(Cause, String),
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
    /// Ask the nodes to take the pod out of the services.
    Leave {
        until: Timestamp,
    },
    /// Begin to end it: its preStop hook runs, if it has one.
    Terminate {
        container: String,
        deadline: Timestamp,
        reason: KillReason,
    },
    /// SIGTERM.
    Signal {
        container: String,
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
        Desire::Stop { grace_secs } => stop(&mut decision, spec, grace_secs, false, observed, now),
        Desire::Forget => {
            let grace_secs = spec.termination_grace_period_seconds.unwrap_or(GRACE_SECS_DEFAULT);
            stop(&mut decision, spec, grace_secs, true, observed, now);
        }
        Desire::Run if observed.outcome.is_some() => wind_up(&mut decision, spec, observed, now),
        Desire::Run => run(&mut decision, spec, observed, now),
    }
    decision
}

/// The pod is to go: it leaves the services, every container ends, then the sandbox, then the
/// record.
fn stop(
    decision: &mut Decision,
    spec: &PodSpec,
    grace_secs: i64,
    forget: bool,
    observed: &Observed,
    now: Timestamp,
) {
    // A later request may shorten the time, never lengthen it.
    let stopping = match observed.stopping {
        Some(known) if known.grace_secs <= grace_secs => known,
        Some(known) => Stopping { grace_secs, ..known },
        None => Stopping { since: now, grace_secs, leaving: Leaving::Due },
    };
    if observed.stopping != Some(stopping) {
        return decision.act(Action::NoteStopping(stopping));
    }
    let running: Vec<&str> = in_order_of_end(spec, observed);
    if running.is_empty() {
        return tear_down(decision, forget, observed);
    }
    let in_a_hurry = forget || stopping.grace_secs <= 0;
    let left_at = match stopping.leaving {
        _ if in_a_hurry || !has_addresses(observed) => Some(stopping.since),
        Leaving::Left { at } => Some(at),
        Leaving::Waiting { until } if until <= now => Some(until),
        Leaving::Waiting { until } => {
            decision.wake_at(until, "services");
            None
        }
        Leaving::Due => {
            decision.act(Action::Leave { until: now + LEAVE_BOUND });
            None
        }
    };
    let latest = left_at.unwrap_or_else(|| match stopping.leaving {
        Leaving::Waiting { until } => until,
        Leaving::Due | Leaving::Left { .. } => now + LEAVE_BOUND,
    });
    let deadline = after(latest, stopping.grace_secs);
    for name in running {
        let Some(record) = observed.container(name) else { continue };
        let kill = || KillReason::PodStopped;
        end(decision, name, record, deadline, now, left_at.is_some(), kill);
    }
}

/// The running containers that are to end now: sidecars after all others, the last one first.
fn in_order_of_end<'a>(spec: &'a PodSpec, observed: &'a Observed) -> Vec<&'a str> {
    let running = |name: &str| observed.container(name).is_some_and(ContainerRecord::is_running);
    let sidecars = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c));
    let sidecars: Vec<&str> = sidecars.map(|c| c.name.as_str()).collect();
    let names = observed.containers.keys().map(String::as_str);
    let others: Vec<&str> =
        names.filter(|name| !sidecars.contains(name) && running(name)).collect();
    if !others.is_empty() {
        return others;
    }
    sidecars.into_iter().rev().find(|name| running(name)).into_iter().collect()
}

/// Without one nobody sends it anything; on the node's own network others use the same.
fn has_addresses(observed: &Observed) -> bool {
    matches!(&observed.sandbox, Sandbox::Ready { addresses } if !addresses.is_empty())
}

fn tear_down(decision: &mut Decision, forget: bool, observed: &Observed) {
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

/// The pod has ended by itself; its record and its logs stay until it is deleted. Sidecars, which
/// do not end by themselves, are asked to.
fn wind_up(decision: &mut Decision, spec: &PodSpec, observed: &Observed, now: Timestamp) {
    let grace_secs = spec.termination_grace_period_seconds.unwrap_or(GRACE_SECS_DEFAULT);
    let running = in_order_of_end(spec, observed);
    for name in &running {
        let Some(record) = observed.container(name) else { continue };
        let deadline = after(now, grace_secs);
        end(decision, name, record, deadline, now, true, || KillReason::PodStopped);
    }
    if running.is_empty() && matches!(observed.sandbox, Sandbox::Ready { .. }) {
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
    if !initialize(decision, spec, observed, now) {
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
                ContainerState::Exited(exit) if restarts(policy(spec, &container.name), exit) => {
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
        let reason = || KillReason::DeadlineExceeded;
        end(decision, name, record, after(deadline, grace_secs), now, true, reason);
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

/// Init containers one after another, each of them to its end or, where it is a sidecar, until it
/// has started; `true` when that is done. Sidecars are kept running from then on.
fn initialize(
    decision: &mut Decision,
    spec: &PodSpec,
    observed: &Observed,
    now: Timestamp,
) -> bool {
    // They succeeded once, or nothing else had been started.
    let is_done = has_begun(spec, observed);
    for container in spec.init_containers.iter().flatten() {
        let record = observed.container(&container.name);
        if is_sidecar(container) {
            keep_running(decision, spec, container, record, now);
            if !is_done && !record.is_some_and(ContainerRecord::has_started) {
                return false;
            }
            continue;
        }
        if is_done {
            continue;
        }
        match record.map(|r| (r, &r.state)) {
            None | Some((_, ContainerState::Waiting)) => {
                start_when_due(decision, container, record, now);
                return false;
            }
            Some((record, ContainerState::Starting { .. } | ContainerState::Running { .. })) => {
                check_health(decision, spec, container, record, now);
                return false;
            }
            Some((_, ContainerState::Exited(exit))) if exit.exit_code == 0 => {}
            Some((_, ContainerState::Exited(exit)))
                if restarts(policy(spec, &container.name), exit) =>
            {
                start_when_due(decision, container, record, now);
                return false;
            }
            Some((_, ContainerState::Exited(_))) => {
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

/// Whether any container but the init containers has been started, ever.
pub(super) fn has_begun(spec: &PodSpec, observed: &Observed) -> bool {
    spec.containers.iter().any(|container| {
        observed.container(&container.name).is_some_and(|r| r.state != ContainerState::Waiting)
    })
}

fn keep_running(
    decision: &mut Decision,
    spec: &PodSpec,
    container: &Container,
    record: Option<&ContainerRecord>,
    now: Timestamp,
) {
    match record.map(|record| (record, &record.state)) {
        Some((record, ContainerState::Starting { .. } | ContainerState::Running { .. })) => {
            check_health(decision, spec, container, record, now);
        }
        None | Some((_, ContainerState::Waiting | ContainerState::Exited(_))) => {
            start_when_due(decision, container, record, now);
        }
    }
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
    let cause = record.health.cause.unwrap_or(Cause::Liveness);
    let probe = match cause {
        Cause::PostStart => None,
        Cause::Startup => container.startup_probe.as_ref(),
        Cause::Liveness => container.liveness_probe.as_ref(),
    };
    let grace_secs = probe
        .and_then(|p| p.termination_grace_period_seconds)
        .or(spec.termination_grace_period_seconds)
        .unwrap_or(GRACE_SECS_DEFAULT);
    let message = record.health.unhealthy.clone();
    let why = || KillReason::Unhealthy(cause, message.unwrap_or_default());
    end(decision, &container.name, record, after(now, grace_secs), now, true, why);
}

/// The preStop hook, SIGTERM once after it and as soon as it may come, SIGKILL once when its time
/// is over.
fn end(
    decision: &mut Decision,
    name: &str,
    record: &ContainerRecord,
    deadline: Timestamp,
    now: Timestamp,
    may_signal: bool,
    reason: impl FnOnce() -> KillReason,
) {
    let container = name.to_owned();
    match record.killing {
        // A container that is ending anyway may have less time now.
        Some(killing) => match killing.deadline.min(deadline) {
            _ if killing.forced => {}
            due if due <= now => decision.act(Action::Kill { container }),
            _ if may_signal && killing.pre_stop_over && !killing.signalled => {
                decision.act(Action::Signal { container });
            }
            due => decision.wake_at(due, "grace"),
        },
        None => decision.act(Action::Terminate { container, deadline, reason: reason() }),
    }
}

fn after(from: Timestamp, secs: i64) -> Timestamp {
    from.checked_add(SignedDuration::from_secs(secs.max(0))).unwrap_or(Timestamp::MAX)
}
