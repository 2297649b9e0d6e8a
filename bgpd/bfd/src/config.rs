use std::{net::IpAddr, num::NonZeroU8};

use serde::{Deserialize, Serialize};

use crate::Interval;

/// What lies between us and the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Path {
    /// A link: nothing that has passed a router is believed (RFC 5881).
    SingleHop,
    /// Routers (RFC 5883).
    Multihop,
}

impl Path {
    pub const ALL: [Self; 2] = [Self::SingleHop, Self::Multihop];

    /// The other way round.
    pub fn of_port(port: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.port() == port)
    }

    /// The UDP port at which packets are taken (RFC 5881 §4, RFC 5883 §5).
    pub const fn port(self) -> u16 {
        match self {
            Self::SingleHop => 3784,
            Self::Multihop => 4784,
        }
    }
}

/// What a session is known by before its discriminators are: one for each peer and kind of path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    pub peer: IpAddr,
    pub path: Path,
}

/// How fast a session shall be. What it becomes is negotiated with the peer (RFC 5880 §6.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Profile {
    min_tx: Interval,
    min_rx: Interval,
    multiplier: NonZeroU8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    #[error(
        "{0} ms is not possible between packets that are sent: {min} to {max} are",
        min = Profile::MIN_MILLIS,
        max = Profile::MAX_MILLIS
    )]
    Transmit(u16),
    #[error(
        "{0} ms is not possible between packets that are taken: {min} to {max} are",
        min = Profile::MIN_MILLIS,
        max = Profile::MAX_MILLIS
    )]
    Receive(u16),
    #[error("a multiplier of {0} is not possible: 1 to 255 are")]
    Multiplier(u16),
}

impl Profile {
    /// Faster than this a thread of a busy host is not reliably woken.
    pub const MIN_MILLIS: u16 = 50;
    pub const MAX_MILLIS: u16 = 60_000;

    /// # Errors
    /// Times outside of [`Self::MIN_MILLIS`] to [`Self::MAX_MILLIS`], and a multiplier that is zero
    /// or has no room in an octet.
    pub fn new(min_tx: u16, min_rx: u16, multiplier: u16) -> Result<Self, ProfileError> {
        let range = Self::MIN_MILLIS..=Self::MAX_MILLIS;
        if !range.contains(&min_tx) {
            return Err(ProfileError::Transmit(min_tx));
        }
        if !range.contains(&min_rx) {
            return Err(ProfileError::Receive(min_rx));
        }
        let octet = u8::try_from(multiplier).ok().and_then(NonZeroU8::new);
        Ok(Self {
            min_tx: Interval::from_millis(min_tx),
            min_rx: Interval::from_millis(min_rx),
            multiplier: octet.ok_or(ProfileError::Multiplier(multiplier))?,
        })
    }

    pub const fn min_tx(self) -> Interval {
        self.min_tx
    }

    pub const fn min_rx(self) -> Interval {
        self.min_rx
    }

    pub const fn multiplier(self) -> NonZeroU8 {
        self.multiplier
    }
}

impl Default for Profile {
    /// Three times 300 ms.
    fn default() -> Self {
        const THREE: NonZeroU8 = NonZeroU8::MIN.saturating_add(2);
        let interval = Interval::from_millis(300);
        Self { min_tx: interval, min_rx: interval, multiplier: THREE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_within_what_can_be_kept_and_encoded() {
        assert_eq!(Profile::new(300, 300, 3), Ok(Profile::default()));
        assert_eq!(Profile::new(49, 300, 3), Err(ProfileError::Transmit(49)));
        assert_eq!(Profile::new(50, 60_001, 3), Err(ProfileError::Receive(60_001)));
        assert_eq!(Profile::new(50, 50, 0), Err(ProfileError::Multiplier(0)));
        assert_eq!(Profile::new(50, 50, 256), Err(ProfileError::Multiplier(256)));
        assert!(Profile::new(50, 50, 255).is_ok());
    }
}
