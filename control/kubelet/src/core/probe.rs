//! Probe results counted against their thresholds.

use k8s_openapi::api::core::v1::Probe;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    pub(crate) const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// What the probes have found out so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    pub(crate) started: bool,
    /// What the readiness probe says, and `true` where there is none.
    pub(crate) ready: bool,
    /// Its postStart hook has not ended yet; until then it counts as not begun.
    #[serde(default)]
    pub(crate) post_start_pending: bool,
    /// Why the container has to be restarted.
    pub(crate) unhealthy: Option<String>,
    /// What found that out.
    #[serde(default)]
    pub(crate) cause: Option<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    PostStart,
    Startup,
    Liveness,
}

/// Consecutive results of one probe.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counter {
    successes: u32,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Success,
    Failure,
    /// Not enough results in a row to change anything.
    Undecided,
}

impl Counter {
    pub(crate) fn note(&mut self, success: bool, probe: &Probe) -> Verdict {
        if success {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            if self.successes >= positive(probe.success_threshold, 1) {
                return Verdict::Success;
            }
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            if self.failures >= positive(probe.failure_threshold, 3) {
                return Verdict::Failure;
            }
        }
        Verdict::Undecided
    }
}

impl Health {
    /// Takes in a verdict; `true` where it changed anything.
    pub(crate) fn apply(&mut self, kind: ProbeKind, verdict: Verdict, message: &str) -> bool {
        let before = self.clone();
        match (kind, verdict) {
            (_, Verdict::Undecided) => {}
            (ProbeKind::Startup, Verdict::Success) => self.started = true,
            (ProbeKind::Readiness, Verdict::Success) => self.ready = true,
            (ProbeKind::Readiness, Verdict::Failure) => self.ready = false,
            (ProbeKind::Liveness, Verdict::Success) => {}
            (ProbeKind::Startup, Verdict::Failure) => self.fail(Cause::Startup, message),
            (ProbeKind::Liveness, Verdict::Failure) => self.fail(Cause::Liveness, message),
        }
        *self != before
    }

    /// The first reason stands.
    pub(crate) fn fail(&mut self, cause: Cause, message: &str) {
        if self.unhealthy.is_none() {
            self.unhealthy = Some(message.to_owned());
            self.cause = Some(cause);
        }
    }
}

/// A field that must be at least 1, and what it is where it is not given.
pub(crate) fn positive(field: Option<i32>, default: u32) -> u32 {
    field.and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_as_many_in_a_row_as_the_probe_says() {
        let probe =
            Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut counter = Counter::default();
        let verdicts: Vec<Verdict> = [true, false, true, true, false, false, false, false]
            .iter()
            .map(|&success| counter.note(success, &probe))
            .collect();
        use Verdict::{Failure, Success, Undecided};
        assert_eq!(
            verdicts,
            [Undecided, Undecided, Undecided, Success, Undecided, Undecided, Failure, Failure]
        );
    }

    #[test]
    fn a_failed_startup_is_as_bad_as_a_failed_liveness() {
        let mut health = Health::default();
        assert!(health.apply(ProbeKind::Startup, Verdict::Failure, "no"));
        assert!(!health.apply(ProbeKind::Liveness, Verdict::Failure, "again"));
        assert_eq!((health.unhealthy.as_deref(), health.cause), (Some("no"), Some(Cause::Startup)));
    }
}
