//! What TCP is asked for with a peer. The speaker hands it to the shell with each connection, and
//! ends a session that began under another.

use std::{fmt, num::NonZeroU8, sync::Arc};

/// A secret shared with a peer, 1 to 80 octets. It shows itself to nobody: neither `Debug` nor
/// `Display` prints what it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Password(Arc<[u8]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("is empty")]
    Empty,
    #[error("has {0} octets, of which the kernel takes {max}", max = Password::MAX_LEN)]
    TooLong(usize),
}

impl Password {
    /// TCP_MD5SIG_MAXKEYLEN and TCP_AO_MAXKEYLEN of Linux.
    pub const MAX_LEN: usize = 80;

    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Password {
    type Error = PasswordError;

    fn try_from(octets: &[u8]) -> Result<Self, PasswordError> {
        match octets.len() {
            0 => Err(PasswordError::Empty),
            len if len > Self::MAX_LEN => Err(PasswordError::TooLong(len)),
            _ => Ok(Self(octets.into())),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// How a segment's MAC is made: a hash and the derivation of its keys from the secret (RFC 5926 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AoAlgorithm {
    #[default]
    HmacSha1,
    Aes128Cmac,
}

/// A Master Key Tuple of TCP-AO (RFC 5925 §3.1), but for the connections that it is meant for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AoKey {
    /// Stands in what we send.
    pub send_id: u8,
    /// Stands in what the peer sends.
    pub receive_id: u8,
    pub algorithm: AoAlgorithm,
    /// Options of TCP other than TCP-AO are no part of what is signed.
    pub excludes_options: bool,
    pub secret: Password,
}

/// How far packets travel, to the peer and from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// Packets leave with the kernel's default and are taken with any.
    #[default]
    Kernel,
    /// Packets leave with this TTL and are taken with any.
    Send(NonZeroU8),
    /// RFC 5082: packets leave with 255, and are taken only from so many hops away; 1 is a neighbour
    /// on the link.
    Security { hops: NonZeroU8 },
}

impl Ttl {
    /// With what packets leave; `None` is the kernel's default.
    pub const fn sent(self) -> Option<u8> {
        match self {
            Self::Kernel => None,
            Self::Send(ttl) => Some(ttl.get()),
            Self::Security { .. } => Some(u8::MAX),
        }
    }

    /// The least with which packets are taken (RFC 5082 §3: 255 − hops, where a neighbour on the
    /// link is no hop away); 0 is any.
    pub const fn least_received(self) -> u8 {
        match self {
            Self::Kernel | Self::Send(_) => 0,
            Self::Security { hops } => u8::MAX - (hops.get() - 1),
        }
    }
}

/// All that is set on a socket before TCP begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    pub ttl: Ttl,
    /// Every segment is signed with it (RFC 2385).
    pub md5: Option<Password>,
    /// Every segment is signed with one of them (RFC 5925), in place of `md5`: at first with the first.
    pub ao: Vec<AoKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_bounded_and_says_nothing_of_itself() {
        let password = Password::try_from(&b"hunter2"[..]).unwrap();
        assert_eq!(password.octets(), b"hunter2");
        let transport = Transport { md5: Some(password), ..Default::default() };
        assert_eq!(format!("{transport:?}"), {
            "Transport { ttl: Kernel, md5: Some(Password(…)), ao: [] }"
        });
        assert_eq!(Password::try_from(&[][..]), Err(PasswordError::Empty));
        assert!(Password::try_from(&[b'x'; 80][..]).is_ok());
        let error = Password::try_from(&[b'x'; 81][..]).unwrap_err();
        assert_eq!(error.to_string(), "has 81 octets, of which the kernel takes 80");
    }

    #[test]
    fn a_neighbour_on_the_link_is_one_hop_away() {
        let security = |hops| Ttl::Security { hops: NonZeroU8::new(hops).unwrap() };
        assert_eq!((security(1).sent(), security(1).least_received()), (Some(255), 255));
        assert_eq!(security(254).least_received(), 2);
        assert_eq!((Ttl::Kernel.sent(), Ttl::Kernel.least_received()), (None, 0));
        assert_eq!(Ttl::Send(NonZeroU8::new(3).unwrap()).sent(), Some(3));
    }
}
