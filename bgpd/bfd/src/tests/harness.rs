//! One machine with a neighbour that the test plays, and two machines with a network between them;
//! time is a number.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::{NonZeroU8, NonZeroU32},
    time::{Duration, Instant},
};

use crate::{
    Bfd, Change, ControlPacket, Diagnostic, Discard, Interval, Path, Profile, Received, SessionKey,
    SessionStatus, State,
};

pub(super) const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
pub(super) const KEY: SessionKey = SessionKey { peer: PEER, path: Path::SingleHop };

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn profile(tx: u16, rx: u16, multiplier: u16) -> Profile {
    Profile::new(tx, rx, multiplier).unwrap()
}

/// A machine with one session, and its neighbour's words.
pub(super) struct One {
    pub(super) bfd: Bfd,
    pub(super) now: Instant,
    /// What was sent, and when.
    pub(super) sent: Vec<(Instant, ControlPacket)>,
    pub(super) changes: Vec<Change>,
    /// The neighbour's next packet; your discriminator is filled in once it is known.
    pub(super) says: ControlPacket,
}

impl One {
    pub(super) fn new(profile: Profile) -> Self {
        let now = Instant::now();
        let mut bfd = Bfd::new(false, 7);
        bfd.set_sessions(&BTreeMap::from([(KEY, profile)]), now).unwrap();
        let says = ControlPacket {
            diagnostic: Diagnostic::NoDiagnostic,
            state: State::Down,
            poll: false,
            is_final: false,
            control_plane_independent: false,
            demand: false,
            multiplier: NonZeroU8::new(3).unwrap(),
            my_discriminator: NonZeroU32::new(77).unwrap(),
            your_discriminator: None,
            desired_min_tx: Interval::from_millis(100),
            required_min_rx: Interval::from_millis(100),
            required_min_echo_rx: Interval::ZERO,
        };
        let mut one = Self { bfd, now, sent: Vec::new(), changes: Vec::new(), says };
        one.pass(Duration::ZERO);
        one
    }

    /// Brought Up by the neighbour in Init.
    pub(super) fn up(profile: Profile) -> Self {
        let mut one = Self::new(profile);
        one.hear(State::Down).unwrap();
        one.hear(State::Up).unwrap();
        assert_eq!(one.changes, [Change::Up]);
        one
    }

    pub(super) fn set_profile(&mut self, profile: Profile) {
        self.bfd.set_sessions(&BTreeMap::from([(KEY, profile)]), self.now).unwrap();
        self.drain();
    }

    /// The operator takes the session away.
    pub(super) fn remove(&mut self) {
        self.bfd.set_sessions(&BTreeMap::new(), self.now).unwrap();
        self.drain();
    }

    /// The neighbour says what stands in `says`, in this state.
    pub(super) fn hear(&mut self, state: State) -> Result<(), Discard> {
        self.says.state = state;
        self.says.your_discriminator = self.sent.last().map(|(_, packet)| packet.my_discriminator);
        self.hear_octets(255, &self.says.encode())
    }

    pub(super) fn hear_octets(&mut self, ttl: u8, payload: &[u8]) -> Result<(), Discard> {
        let received = Received { peer: PEER, path: Path::SingleHop, ttl, payload };
        let taken = self.bfd.handle_packet(&received, self.now);
        self.drain();
        taken
    }

    /// Lets time pass, from deadline to deadline.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.bfd.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.bfd.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// The same, and the neighbour says what it says in this state all the while, so often.
    pub(super) fn pass_hearing(&mut self, time: Duration, every: Duration, state: State) {
        let end = self.now + time;
        while self.now + every <= end {
            self.pass(every);
            self.hear(state).unwrap();
        }
        self.pass(end - self.now);
    }

    pub(super) fn status(&self) -> SessionStatus {
        let statuses = self.bfd.statuses(self.now);
        assert_eq!(statuses.len(), 1);
        statuses[0]
    }

    pub(super) fn last(&self) -> ControlPacket {
        self.sent.last().unwrap().1
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.bfd.poll_transmit() {
            assert_eq!(transmit.session, KEY);
            self.sent.push((self.now, ControlPacket::decode(&transmit.payload).unwrap()));
        }
        while let Some(event) = self.bfd.poll_event() {
            self.changes.push(event.change);
        }
    }
}

/// What a network does to a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Lost,
    After(Duration),
}

/// Two machines, each with a session with the other.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) ends: [Bfd; 2],
    pub(super) changes: [Vec<(Instant, Change)>; 2],
    in_flight: BTreeSet<(Instant, usize, usize, [u8; crate::PACKET_LEN])>,
    sent: usize,
}

impl Pair {
    pub(super) fn new(profiles: [Profile; 2], seed: u64) -> Self {
        let now = Instant::now();
        let mut ends = [Bfd::new(true, seed), Bfd::new(false, seed ^ 0x5555)];
        for (bfd, profile) in ends.iter_mut().zip(profiles) {
            bfd.set_sessions(&BTreeMap::from([(KEY, profile)]), now).unwrap();
        }
        let changes = [Vec::new(), Vec::new()];
        Self { now, ends, changes, in_flight: BTreeSet::new(), sent: 0 }
    }

    /// Runs for so long; what becomes of each packet is asked, with the end that sends it.
    pub(super) fn run(&mut self, time: Duration, mut fate: impl FnMut(usize) -> Fate) {
        let end = self.now + time;
        loop {
            let timeouts = self.ends.iter().filter_map(Bfd::poll_timeout);
            let arrival = self.in_flight.first().map(|one| one.0);
            let Some(next) = timeouts.chain(arrival).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            // What has arrived counts before time does.
            while let Some(one) = self.in_flight.first().copied().filter(|one| one.0 <= self.now) {
                self.in_flight.remove(&one);
                let (_, _, to, payload) = one;
                let path = Path::SingleHop;
                let received = Received { peer: PEER, path, ttl: 255, payload: &payload };
                // A discriminator of before a restart is discarded, as it should be.
                let _discarded = self.ends[to].handle_packet(&received, self.now);
                self.drain(&mut fate);
            }
            for end in 0..2 {
                self.ends[end].handle_timeout(self.now);
            }
            self.drain(&mut fate);
        }
        self.now = end;
    }

    pub(super) fn status(&self, end: usize) -> SessionStatus {
        self.ends[end].statuses(self.now)[0]
    }

    pub(super) fn is_up(&self, end: usize) -> bool {
        self.status(end).state == State::Up
    }

    fn drain(&mut self, fate: &mut impl FnMut(usize) -> Fate) {
        for end in 0..2 {
            while let Some(transmit) = self.ends[end].poll_transmit() {
                self.sent += 1;
                if let Fate::After(delay) = fate(end) {
                    let flight = (self.now + delay, self.sent, 1 - end, transmit.payload);
                    self.in_flight.insert(flight);
                }
            }
            while let Some(event) = self.ends[end].poll_event() {
                self.changes[end].push((self.now, event.change));
            }
        }
    }
}
