use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tracing::debug;
use viaduct_net::Readable;

use crate::{
    ControlPacket, Discard, Discards, Discriminator, PACKET_LEN, Path, Profile, SessionKey,
    SessionStatus, State,
    rng::Rng,
    session::{Remote, Session},
};

/// Sessions one table will hold, those that only say farewell not counted.
pub const MAX_SESSIONS: usize = 4096;
/// Sessions that say farewell; beyond that they end without.
const MAX_FAREWELLS: usize = 4096;

/// GTSM: what was sent with 255 and has passed no router (RFC 5881 §5).
const MAX_TTL: u8 = 255;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} BFD sessions are more than {MAX_SESSIONS}")]
pub struct TooManySessions(usize);

/// A datagram that has arrived at the port of `path`.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    pub peer: IpAddr,
    pub path: Path,
    /// Of its IP header; the hop limit in IPv6.
    pub ttl: u8,
    pub payload: &'a [u8],
}

/// A packet to be sent, with a TTL of 255 whatever the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub session: SessionKey,
    pub payload: [u8; PACKET_LEN],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub session: SessionKey,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Up,
    /// It was Up and is not any more.
    Down {
        reason: DownReason,
        /// The peer has said by the C bit that its BFD does not depend on its control plane, so that
        /// the way to it is lost, and not only the daemon behind it (RFC 5882 §4.3.2).
        control_plane_independent: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DownReason {
    /// Nothing has come for the Detection Time.
    DetectionTimeExpired,
    /// The peer does not hear us, or has lost us otherwise.
    NeighborDown,
    /// The peer's operator holds the session down: no sign of a failure (RFC 5882 §3.2).
    NeighborAdminDown,
}

impl DownReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::DetectionTimeExpired => "control detection time expired",
            Self::NeighborDown => "neighbor signaled session down",
            Self::NeighborAdminDown => "neighbor is administratively down",
        }
    }
}

/// Every BFD session of a host. Nothing happens in it but by its `handle_` functions and
/// [`Bfd::set_sessions`]; after each take what `poll_transmit`, `poll_event` and `poll_timeout` give.
#[derive(Debug)]
pub struct Bfd {
    /// By our discriminator, which is how packets name them.
    pub(crate) sessions: BTreeMap<Discriminator, Session>,
    pub(crate) names: BTreeMap<SessionKey, Discriminator>,
    /// No more than one deadline for each session.
    pub(crate) deadlines: BTreeSet<(Instant, Discriminator)>,
    control_plane_independent: bool,
    rng: Rng,
    /// Bounded by what one input can cause: two packets and one change for each session.
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    discards: Discards,
}

impl Bfd {
    /// A table without sessions. `control_plane_independent` is what the C bit says: that these
    /// sessions go on when the control plane that is told of them does not. The seed makes jitter and
    /// discriminators: give each run another.
    pub fn new(control_plane_independent: bool, seed: u64) -> Self {
        Self {
            sessions: BTreeMap::new(),
            names: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            control_plane_independent,
            rng: Rng::new(seed),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            discards: Discards::default(),
        }
    }

    /// Takes over which sessions there shall be. One that goes is held down until its peer has been
    /// told, so that nobody takes it for a failure.
    ///
    /// # Errors
    /// Where they are more than [`MAX_SESSIONS`]; then nothing has changed.
    pub fn set_sessions(
        &mut self,
        wanted: &BTreeMap<SessionKey, Profile>,
        now: Instant,
    ) -> Result<(), TooManySessions> {
        if wanted.len() > MAX_SESSIONS {
            return Err(TooManySessions(wanted.len()));
        }
        let gone: Vec<_> = self
            .names
            .iter()
            .filter(|(key, _)| !wanted.contains_key(key))
            .map(|(_, l)| *l)
            .collect();
        for local in gone {
            self.disable(local, now);
        }
        for (&key, &profile) in wanted {
            match self.names.get(&key) {
                Some(&local) => self.update(local, now, |session| {
                    if session.is_leaving() {
                        session.enable(now);
                    }
                    session.set_profile(profile);
                    None
                }),
                None => self.add(key, profile, now),
            }
        }
        Ok(())
    }

    /// A datagram has arrived: the rules of RFC 5880 §6.8.6 in their order.
    ///
    /// # Errors
    /// The rule by which it was discarded, which has been counted.
    pub fn handle_packet(&mut self, received: &Received<'_>, now: Instant) -> Result<(), Discard> {
        let taken = self.take(received, now);
        if let Err(discard) = taken {
            self.discards.count(discard);
            debug!(peer = %Readable(received.peer), reason = discard.name(), "BFD packet discarded");
        }
        taken
    }

    /// Time has passed: does what was due until `now`. Have what has arrived by then handled before.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, local)) = self.deadlines.first() {
            if at > now {
                return;
            }
            if self.sessions.get(&local).is_some_and(|session| session.has_left(now)) {
                self.remove(local);
                continue;
            }
            self.update(local, now, |session| {
                if session.detects_at().is_some_and(|at| at <= now) {
                    session.expire(now);
                }
                None
            });
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next time at which `handle_timeout` is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// All sessions that shall be, by peer.
    pub fn statuses(&self, now: Instant) -> Vec<SessionStatus> {
        let sessions = self.names.values().filter_map(|local| self.sessions.get(local));
        sessions.filter(|session| !session.is_leaving()).map(|one| one.status(now)).collect()
    }

