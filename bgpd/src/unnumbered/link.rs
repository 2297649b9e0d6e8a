//! Whom we hear on one link, and when we speak there. No I/O: what is heard and the time come in, what
//! is to be sent comes out.

use std::{
    net::Ipv6Addr,
    time::{Duration, Instant},
};

use super::advertisement::{ALL_NODES, Message};

/// Advertisements at short intervals, when the link comes up.
const INITIAL_ADVERTISEMENTS: u8 = 3;
/// MIN_DELAY_BETWEEN_RAS of RFC 4861 §10: between two to all nodes.
const SHORT_INTERVAL: Duration = Duration::from_secs(3);
/// Between two later ones, drawn anew each time (RFC 4861 §6.2.4).
const INTERVAL: std::ops::Range<Duration> = Duration::from_secs(7)..Duration::from_secs(10);
/// MAX_RA_DELAY_TIME of RFC 4861 §10: until a solicitation is answered.
const MAX_ANSWER_DELAY: Duration = Duration::from_millis(500);
/// MAX_RTR_SOLICITATIONS and RTR_SOLICITATION_INTERVAL of RFC 4861 §10.
const SOLICITATIONS: u8 = 3;
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
/// Whatever happens, we ask no more often.
const MIN_SOLICITATION_INTERVAL: Duration = Duration::from_secs(1);
/// A neighbour without a session that has not answered a solicitation for so long is gone: an answer
/// comes within [`MAX_ANSWER_DELAY`], or [`SHORT_INTERVAL`] after the advertisement before it.
const SILENCE: Duration = Duration::from_secs(4);

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transmit {
    Advertisement { to: Ipv6Addr },
    Solicitation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    address: Ipv6Addr,
    at: Instant,
}

/// One link, of one neighbour. Another address that advertises takes its place only when there is no
/// session with it and it is silent when asked: nobody who joins the link ends a session.
#[derive(Debug)]
pub(super) struct Link {
    own: Ipv6Addr,
    is_up: bool,
    neighbour: Option<Heard>,
    /// Whoever else advertises, since when.
    rival: Option<Heard>,
    has_session: bool,
    /// When all nodes are told next, and were told last.
    advertise_at: Instant,
    advertised: Option<Instant>,
    initial_left: u8,
    solicit_at: Option<Instant>,
    solicited: Option<Instant>,
    solicitations_left: u8,
    /// Who is answered next; of several that ask at once the last.
    answer: Option<Heard>,
    random: u64,
}

impl Link {
    /// A link that is down, on which we have this address. The seed makes its jitter.
    pub(super) const fn new(own: Ipv6Addr, seed: u64, now: Instant) -> Self {
        Self {
            own,
            is_up: false,
            neighbour: None,
            rival: None,
            has_session: false,
            advertise_at: now,
            advertised: None,
            initial_left: 0,
            solicit_at: None,
            solicited: None,
            solicitations_left: 0,
            answer: None,
            random: seed,
        }
    }

    /// Whom another process has heard on it.
    pub(super) fn expect(&mut self, address: Ipv6Addr, now: Instant) {
        self.neighbour = Some(Heard { address, at: now });
    }

    pub(super) fn neighbour(&self) -> Option<Ipv6Addr> {
        self.neighbour.map(|heard| heard.address)
    }

    /// The link can be used under this address of ours, or not at the moment. Whoever was heard on it is
    /// still whom we expect there.
    pub(super) fn set_up(&mut self, own: Ipv6Addr, is_up: bool, now: Instant) {
        let begins = is_up && (!self.is_up || self.own != own);
        (self.own, self.is_up) = (own, is_up);
        if begins {
            self.initial_left = INITIAL_ADVERTISEMENTS;
            self.advertise_soon(now);
            self.solicitations_left = SOLICITATIONS;
            self.solicit(now);
        }
    }

