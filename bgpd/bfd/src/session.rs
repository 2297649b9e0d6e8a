//! One session: the variables of RFC 5880 §6.8.1, and what time and packets do to them.

use std::{
    num::NonZeroU8,
    time::{Duration, Instant},
};

use crate::{
    ControlPacket, Diagnostic, Discriminator, HandoverError, Interval, PACKET_LEN, Profile,
    SessionCounters, SessionKey, SessionStatus, State, fsm,
    handover::{CountersFrame, ProfileFrame, SessionFrame, TimesFrame},
    rng::Rng,
};

/// The longest that a packet can say (RFC 5880 §4.1).
const MAX_INTERVAL: Duration = Interval::from_micros(u32::MAX).duration();

/// What the peer's latest packet said of it; forgotten when nothing comes for the Detection Time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote {
    pub(crate) discriminator: Discriminator,
    pub(crate) state: State,
    pub(crate) control_plane_independent: bool,
    diagnostic: Diagnostic,
    demand: bool,
    multiplier: NonZeroU8,
    desired_min_tx: Interval,
    required_min_rx: Interval,
}

/// A Poll Sequence, by which the peer confirms that it knows our times (RFC 5880 §6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    Idle,
    Active,
    /// The times have changed meanwhile: another sequence is to follow.
    ActiveAndAgain,
    /// The next sequence begins behind a packet without the P bit, so that no late answer to the
    /// one before is taken for its own.
    Pending,
}

impl Poll {
    fn of_number(number: u8) -> Option<Self> {
        let all = [Self::Idle, Self::Active, Self::ActiveAndAgain, Self::Pending];
        all.into_iter().find(|one| *one as u8 == number)
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) profile: Profile,
    pub(crate) local: Discriminator,
    pub(crate) state: State,
    pub(crate) remote: Option<Remote>,
    pub(crate) counters: SessionCounters,
    diagnostic: Diagnostic,
    since: Instant,
    control_plane_independent: bool,
    /// Our times as packets carry them, and as they are in force: a change for the slower waits
    /// until the peer has confirmed it (§6.8.3).
    desired_min_tx: Interval,
    tx_in_force: Interval,
    required_min_rx: Interval,
    rx_in_force: Interval,
    poll: Poll,
    /// The latest packet, its P and F bits clear; the peer knows what stands in it unless it was lost.
    told: Option<ControlPacket>,
    sent_at: Option<Instant>,
    heard_at: Option<Instant>,
    next_tx: Option<Instant>,
    /// The interval that `next_tx` was drawn from.
    drawn_from: Option<Duration>,
    /// Held down, and only there so that the peer hears of it.
    leaves_at: Option<Instant>,
    /// Another process hears what the peer says.
    pub(crate) is_deaf: bool,
}

impl From<&ControlPacket> for Remote {
    fn from(packet: &ControlPacket) -> Self {
        Self {
            discriminator: packet.my_discriminator,
            state: packet.state,
            control_plane_independent: packet.control_plane_independent,
            diagnostic: packet.diagnostic,
            demand: packet.demand,
            multiplier: packet.multiplier,
            desired_min_tx: packet.desired_min_tx,
            required_min_rx: packet.required_min_rx,
        }
    }
}

impl Remote {
    /// A packet that says it.
    fn packet(&self, local: Discriminator) -> ControlPacket {
        ControlPacket {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: false,
            is_final: false,
            control_plane_independent: self.control_plane_independent,
            demand: self.demand,
            multiplier: self.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: Some(local),
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            required_min_echo_rx: Interval::ZERO,
        }
    }
}

impl Session {
    pub(crate) fn new(
        key: SessionKey,
        profile: Profile,
        local: Discriminator,
        control_plane_independent: bool,
        now: Instant,
    ) -> Self {
        let slow = profile.min_tx().max(Interval::SLOW);
        Self {
            key,
            profile,
            local,
            state: State::Down,
            remote: None,
            counters: SessionCounters::default(),
            diagnostic: Diagnostic::NoDiagnostic,
            since: now,
            control_plane_independent,
            desired_min_tx: slow,
            tx_in_force: slow,
            required_min_rx: profile.min_rx(),
            rx_in_force: profile.min_rx(),
            poll: Poll::Idle,
            told: None,
            sent_at: None,
            heard_at: None,
            next_tx: Some(now),
            drawn_from: None,
            leaves_at: None,
            is_deaf: false,
        }
    }

