//! How long things take with a peer, where it is not for the two OPENs to say.

use std::time::Duration;

/// Before jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerTimes {
    /// ConnectRetryTime (RFC 4271 §10).
    pub connect_retry: Duration,
    /// Between keepalives; a third of the agreed hold time where that is less, or nothing is said.
    pub keepalive: Option<Duration>,
    /// IdleHoldTime after the first error; it doubles with every other, up to a minute.
    pub idle_hold: Duration,
    /// SendHoldTime (RFC 9687 §3.1): eight minutes, or twice the hold time where that is longer,
    /// where nothing is said. Longer than the hold time.
    pub send_hold: Option<Duration>,
    /// MinRouteAdvertisementInterval (RFC 4271 §9.2.1.1): when a peer has been told all there was, what
    /// changes is told it after so long, as it is by then. Zero: at once.
    pub advertisement: Duration,
}

/// RFC 4271 §10 suggests two minutes for the Internet; within a cluster a node that comes up is
/// wanted within seconds, and a SYN is cheap.
pub const CONNECT_RETRY_TIME: Duration = Duration::from_secs(5);

/// What [`PeerTimes::idle_hold`] is where nothing is said.
pub const IDLE_HOLD_TIME: Duration = Duration::from_secs(1);

/// IdleHoldTime doubles up to this.
pub const MAX_IDLE_HOLD_TIME: Duration = Duration::from_secs(60);

impl Default for PeerTimes {
    fn default() -> Self {
        Self {
            connect_retry: CONNECT_RETRY_TIME,
            keepalive: None,
            idle_hold: IDLE_HOLD_TIME,
            send_hold: None,
            advertisement: Duration::ZERO,
        }
    }
}

impl PeerTimes {
    /// A third of the hold time (RFC 4271 §4.4) or less; `None` where none are sent.
    pub(crate) fn keepalive(&self, hold: Option<Duration>) -> Option<Duration> {
        let third = hold? / 3;
        Some(self.keepalive.map_or(third, |wanted| wanted.min(third)))
    }

    pub(crate) fn idle_hold(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        MAX_IDLE_HOLD_TIME.max(self.idle_hold).min(self.idle_hold * (1 << doublings))
    }

    pub(crate) fn send_hold(&self, hold: Option<Duration>) -> Duration {
        const EIGHT_MINUTES: Duration = Duration::from_secs(480);
        let agreed = hold.unwrap_or_default();
        match self.send_hold {
            // What was agreed on may be less than what the configuration was checked against, not more.
            Some(time) => time.max(agreed),
            None => EIGHT_MINUTES.max(agreed * 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn what_is_said_bounds_what_follows_from_the_hold_time() {
        let default = PeerTimes::default();
        assert_eq!(default.keepalive(Some(secs(9))), Some(secs(3)));
        assert_eq!(default.keepalive(None), None);
        assert_eq!((default.send_hold(Some(secs(9))), default.send_hold(None)), {
            (secs(480), secs(480))
        });
        assert_eq!(default.send_hold(Some(secs(600))), secs(1200));
        let said = PeerTimes {
            keepalive: Some(secs(2)),
            idle_hold: secs(100),
            send_hold: Some(secs(20)),
            ..default
        };
        assert_eq!(said.keepalive(Some(secs(9))), Some(secs(2)));
        assert_eq!(said.keepalive(Some(secs(3))), Some(secs(1)));
        assert_eq!(said.send_hold(Some(secs(9))), secs(20));
        assert_eq!((said.idle_hold(1), said.idle_hold(9)), (secs(100), secs(100)));
        let growing = [1, 2, 3, 7, 99].map(|failures| default.idle_hold(failures).as_secs());
        assert_eq!(growing, [1, 2, 4, 60, 60]);
    }
}