    /// Whether there is a session with the neighbour. Where it has ended, whoever is there is asked to
    /// say so.
    pub(super) fn set_session(&mut self, has_session: bool, now: Instant) {
        let lost = self.has_session && !has_session;
        self.has_session = has_session;
        if has_session {
            self.rival = None;
        } else if lost {
            self.solicit(now);
        }
    }

    pub(super) fn handle(&mut self, message: Message, now: Instant) {
        match message {
            Message::Solicitation { from: None } => self.advertise_soon(now),
            Message::Solicitation { from: Some(from) } if self.answer.is_none() => {
                let at = now + self.below(MAX_ANSWER_DELAY);
                self.answer = Some(Heard { address: from, at });
            }
            Message::Solicitation { from: Some(from) } => {
                self.answer = self.answer.map(|answer| Heard { address: from, ..answer });
            }
            // Our own, come back by a loop.
            Message::Advertisement { from } if from == self.own => {}
            Message::Advertisement { from } => self.hear(Heard { address: from, at: now }),
        }
    }

    fn hear(&mut self, heard: Heard) {
        match self.neighbour {
            Some(known) if known.address == heard.address => {
                self.neighbour = Some(heard);
                self.rival = None;
            }
            Some(_) if self.has_session || self.rival.is_some() => {}
            Some(_) => {
                self.rival = Some(heard);
                self.solicit(heard.at);
            }
            None => self.adopt(heard),
        }
    }

    /// It is the neighbour, and is told of us without delay.
    fn adopt(&mut self, heard: Heard) {
        self.neighbour = Some(heard);
        self.rival = None;
        self.solicitations_left = 0;
        self.answer = Some(heard);
    }

    fn advertise_soon(&mut self, now: Instant) {
        let soonest = self.advertised.map_or(now, |last| now.max(last + SHORT_INTERVAL));
        self.advertise_at = soonest.min(self.advertise_at.max(now));
    }

    fn solicit(&mut self, now: Instant) {
        let soonest = self.solicited.map_or(now, |last| now.max(last + MIN_SOLICITATION_INTERVAL));
        self.solicit_at = Some(self.solicit_at.map_or(soonest, |at| at.min(soonest)));
    }

    /// When [`Self::poll`] is wanted; not at all while the link is down.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let rival = self.rival.map(|rival| rival.at + SILENCE);
        let answer = self.answer.map(|answer| answer.at);
        let times = [Some(self.advertise_at), self.solicit_at, rival, answer];
        times.into_iter().flatten().min().filter(|_| self.is_up)
    }

    /// Does what is due; gives what is to be sent, one after the other.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Transmit> {
        if !self.is_up {
            return None;
        }
        if let Some(rival) = self.rival.filter(|rival| rival.at + SILENCE <= now) {
            self.adopt(Heard { at: now, ..rival });
        }
        if let Some(answer) = self.answer.filter(|answer| answer.at <= now) {
            self.answer = None;
            return Some(Transmit::Advertisement { to: answer.address });
        }
        if self.advertise_at <= now {
            self.advertised = Some(now);
            self.initial_left = self.initial_left.saturating_sub(1);
            let spread = self.below(INTERVAL.end - INTERVAL.start);
            let interval =
                if self.initial_left > 0 { SHORT_INTERVAL } else { INTERVAL.start + spread };
            self.advertise_at = now + interval;
            return Some(Transmit::Advertisement { to: ALL_NODES });
        }
        if self.solicit_at.is_some_and(|at| at <= now) {
            self.solicited = Some(now);
            self.solicitations_left = self.solicitations_left.saturating_sub(1);
            let again = self.solicitations_left > 0;
            self.solicit_at = again.then(|| now + SOLICITATION_INTERVAL);
            return Some(Transmit::Solicitation);
        }
        None
    }

    /// Evenly from 0 to below `limit`; splitmix64.
    fn below(&mut self, limit: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        limit.mul_f64(((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests;
