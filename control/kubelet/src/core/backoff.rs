//! The pause before a container that keeps ending is started again.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

const FIRST_SECS: i64 = 10;
const MAX_SECS: i64 = 300;
/// A container that ran as long as this has recovered.
const RESET_SECS: i64 = 600;

/// At once after the first end, then 10 s, doubled each time up to 300 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backoff {
    exits: u32,
}

impl Backoff {
    pub(crate) fn note_exit(&mut self, started_at: Timestamp, finished_at: Timestamp) {
        if finished_at.duration_since(started_at).as_secs() >= RESET_SECS {
            self.exits = 0;
        }
        self.exits = self.exits.saturating_add(1);
    }

    /// Counted from the end of the container.
    pub(crate) fn delay(&self) -> SignedDuration {
        let doublings = match self.exits {
            0 | 1 => return SignedDuration::ZERO,
            exits => (exits - 2).min(16),
        };
        SignedDuration::from_secs((FIRST_SECS << doublings).min(MAX_SECS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    #[test]
    fn the_delay_doubles_to_five_minutes() {
        let mut backoff = Backoff::default();
        let delays: Vec<i64> = (0..8)
            .map(|_| {
                backoff.note_exit(at(0), at(1));
                backoff.delay().as_secs()
            })
            .collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_long_run_forgives() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.note_exit(at(0), at(1));
        }
        backoff.note_exit(at(0), at(RESET_SECS));
        assert_eq!(backoff.delay(), SignedDuration::ZERO);
    }
}
