//! The control packet (RFC 5880 §4.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! ├─────┼─────────┼───┼─┼─┼─┼─┼─┼─┼───────────────┼───────────────┤
//! │Vers │  Diag   │Sta│P│F│C│A│D│M│  Detect Mult  │    Length     │
//! │                       My Discriminator                        │
//! │                      Your Discriminator                       │
//! │                    Desired Min TX Interval                    │
//! │                   Required Min RX Interval                    │
//! │                 Required Min Echo RX Interval                 │
//! ```

use std::num::{NonZeroU8, NonZeroU32};

use crate::{Diagnostic, Interval, State};

/// Octets of a packet without authentication.
pub const PACKET_LEN: usize = 24;
/// Where a packet bears authentication it has at least its type and length, too.
const AUTHENTICATED_LEN: u8 = PACKET_LEN as u8 + 2;
const VERSION: u8 = 1;

const POLL: u8 = 1 << 5;
const FINAL: u8 = 1 << 4;
const CONTROL_PLANE_INDEPENDENT: u8 = 1 << 3;
const AUTHENTICATION: u8 = 1 << 2;
const DEMAND: u8 = 1 << 1;
const MULTIPOINT: u8 = 1;

/// The name of a session on one system: unique there, never zero (RFC 5880 §6.3).
pub type Discriminator = NonZeroU32;

/// Why a packet was not looked at any further (RFC 5880 §6.8.6, and RFC 5881 §5 for `Ttl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Discard {
    #[error("it has come over a router: its TTL is not 255")]
    Ttl,
    #[error("shorter than a control packet")]
    Truncated,
    #[error("of another version")]
    Version,
    #[error("its length field is shorter than a control packet")]
    Length,
    #[error("its length field is longer than what has arrived")]
    LengthBeyondPayload,
    #[error("its detection multiplier is zero")]
    ZeroMultiplier,
    #[error("multipoint")]
    Multipoint,
    #[error("its own discriminator is zero")]
    ZeroMyDiscriminator,
    #[error("it does not name a session, though its sender knows one")]
    ZeroYourDiscriminator,
    #[error("it names a session that is none of ours")]
    UnknownDiscriminator,
    #[error("it names a session with someone else")]
    OtherPeer,
    #[error("no session with its sender is configured")]
    NoSession,
    #[error("authenticated, and we have agreed on no authentication")]
    Authenticated,
    #[error("the session is held down")]
    AdminDown,
}

impl Discard {
    pub const ALL: [Self; 14] = [
        Self::Ttl,
        Self::Truncated,
        Self::Version,
        Self::Length,
        Self::LengthBeyondPayload,
        Self::ZeroMultiplier,
        Self::Multipoint,
        Self::ZeroMyDiscriminator,
        Self::ZeroYourDiscriminator,
        Self::UnknownDiscriminator,
        Self::OtherPeer,
        Self::NoSession,
        Self::Authenticated,
        Self::AdminDown,
    ];

    /// For labels of metrics and fields of JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Truncated => "truncated",
            Self::Version => "version",
            Self::Length => "length",
            Self::LengthBeyondPayload => "length_beyond_payload",
            Self::ZeroMultiplier => "zero_multiplier",
            Self::Multipoint => "multipoint",
            Self::ZeroMyDiscriminator => "zero_my_discriminator",
            Self::ZeroYourDiscriminator => "zero_your_discriminator",
            Self::UnknownDiscriminator => "unknown_discriminator",
            Self::OtherPeer => "other_peer",
            Self::NoSession => "no_session",
            Self::Authenticated => "authenticated",
            Self::AdminDown => "admin_down",
        }
    }
}

/// A packet that can be acted upon. What must be discarded whatever the session is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPacket {
    pub diagnostic: Diagnostic,
    pub state: State,
    pub poll: bool,
    pub is_final: bool,
    /// The sender's BFD goes on when its control plane does not (the C bit).
    pub control_plane_independent: bool,
    /// The sender wants to be sent nothing while both are Up (RFC 5880 §6.6).
    pub demand: bool,
    pub multiplier: NonZeroU8,
    pub my_discriminator: Discriminator,
    /// `None` where the sender has not heard from us.
    pub your_discriminator: Option<Discriminator>,
    /// At least so much the sender lets pass between its packets.
    pub desired_min_tx: Interval,
    /// So fast it can take ours; zero: it wants none.
    pub required_min_rx: Interval,
    /// So fast it can take echo packets; zero: it takes none.
    pub required_min_echo_rx: Interval,
}

impl ControlPacket {
    /// Reads the payload of a datagram, by the rules of RFC 5880 §6.8.6 that ask for no session, in
    /// their order.
    ///
    /// # Errors
    /// The first rule by which the packet must be discarded. Authentication is none of them, for its
    /// rule stands behind those that ask for the session: see [`Self::is_authenticated`].
    pub fn decode(payload: &[u8]) -> Result<Self, Discard> {
        let Some(octets) = payload.first_chunk::<PACKET_LEN>() else {
            return Err(Discard::Truncated);
        };
        let [first, flags, multiplier, length, ..] = *octets;
        if first >> 5 != VERSION {
            return Err(Discard::Version);
        }
        let authenticated = Self::is_authenticated(payload);
        if length < if authenticated { AUTHENTICATED_LEN } else { PACKET_LEN as u8 } {
            return Err(Discard::Length);
        }
        if usize::from(length) > payload.len() {
            return Err(Discard::LengthBeyondPayload);
        }
        let multiplier = NonZeroU8::new(multiplier).ok_or(Discard::ZeroMultiplier)?;
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        let my_discriminator =
            Discriminator::new(word(octets, 1)).ok_or(Discard::ZeroMyDiscriminator)?;
        let packet = Self {
            diagnostic: Diagnostic::from_code(first),
            state: State::from_code(flags >> 6),
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            multiplier,
            my_discriminator,
            your_discriminator: Discriminator::new(word(octets, 2)),
            desired_min_tx: Interval::from_micros(word(octets, 3)),
            required_min_rx: Interval::from_micros(word(octets, 4)),
            required_min_echo_rx: Interval::from_micros(word(octets, 5)),
        };
        let knows_no_session = matches!(packet.state, State::Down | State::AdminDown);
        if packet.your_discriminator.is_none() && !knows_no_session {
            return Err(Discard::ZeroYourDiscriminator);
        }
        Ok(packet)
    }

    /// Whether a payload has the A bit.
    pub fn is_authenticated(payload: &[u8]) -> bool {
        payload.get(1).is_some_and(|flags| flags & AUTHENTICATION != 0)
    }

    pub fn encode(&self) -> [u8; PACKET_LEN] {
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        let flags = self.state.code() << 6
            | flag(self.poll, POLL)
            | flag(self.is_final, FINAL)
            | flag(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(self.demand, DEMAND);
        let mut octets = [0; PACKET_LEN];
        octets[0] = VERSION << 5 | self.diagnostic.code();
        octets[1] = flags;
        octets[2] = self.multiplier.get();
        octets[3] = PACKET_LEN as u8;
        let words = [
            self.my_discriminator.get(),
            self.your_discriminator.map_or(0, Discriminator::get),
            self.desired_min_tx.micros(),
            self.required_min_rx.micros(),
            self.required_min_echo_rx.micros(),
        ];
        for (room, word) in octets[4..].chunks_exact_mut(4).zip(words) {
            room.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }
}

/// The 32-bit word of this number.
fn word(octets: &[u8; PACKET_LEN], number: usize) -> u32 {
    let at = number * 4;
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}
