//! What the sockets have to say, and when it is listened to.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bgp_speaker::{ConnId, Direction};
use bytes::Bytes;
use tokio::net::TcpStream;
use tracing::debug;
use viaduct_net::Readable;

use crate::{bmp, mrt, outbox::Taken, task::Task};

/// Inputs that wait for the speaker. A connection that finds no room does not read on, so TCP holds
/// its peer back.
pub(crate) const MAX_WAITING_INPUTS: usize = 256;
/// Inputs taken before the speaker is asked what follows: updates of several peers are told once.
const MAX_BATCH: usize = 64;
/// No further input is taken after this time: whoever has a question waits no longer than that, and
/// for what follows from the inputs.
const BATCH_TIME: Duration = Duration::from_millis(5);

/// With so many octets to be read by most peers no inputs are taken, until fewer than half as many are.
/// Who tells us more than we can tell on would only have us remember it for each peer.
const MUCH: usize = 2 << 20;
/// How long inputs wait while peers read, and while none does.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_WITH_NONE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) enum Input {
    Accepted {
        stream: TcpStream,
        peer: IpAddr,
    },
    Connected {
        peer: IpAddr,
        attempt: u64,
        stream: TcpStream,
    },
    ConnectFailed {
        peer: IpAddr,
        attempt: u64,
        error: String,
    },
    Bytes {
        conn: ConnId,
        bytes: Bytes,
        /// When they were read.
        at: Instant,
    },
    Closed {
        conn: ConnId,
        reason: String,
    },
    /// From the task of a collector.
    Collector(SocketAddr, bmp::Event),
    /// From the thread that reads a file.
    Replayed(mrt::Piece),
}

impl Task {
    pub(crate) fn take_inputs(&mut self, first: Input) {
        let begun = Instant::now();
        self.take(first, begun);
        for _ in 1..MAX_BATCH {
            let now = Instant::now();
            if now.saturating_duration_since(begun) > BATCH_TIME {
                break;
            }
            let Ok(input) = self.inputs.try_recv() else { break };
            self.take(input, now);
        }
    }

    /// Does what is due. What only a peer's silence makes due waits until that much of what came in
    /// time has been heard: where we are late ourselves it must count.
    pub(crate) fn expire(&mut self) {
        if let Ok(input) = self.inputs.try_recv() {
            self.take_inputs(input);
        }
        let now = Instant::now();
        let heard = if self.inputs.is_empty() { now } else { self.heard };
        self.speaker.handle_timeout_after(heard, now);
    }

    /// What TCP has taken meanwhile.
    pub(crate) fn take_taken(&mut self) {
        while let Ok(taken) = self.taken.try_recv() {
            self.note_taken(&taken);
        }
    }

    pub(crate) fn note_taken(&mut self, (conn, outbox): &Taken) {
        self.speaker.handle_written(*conn, outbox.take_untold(), Instant::now());
    }

    pub(crate) fn take(&mut self, input: Input, now: Instant) {
        match input {
            Input::Accepted { stream, peer } => {
                if let Some(connected) = self.network.adopt(stream, peer, Direction::Incoming) {
                    self.speaker.handle_connected(connected, now);
                }
            }
            Input::Connected { peer, attempt, stream } => {
                if !self.network.take_attempt(peer, attempt) {
                    return;
                }
                match self.network.adopt(stream, peer, Direction::Outgoing) {
                    Some(connected) => self.speaker.handle_connected(connected, now),
                    None => self.speaker.handle_connect_failed(peer, "reset", now),
                }
            }
            Input::ConnectFailed { peer, attempt, error } => {
                if self.network.take_attempt(peer, attempt) {
                    debug!(peer = %Readable(peer), error, "connect failed");
                    self.speaker.handle_connect_failed(peer, &error, now);
                }
            }
            Input::Bytes { conn, bytes, at } => {
                self.heard = at;
                // What is still read from a connection that is being closed is nobody's.
                if self.network.has(conn) {
                    self.speaker.handle_bytes(conn, &bytes, now);
                }
            }
            Input::Closed { conn, reason } => {
                if self.network.has(conn) {
                    self.network.forget(conn);
                    self.speaker.handle_closed(conn, &reason, now);
                }
            }
            Input::Collector(address, event) => {
                self.monitors.bmp.handle(address, event, &mut self.speaker, &self.network);
                self.monitors.rewatch(&mut self.speaker);
            }
            Input::Replayed(piece) => self.replays.take(&piece, &mut self.speaker, now),
        }
    }
}

/// Whether inputs are taken: most peers are to keep pace with what is taken. The few that do not
/// hold nobody up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    #[default]
    Free,
    /// They wait, for these reasons.
    Held { since: Instant, least: usize, least_at: Instant },
    /// They have waited for long enough.
    Spent,
}

impl Pace {
    /// Until when no inputs are to be taken, with so many octets that most peers have yet to read.
    pub(crate) fn until(&mut self, unread: usize, now: Instant) -> Option<Instant> {
        *self = match *self {
            _ if unread <= MUCH / 2 => Self::Free,
            Self::Free if unread > MUCH => Self::Held { since: now, least: unread, least_at: now },
            Self::Held { since, least, .. } if unread < least => {
                Self::Held { since, least: unread, least_at: now }
            }
            other => other,
        };
        let Self::Held { since, least_at, .. } = *self else { return None };
        let until = (since + PATIENCE).min(least_at + PATIENCE_WITH_NONE);
        if until <= now {
            *self = Self::Spent;
            return None;
        }
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_wait_for_readers_and_not_for_long() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert_eq!(pace.until(MUCH, at(0)), None);
        assert_eq!(pace.until(MUCH + 1, at(0)), Some(at(50)));
        assert_eq!(pace.until(MUCH, at(40)), Some(at(90)), "they read");
        assert_eq!(pace.until(MUCH, at(89)), Some(at(90)), "none does");
        assert_eq!(pace.until(MUCH / 2, at(89)), None, "they have read");
        assert_eq!(pace.until(MUCH, at(89)), None);
        assert_eq!(pace.until(2 * MUCH, at(100)), Some(at(150)));
        assert_eq!(pace.until(2 * MUCH, at(150)), None, "long enough");
        assert_eq!(pace.until(MUCH, at(151)), None, "until they have caught up");
        assert_eq!(pace.until(0, at(152)), None);
        assert_eq!(pace.until(MUCH + 1000, at(200)), Some(at(250)));
        let reads = |step: u64| pace.until(MUCH + 1000 - step as usize, at(200 + 40 * step));
        let held: Vec<_> = (1..40).map_while(reads).collect();
        assert_eq!(held.last(), Some(&at(1200)), "nor for those who read and read");
    }
}
