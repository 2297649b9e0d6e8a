//! BMP, version 3 (RFC 7854): what a speaker tells those who watch it.
//!
//! Pure: [`Message`]s become octets, and octets messages. A message that speaks of a peer begins with a
//! [`PeerHeader`], which also says of which table it speaks: what peers tell, before and after policy
//! (RFC 7854 §5), what is told to them (RFC 8671), or what was chosen (RFC 9069). Routes travel as the
//! UPDATEs of BGP.
//!
//! Nothing that is read is trusted, and no message is longer than [`MAX_MESSAGE_LEN`]. Route mirroring is
//! not written, and read as [`Message::Other`].

mod down;
mod message;
mod octets;
mod peer;
mod statistics;

pub use down::PeerDownReason;
pub use message::{Error, HEADER_LEN, Information, MAX_MESSAGE_LEN, Message, PeerUp, put_updates};
pub use peer::{Moment, PEER_HEADER_LEN, PeerHeader, Table};
pub use statistics::{Statistic, StatisticKind};

#[cfg(test)]
mod tests;
