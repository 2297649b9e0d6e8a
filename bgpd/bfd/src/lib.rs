//! Bidirectional Forwarding Detection without I/O (RFC 5880, asynchronous mode): the control packet,
//! the state machine and timers of each session, and the table that finds a packet's session.
//!
//! [`Bfd`] is told which sessions there shall be, what has arrived and how late it is, and says what
//! to send, what has changed and when it wants to be asked again. It opens no socket and reads no
//! clock; its only randomness is a seed. Single hop and multihop (RFC 5881, 5883) differ in it by the
//! [`Path`] of a session alone.
//!
//! Not offered: authentication (packets with the A bit are discarded and counted), Demand mode of our
//! own (a peer's is honoured), the Echo function (we ask for no echo packets and send none).

mod bfd;
mod config;
mod diagnostic;
mod fsm;
mod handover;
mod interval;
mod packet;
mod rng;
mod session;
mod status;

pub use bfd::{Bfd, Change, DownReason, Event, MAX_SESSIONS, Received, TooManySessions, Transmit};
pub use config::{Path, Profile, ProfileError, SessionKey};
pub use diagnostic::Diagnostic;
pub use fsm::State;
pub use handover::{HANDOVER_VERSION, Handover, HandoverError};
pub use interval::Interval;
pub use packet::{ControlPacket, Discard, Discriminator, PACKET_LEN};
pub use status::{Discards, SessionCounters, SessionStatus};

#[cfg(test)]
mod tests;