    pub(crate) fn set_profile(&mut self, profile: Profile) {
        self.profile = profile;
        self.apply_times();
    }

    /// The operator holds the session down; for so long the peer is told. `None`: it knows nothing
    /// that it would have to be told to forget.
    pub(crate) fn disable(&mut self, now: Instant) -> Option<Instant> {
        self.step(fsm::Input::Disable, now);
        self.remote?;
        // The peer's Detection Time once it knows our slow interval.
        let linger = self.desired_min_tx.duration() * self.profile.multiplier().get().into();
        self.leaves_at = Some(now + linger);
        self.leaves_at
    }

    pub(crate) fn enable(&mut self, now: Instant) {
        self.leaves_at = None;
        self.step(fsm::Input::Enable, now);
    }

    pub(crate) const fn is_leaving(&self) -> bool {
        self.leaves_at.is_some()
    }

    pub(crate) fn has_left(&self, now: Instant) -> bool {
        self.leaves_at.is_some_and(|at| at <= now)
    }

    /// A packet that belongs to the session and passes every rule that discards (RFC 5880 §6.8.6).
    pub(crate) fn receive(&mut self, packet: &ControlPacket, now: Instant) {
        self.counters.received += 1;
        self.remote = Some(packet.into());
        self.heard_at = Some(now);
        if packet.is_final {
            self.end_poll();
        }
        self.step(fsm::Input::Received(packet.state), now);
    }

    /// The peer has been silent for the Detection Time (§6.8.4), and what it was is not known any more
    /// (§6.8.1, `bfd.RemoteDiscr`).
    pub(crate) fn expire(&mut self, now: Instant) {
        self.remote = None;
        self.heard_at = None;
        self.poll = Poll::Idle;
        self.step(fsm::Input::DetectionTimeExpired, now);
    }

    fn step(&mut self, input: fsm::Input, now: Instant) {
        let before = self.state;
        let (next, diagnostic) = fsm::step(before, input);
        if let Some(diagnostic) = diagnostic {
            self.diagnostic = diagnostic;
        }
        if next == before {
            return;
        }
        self.state = next;
        self.since = now;
        self.counters.ups += u64::from(next == State::Up);
        self.counters.downs += u64::from(before == State::Up);
        self.apply_times();
    }
}

/// Times (RFC 5880 §6.8.2 to §6.8.4, §6.5).
impl Session {
    /// Brings what packets carry into line with profile and state, and has the peer confirm it.
    fn apply_times(&mut self) {
        let is_up = self.state == State::Up;
        let min_tx = self.profile.min_tx();
        let tx = if is_up { min_tx } else { min_tx.max(Interval::SLOW) };
        let rx = self.profile.min_rx();
        let changed = tx != self.desired_min_tx || rx != self.required_min_rx;
        (self.desired_min_tx, self.required_min_rx) = (tx, rx);
        if !is_up || tx < self.tx_in_force {
            self.tx_in_force = tx;
        }
        if !is_up || rx > self.rx_in_force {
            self.rx_in_force = rx;
        }
        // Of someone who does not know us there is nothing to be confirmed.
        if changed && self.remote.is_some() {
            self.poll = match self.poll {
                Poll::Idle => Poll::Active,
                Poll::Active | Poll::ActiveAndAgain => Poll::ActiveAndAgain,
                Poll::Pending => Poll::Pending,
            };
        }
    }

    fn end_poll(&mut self) {
        match self.poll {
            // Nobody has asked for it.
            Poll::Idle | Poll::Pending => {}
            Poll::Active => {
                self.poll = Poll::Idle;
                self.tx_in_force = self.desired_min_tx;
                self.rx_in_force = self.required_min_rx;
            }
            Poll::ActiveAndAgain => self.poll = Poll::Pending,
        }
    }

