//! What the speaker knows of one peer and its connections.

use std::time::{Duration, Instant};

use bgp_wire::{Families, HoldTime, Open, SessionParameters};
use bytes::{Bytes, BytesMut};
use viaduct_net::Prefix;

use crate::{ConnId, Direction, config::PeerConfig, events::Malformed, fsm::State, open::Agreed};

/// One TCP connection, from the moment it stands.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnId,
    pub(crate) direction: Direction,
    /// The OPEN we said on it.
    pub(crate) sent: Option<Open>,
    /// The latest OPEN the peer said on it.
    pub(crate) received: Option<Open>,
    /// The one the peer has said, with its header; empty before.
    pub(crate) open_received: Bytes,
    /// Set once the peer's OPEN was found acceptable.
    pub(crate) agreed: Option<Agreed>,
    /// Received and not yet cut into messages: less than one message and one read.
    pub(crate) inbox: BytesMut,
    /// When the hold timer was last started anew.
    pub(crate) heard: Option<Instant>,
    /// Octets handed out that TCP has not taken yet.
    pub(crate) unwritten: usize,
    /// Something was told since the advertisement timer was started last.
    pub(crate) telling: bool,
}

impl Connection {
    pub(crate) fn new(id: ConnId, direction: Direction) -> Self {
        Self {
            id,
            direction,
            sent: None,
            received: None,
            open_received: Bytes::new(),
            agreed: None,
            inbox: BytesMut::new(),
            heard: None,
            unwritten: 0,
            telling: false,
        }
    }

    pub(crate) fn parameters(&self, kind: bgp_wire::PeerKind) -> SessionParameters {
        match &self.agreed {
            Some(agreed) => agreed.parameters,
            None => SessionParameters::before_open(kind),
        }
    }

    pub(crate) fn hold_time(&self) -> Option<Duration> {
        self.agreed.as_ref().map_or(HoldTime::INFINITE, |agreed| agreed.hold_time).duration()
    }
}

/// Which of a peer's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The one the state machine is about.
    Main,
    /// One that collides with it: always in OpenSent, because its OPEN decides between the two.
    Second,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) messages_received: u64,
    pub(crate) messages_sent: u64,
    pub(crate) updates_received: u64,
    pub(crate) updates_sent: u64,
    /// Sessions that were Established and are no more.
    pub(crate) flaps: u64,
    /// How often the peer has come near a limit, or over it.
    pub(crate) limit_warnings: u64,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) config: PeerConfig,
    pub(crate) state: State,
    /// When the state was entered.
    pub(crate) since: Instant,
    pub(crate) connection: Option<Connection>,
    pub(crate) second: Option<Connection>,
    /// An attempt to connect is under way.
    pub(crate) connecting: bool,
    /// Ends by error since the last session that lasted; the measure of the back-off.
    pub(crate) failures: u32,
    pub(crate) last_error: Option<String>,
    /// It says why an attempt to connect has come to nothing, and no more.
    pub(crate) attempt_failed: bool,
    pub(crate) counters: Counters,
    pub(crate) malformed: Malformed,
    /// There has been a session, so what the peer knows of us is of this life of ours.
    pub(crate) had_session: bool,
    /// Families of the current session for which the peer has said End-of-RIB.
    pub(crate) end_of_rib: Families,
    /// Families of which routes are kept though their session is gone (RFC 4724 §4.2).
    pub(crate) stale: Families,
    /// Families of which it was said that a limit is near, or passed.
    pub(crate) near_limit: Families,
    pub(crate) over_limit: Families,
    /// The range that the peer has come from, where it is not named.
    pub(crate) range: Option<Prefix>,
    /// Those of them that are kept for long (RFC 9494 §4.2).
    pub(crate) long_lived: Families,
    /// What was agreed on the session that was lost, while anything of it is kept.
    pub(crate) last_agreed: Option<Agreed>,
}

impl Peer {
    pub(crate) fn new(config: PeerConfig, now: Instant) -> Self {
        Self {
            config,
            state: State::Idle,
            since: now,
            connection: None,
            second: None,
            connecting: false,
            failures: 0,
            last_error: None,
            attempt_failed: false,
            counters: Counters::default(),
            malformed: Malformed::default(),
            had_session: false,
            end_of_rib: Families::NONE,
            stale: Families::NONE,
            near_limit: Families::NONE,
            over_limit: Families::NONE,
            range: None,
            long_lived: Families::NONE,
            last_agreed: None,
        }
    }

    pub(crate) fn slot_of(&self, conn: ConnId) -> Option<Slot> {
        if self.connection.as_ref().is_some_and(|one| one.id == conn) {
            Some(Slot::Main)
        } else if self.second.as_ref().is_some_and(|one| one.id == conn) {
            Some(Slot::Second)
        } else {
            None
        }
    }

    pub(crate) fn slot(&mut self, slot: Slot) -> Option<&mut Connection> {
        match slot {
            Slot::Main => self.connection.as_mut(),
            Slot::Second => self.second.as_mut(),
        }
    }

    /// What was agreed on the session, once both OPENs are known.
    pub(crate) fn agreed(&self) -> Option<&Agreed> {
        self.connection.as_ref()?.agreed.as_ref()
    }

    pub(crate) fn is_established(&self) -> bool {
        self.state == State::Established
    }
}
