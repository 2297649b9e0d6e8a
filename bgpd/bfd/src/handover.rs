//! Sessions go on in another process, with their discriminators and times, and no peer notices.
//!
//! [`Bfd::hand_over`] writes them down. From then on the table only repeats what it has said, so that no
//! peer misses anybody before the other process speaks; what peers say is for that one to hear.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{Bfd, Event, MAX_SESSIONS, PACKET_LEN, SessionKey, session::Session};

/// Whoever changes a type below, or one that it is made of, gives it another: the test knows the octets of
/// this one.
pub const HANDOVER_VERSION: u16 = 1;

/// No frame is longer.
#[cfg(test)]
pub(crate) const MAX_FRAME_BYTES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a BFD session that cannot be")]
pub struct HandoverError;

/// What one process has handed over to another, frame by frame.
#[derive(Debug, Default)]
pub struct Handover {
    sessions: BTreeMap<SessionKey, SessionFrame>,
    events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Frame {
    Session(Box<SessionFrame>),
    Event(Event),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionFrame {
    pub(crate) key: SessionKey,
    pub(crate) profile: ProfileFrame,
    pub(crate) local: u32,
    pub(crate) state: u8,
    pub(crate) diagnostic: u8,
    pub(crate) since: Duration,
    /// What the peer and we have said last, as packets.
    pub(crate) heard: Option<[u8; PACKET_LEN]>,
    pub(crate) told: Option<[u8; PACKET_LEN]>,
    /// How long ago that was.
    pub(crate) heard_at: Option<Duration>,
    pub(crate) sent_at: Option<Duration>,
    /// How soon there is to be the next.
    pub(crate) next_tx: Option<Duration>,
    pub(crate) poll: u8,
    pub(crate) times: TimesFrame,
    pub(crate) counters: CountersFrame,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProfileFrame {
    pub(crate) min_tx: u16,
    pub(crate) min_rx: u16,
    pub(crate) multiplier: u8,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimesFrame {
    pub(crate) desired_min_tx: u32,
    pub(crate) tx_in_force: u32,
    pub(crate) required_min_rx: u32,
    pub(crate) rx_in_force: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CountersFrame {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) ups: u64,
    pub(crate) downs: u64,
}

impl Handover {
    /// An event that nobody has heard of in the process that ends.
    pub fn write_event(event: &Event) -> Vec<u8> {
        write(&Frame::Event(*event))
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// A frame that is none, and more sessions than a table holds.
    pub fn read(&mut self, octets: &[u8]) -> Result<(), HandoverError> {
        match postcard::take_from_bytes(octets) {
            Ok((Frame::Session(session), [])) if self.sessions.len() < MAX_SESSIONS => {
                self.sessions.insert(session.key, *session);
            }
            Ok((Frame::Event(event), [])) => self.events.push(event),
            Ok(_) | Err(_) => return Err(HandoverError),
        }
        Ok(())
    }

    /// The events, which are to be told before any of the table's own.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

impl Bfd {
    /// Writes down every session in a frame of its own, and begins to be deaf: it takes nobody for lost,
    /// and what arrives is not to be handled here. Farewells are not handed over: they have been said.
    pub fn hand_over(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.set_deaf(true);
        let sessions = self.sessions.values().filter(|session| !session.is_leaving());
        sessions.map(|session| write(&Frame::Session(Box::new(session.frame(now))))).collect()
    }

    /// Nobody has taken it: goes on as if nothing had happened. Have what has arrived meanwhile handled
    /// before time.
    pub fn resume(&mut self) {
        self.set_deaf(false);
    }

    fn set_deaf(&mut self, is_deaf: bool) {
        self.deadlines.clear();
        for (&local, session) in &mut self.sessions {
            session.is_deaf = is_deaf;
            self.deadlines.extend(session.deadline().map(|deadline| (deadline, local)));
        }
    }

    /// Goes on with what another process has handed over, as [`Self::new`] begins.
    ///
    /// # Errors
    /// A session that cannot be.
    pub fn taken_over(
        handover: Handover,
        control_plane_independent: bool,
        seed: u64,
        now: Instant,
    ) -> Result<Self, HandoverError> {
        let mut bfd = Self::new(control_plane_independent, seed);
        for frame in handover.sessions.into_values() {
            let session = Session::of_frame(&frame, control_plane_independent, now)?;
            let (key, local) = (session.key, session.local);
            bfd.deadlines.extend(session.deadline().map(|deadline| (deadline, local)));
            bfd.names.insert(key, local);
            if bfd.sessions.insert(local, session).is_some() {
                return Err(HandoverError);
            }
        }
        Ok(bfd)
    }
}

fn write(frame: &Frame) -> Vec<u8> {
    // Nothing of it is without a length, which is all that can be wrong.
    postcard::to_allocvec(frame).unwrap_or_default()
}