    /// What is let pass between two packets, before jitter. `None`: none are sent periodically, for
    /// the peer takes none, or is in Demand mode (§6.8.7).
    fn transmit_interval(&self) -> Option<Duration> {
        let Some(remote) = &self.remote else { return Some(self.tx_in_force.duration()) };
        let both_up = self.state == State::Up && remote.state == State::Up;
        let demand = remote.demand && both_up && self.poll == Poll::Idle;
        if remote.required_min_rx == Interval::ZERO || demand {
            return None;
        }
        Some(self.tx_in_force.max(remote.required_min_rx).duration())
    }

    fn detection_time(&self) -> Option<Duration> {
        let remote = self.remote.as_ref()?;
        let interval = self.rx_in_force.max(remote.desired_min_tx).duration();
        Some(interval * remote.multiplier.get().into())
    }

    pub(crate) fn detects_at(&self) -> Option<Instant> {
        let heard_at = self.heard_at.filter(|_| !self.is_deaf);
        heard_at.zip(self.detection_time()).map(|(at, time)| at + time)
    }

    /// When the session next wants to be looked at.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.next_tx, self.detects_at(), self.leaves_at].into_iter().flatten().min()
    }

    /// The interval may have changed: a shorter one holds at once, counted from the latest packet; a
    /// longer one holds from the next packet on.
    pub(crate) fn reschedule(&mut self, rng: &mut Rng, now: Instant) {
        let interval = self.transmit_interval();
        if interval == self.drawn_from {
            return;
        }
        let drawn = interval.map(|interval| {
            let jittered = rng.jitter(interval, self.profile.multiplier().get());
            self.sent_at.map_or(now, |at| at + jittered)
        });
        self.next_tx = match (drawn, self.next_tx) {
            (Some(drawn), Some(next)) => Some(drawn.min(next)),
            (drawn, _) => drawn,
        };
        self.drawn_from = interval;
    }
}

/// In another process.
impl Session {
    pub(crate) fn frame(&self, now: Instant) -> SessionFrame {
        let ago = |at: Instant| now.saturating_duration_since(at);
        let millis = |interval: Interval| (interval.micros() / 1000) as u16;
        SessionFrame {
            key: self.key,
            profile: ProfileFrame {
                min_tx: millis(self.profile.min_tx()),
                min_rx: millis(self.profile.min_rx()),
                multiplier: self.profile.multiplier().get(),
            },
            local: self.local.get(),
            state: self.state.code(),
            diagnostic: self.diagnostic.code(),
            since: ago(self.since),
            heard: self.remote.map(|remote| remote.packet(self.local).encode()),
            told: self.told.map(|told| told.encode()),
            heard_at: self.heard_at.map(ago),
            sent_at: self.sent_at.map(ago),
            next_tx: self.next_tx.map(|at| at.saturating_duration_since(now)),
            poll: self.poll as u8,
            times: TimesFrame {
                desired_min_tx: self.desired_min_tx.micros(),
                tx_in_force: self.tx_in_force.micros(),
                required_min_rx: self.required_min_rx.micros(),
                rx_in_force: self.rx_in_force.micros(),
            },
            counters: CountersFrame {
                received: self.counters.received,
                sent: self.counters.sent,
                ups: self.counters.ups,
                downs: self.counters.downs,
            },
        }
    }

