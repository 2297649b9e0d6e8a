//! Every deadline of the speaker in one place, so that the next one is always known with its
//! reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use viaduct_net::Family;

use crate::ConnId;

/// Why the speaker wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// RFC 4271 §8.1.3: try to connect again.
    ConnectRetry,
    /// RFC 4271 §8.1.3: leave Idle.
    IdleHold,
    /// RFC 4271 §6.5: the peer has been silent for too long.
    Hold,
    /// RFC 4271 §4.4: say that we are here.
    Keepalive,
    /// RFC 9687: the peer has not read for too long.
    SendHold,
    /// RFC 4271 §9.2.1.1: what has changed since may be told.
    Advertisement,
    /// What peers have changed has waited long enough for more.
    Coalesce,
    /// RFC 4724 §4.2: the peer has not come back in time; its stale routes go.
    Restart,
    /// The peer is back but has not said End-of-RIB in time; what is stale goes (RFC 4724 §4.2).
    Stale,
    /// RFC 9494 §4.2: nor in a long time.
    LongLived(Family),
    /// RFC 4724 §4.1: the first picture is taken for complete.
    SelectionDeferral,
}

impl Timer {
    /// Whether what a peer says in time keeps it from expiring, or from doing harm.
    const fn waits_for_peer(self) -> bool {
        match self {
            Self::Hold
            | Self::Restart
            | Self::Stale
            | Self::LongLived(_)
            | Self::SelectionDeferral => true,
            Self::ConnectRetry
            | Self::IdleHold
            | Self::Keepalive
            | Self::SendHold
            | Self::Advertisement
            | Self::Coalesce => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Speaker,
    Peer(IpAddr),
    Connection(ConnId),
}

/// No more than one deadline for each owner and timer, so bounded by peers and connections.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: BTreeMap<(Owner, Timer), Instant>,
    queue: BTreeSet<(Instant, Owner, Timer)>,
}

impl Timers {
    /// Starts a timer, or starts it anew.
    pub(crate) fn start(&mut self, owner: Owner, timer: Timer, at: Instant) {
        if let Some(old) = self.deadlines.insert((owner, timer), at) {
            self.queue.remove(&(old, owner, timer));
        }
        self.queue.insert((at, owner, timer));
    }

    pub(crate) fn stop(&mut self, owner: Owner, timer: Timer) {
        if let Some(old) = self.deadlines.remove(&(owner, timer)) {
            self.queue.remove(&(old, owner, timer));
        }
    }

    pub(crate) fn is_running(&self, owner: Owner, timer: Timer) -> bool {
        self.deadlines.contains_key(&(owner, timer))
    }

    /// Those of an owner that run, and when they expire.
    pub(crate) fn of(&self, owner: Owner) -> Vec<(Timer, Instant)> {
        let all =
            self.deadlines.range((owner, Timer::ConnectRetry)..=(owner, Timer::SelectionDeferral));
        all.map(|((_, timer), at)| (*timer, *at)).collect()
    }

    pub(crate) fn deadline(&self, owner: Owner, timer: Timer) -> Option<Instant> {
        self.deadlines.get(&(owner, timer)).copied()
    }

    /// Stops all timers of an owner.
    pub(crate) fn stop_all(&mut self, owner: Owner) {
        let first = (owner, Timer::ConnectRetry);
        let last = (owner, Timer::SelectionDeferral);
        let running: Vec<_> = self.deadlines.range(first..=last).map(|(key, _)| key.1).collect();
        for timer in running {
            self.stop(owner, timer);
        }
    }

    pub(crate) fn next(&self) -> Option<(Instant, Owner, Timer)> {
        self.queue.first().copied()
    }

    /// Takes the earliest timer that is due, by `heard` where it waits for a peer.
    pub(crate) fn pop_due(&mut self, heard: Instant, now: Instant) -> Option<(Owner, Timer)> {
        let mut due = self.queue.iter().take_while(|(at, ..)| *at <= now);
        let &(_, owner, timer) =
            due.find(|(at, _, timer)| *at <= heard || !timer.waits_for_peer())?;
        self.stop(owner, timer);
        Some((owner, timer))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_fire_in_order_and_once_and_can_be_moved() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let peer = Owner::Peer([192, 0, 2, 1].into());
        let mut timers = Timers::default();
        timers.start(peer, Timer::IdleHold, at(3));
        timers.start(Owner::Speaker, Timer::SelectionDeferral, at(2));
        timers.start(Owner::Connection(ConnId(1)), Timer::Hold, at(1));
        timers.start(Owner::Connection(ConnId(1)), Timer::Keepalive, at(9));
        timers.start(peer, Timer::IdleHold, at(1));
        timers.stop_all(Owner::Connection(ConnId(1)));
        assert!(!timers.is_running(Owner::Connection(ConnId(1)), Timer::Hold));
        assert_eq!(timers.next(), Some((at(1), peer, Timer::IdleHold)));
        assert_eq!(timers.pop_due(at(0), at(0)), None);
        assert_eq!(timers.pop_due(at(5), at(5)), Some((peer, Timer::IdleHold)));
        assert_eq!(timers.pop_due(at(5), at(5)), Some((Owner::Speaker, Timer::SelectionDeferral)));
        assert_eq!(timers.pop_due(at(5), at(5)), None);
    }

    #[test]
    fn who_has_not_been_heard_yet_is_waited_for() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let connection = Owner::Connection(ConnId(1));
        let mut timers = Timers::default();
        timers.start(connection, Timer::Hold, at(1));
        timers.start(connection, Timer::Keepalive, at(2));
        timers.start(connection, Timer::SendHold, at(9));
        assert_eq!(timers.pop_due(at(0), at(5)), Some((connection, Timer::Keepalive)));
        assert_eq!(timers.pop_due(at(0), at(5)), None);
        assert_eq!(timers.pop_due(at(1), at(5)), Some((connection, Timer::Hold)));
        assert_eq!(timers.pop_due(at(5), at(5)), None);
    }
}