    /// Whose sockets are wanted: those of the sessions that shall be, and of those that say farewell.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = SessionKey> {
        self.names.keys().copied()
    }

    pub const fn discards(&self) -> &Discards {
        &self.discards
    }
}

impl Bfd {
    fn take(&mut self, received: &Received<'_>, now: Instant) -> Result<(), Discard> {
        if received.path == Path::SingleHop && received.ttl != MAX_TTL {
            return Err(Discard::Ttl);
        }
        let packet = ControlPacket::decode(received.payload)?;
        let key = SessionKey { peer: received.peer, path: received.path };
        let local = match packet.your_discriminator {
            Some(local) => local,
            None => *self.names.get(&key).ok_or(Discard::NoSession)?,
        };
        let session = self.sessions.get(&local).ok_or(Discard::UnknownDiscriminator)?;
        // More than the RFC asks for: a discriminator that was guessed is not enough.
        if session.key != key {
            return Err(Discard::OtherPeer);
        }
        if ControlPacket::is_authenticated(received.payload) {
            return Err(Discard::Authenticated);
        }
        let held_down = session.state == State::AdminDown;
        self.update(local, now, |session| {
            session.receive(&packet, now);
            (packet.poll && !held_down).then(|| session.answer())
        });
        if held_down { Err(Discard::AdminDown) } else { Ok(()) }
    }

    fn add(&mut self, key: SessionKey, profile: Profile, now: Instant) {
        let local = self.discriminator();
        let independent = self.control_plane_independent;
        let session = Session::new(key, profile, local, independent, now);
        self.names.insert(key, local);
        self.sessions.insert(local, session);
        self.deadlines.insert((now, local));
    }

    /// Random, so that a packet for an earlier run of ours does not fit; and of its own.
    fn discriminator(&mut self) -> Discriminator {
        loop {
            let drawn = Discriminator::new(self.rng.next() as u32);
            match drawn {
                Some(drawn) if !self.sessions.contains_key(&drawn) => return drawn,
                Some(_) | None => {}
            }
        }
    }

    fn disable(&mut self, local: Discriminator, now: Instant) {
        let Some(session) = self.sessions.get(&local) else { return };
        if session.is_leaving() {
            return;
        }
        let farewells = self.sessions.values().filter(|session| session.is_leaving()).count();
        let mut is_told = false;
        self.update(local, now, |session| {
            is_told = session.disable(now).is_some();
            None
        });
        if !is_told || farewells >= MAX_FAREWELLS {
            self.remove(local);
        }
    }

    fn remove(&mut self, local: Discriminator) {
        let Some(session) = self.sessions.remove(&local) else { return };
        self.names.remove(&session.key);
        if let Some(deadline) = session.deadline() {
            self.deadlines.remove(&(deadline, local));
        }
    }

    /// Changes a session, and does all that follows. What the change returns is sent before anything
    /// else.
    fn update(
        &mut self,
        local: Discriminator,
        now: Instant,
        change: impl FnOnce(&mut Session) -> Option<ControlPacket>,
    ) {
        let Some(session) = self.sessions.get_mut(&local) else { return };
        if let Some(deadline) = session.deadline() {
            self.deadlines.remove(&(deadline, local));
        }
        let (before, known) = (session.state, session.remote);
        let answer = change(session);
        session.reschedule(&mut self.rng, now);
        let packets = answer.into_iter().chain(session.transmit(&mut self.rng, now));
        for packet in packets {
            self.transmits.push_back(Transmit { session: session.key, payload: packet.encode() });
        }
        if let Some(deadline) = session.deadline() {
            self.deadlines.insert((deadline, local));
        }
        if before != session.state {
            debug!(
                peer = %Readable(session.key.peer),
                from = before.name(),
                to = session.state.name(),
                "BFD"
            );
        }
        if let Some(change) = change_of(before, session, known.as_ref()) {
            self.events.push_back(Event { session: session.key, change });
        }
    }
}

/// What clients are told of a step: coming Up, and leaving Up by anything but their own word.
fn change_of(before: State, session: &Session, known: Option<&Remote>) -> Option<Change> {
    match (before, session.state) {
        (State::Up, State::Up | State::AdminDown) => None,
        (_, State::Up) => Some(Change::Up),
        (State::Up, State::Down | State::Init) => {
            let reason = match &session.remote {
                None => DownReason::DetectionTimeExpired,
                Some(remote) if remote.state == State::AdminDown => DownReason::NeighborAdminDown,
                Some(_) => DownReason::NeighborDown,
            };
            let remote = session.remote.as_ref().or(known);
            let control_plane_independent =
                remote.is_some_and(|remote| remote.control_plane_independent);
            Some(Change::Down { reason, control_plane_independent })
        }
        (State::AdminDown | State::Down | State::Init, _) => None,
    }
}
