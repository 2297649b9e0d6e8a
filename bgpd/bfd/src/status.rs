use std::time::Duration;

use crate::{Diagnostic, Discard, Discriminator, Interval, Profile, SessionKey, State};

/// Packets and losses of one session, since it was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    pub received: u64,
    pub sent: u64,
    /// How often it has come Up.
    pub ups: u64,
    /// How often it has left Up, for whatever reason.
    pub downs: u64,
}

/// What an operator asks of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    pub key: SessionKey,
    pub profile: Profile,
    pub state: State,
    pub since: Duration,
    pub diagnostic: Diagnostic,
    pub local_discriminator: Discriminator,
    /// `None` where nothing has been heard for the Detection Time; so are all that begin with
    /// `remote`.
    pub remote_discriminator: Option<Discriminator>,
    pub remote_state: Option<State>,
    pub remote_diagnostic: Option<Diagnostic>,
    pub remote_min_tx: Option<Interval>,
    pub remote_min_rx: Option<Interval>,
    pub remote_multiplier: Option<u8>,
    pub remote_control_plane_independent: bool,
    /// What is let pass between our packets, before jitter; `None` where the peer wants none.
    pub transmit_interval: Option<Duration>,
    /// After so long a silence the peer is taken for lost.
    pub detection_time: Option<Duration>,
    pub counters: SessionCounters,
}

/// How many packets each rule has discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discards([u64; Discard::ALL.len()]);

impl Discards {
    pub(crate) const fn count(&mut self, discard: Discard) {
        self.0[discard as usize] += 1;
    }

    pub const fn of(&self, discard: Discard) -> u64 {
        self.0[discard as usize]
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_discard_has_a_room_of_its_own() {
        let mut discards = Discards::default();
        for (index, discard) in Discard::ALL.into_iter().enumerate() {
            assert_eq!(discard as usize, index);
            discards.count(discard);
        }
        assert_eq!(discards, Discards([1; Discard::ALL.len()]));
    }
}