    pub(crate) fn of_frame(
        frame: &SessionFrame,
        control_plane_independent: bool,
        now: Instant,
    ) -> Result<Self, HandoverError> {
        let ProfileFrame { min_tx, min_rx, multiplier } = frame.profile;
        let profile = Profile::new(min_tx, min_rx, multiplier.into()).or(Err(HandoverError))?;
        let local = Discriminator::new(frame.local).ok_or(HandoverError)?;
        let packet = |octets: &[u8; PACKET_LEN]| ControlPacket::decode(octets);
        let heard = frame.heard.as_ref().map(packet).transpose().or(Err(HandoverError))?;
        let told = frame.told.as_ref().map(packet).transpose().or(Err(HandoverError))?;
        let at = |ago: Duration| now.checked_sub(ago).unwrap_or(now);
        let CountersFrame { received, sent, ups, downs } = frame.counters;
        let TimesFrame { desired_min_tx, tx_in_force, required_min_rx, rx_in_force } = frame.times;
        Ok(Self {
            state: State::from_code(frame.state),
            remote: heard.as_ref().map(Remote::from),
            counters: SessionCounters { received, sent, ups, downs },
            diagnostic: Diagnostic::from_code(frame.diagnostic),
            since: at(frame.since),
            desired_min_tx: Interval::from_micros(desired_min_tx),
            tx_in_force: Interval::from_micros(tx_in_force),
            required_min_rx: Interval::from_micros(required_min_rx),
            rx_in_force: Interval::from_micros(rx_in_force),
            poll: Poll::of_number(frame.poll).ok_or(HandoverError)?,
            told,
            sent_at: frame.sent_at.map(at),
            // What is not known of the peer is not known since then, either.
            heard_at: frame.heard_at.filter(|_| heard.is_some()).map(at),
            next_tx: frame.next_tx.map(|soon| now + soon.min(MAX_INTERVAL)),
            ..Self::new(frame.key, profile, local, control_plane_independent, now)
        })
    }
}

/// What is sent (RFC 5880 §6.8.7).
impl Session {
    fn contents(&self) -> ControlPacket {
        ControlPacket {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: false,
            is_final: false,
            control_plane_independent: self.control_plane_independent,
            demand: false,
            multiplier: self.profile.multiplier(),
            my_discriminator: self.local,
            your_discriminator: self.remote.as_ref().map(|remote| remote.discriminator),
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            required_min_echo_rx: Interval::ZERO,
        }
    }

    /// The answer to a packet with the P bit, which waits for no timer and moves none (§6.5).
    pub(crate) fn answer(&mut self) -> ControlPacket {
        let contents = self.contents();
        self.told = Some(contents);
        self.counters.sent += 1;
        ControlPacket { is_final: true, ..contents }
    }

    /// The packet that is to be sent now: its time has come, or it says what the peer has not been
    /// told yet.
    pub(crate) fn transmit(&mut self, rng: &mut Rng, now: Instant) -> Option<ControlPacket> {
        let interval = self.transmit_interval()?;
        let contents = self.contents();
        let is_due = self.next_tx.is_some_and(|at| at <= now);
        let is_news = self.told.is_some_and(|told| told != contents);
        if !is_due && !is_news {
            return None;
        }
        let poll = matches!(self.poll, Poll::Active | Poll::ActiveAndAgain);
        if self.poll == Poll::Pending {
            self.poll = Poll::Active;
        }
        self.told = Some(contents);
        self.sent_at = Some(now);
        self.next_tx = Some(now + rng.jitter(interval, self.profile.multiplier().get()));
        self.drawn_from = Some(interval);
        self.counters.sent += 1;
        Some(ControlPacket { poll, ..contents })
    }

    pub(crate) fn status(&self, now: Instant) -> SessionStatus {
        let remote = self.remote.as_ref();
        SessionStatus {
            key: self.key,
            profile: self.profile,
            state: self.state,
            since: now.saturating_duration_since(self.since),
            diagnostic: self.diagnostic,
            local_discriminator: self.local,
            remote_discriminator: remote.map(|remote| remote.discriminator),
            remote_state: remote.map(|remote| remote.state),
            remote_diagnostic: remote.map(|remote| remote.diagnostic),
            remote_min_tx: remote.map(|remote| remote.desired_min_tx),
            remote_min_rx: remote.map(|remote| remote.required_min_rx),
            remote_multiplier: remote.map(|remote| remote.multiplier.get()),
            remote_control_plane_independent: remote
                .is_some_and(|remote| remote.control_plane_independent),
            transmit_interval: self.transmit_interval(),
            detection_time: self.detection_time(),
            counters: self.counters,
        }
    }
}
