//! MRT (RFC 6396): tables of routes and what passes between speakers, as they are kept in files.
//!
//! Pure: octets in, [`Record`]s out, and back. [`Record::first`] cuts the first record off what was
//! read; nothing of it is trusted, and a record is no longer than [`MAX_RECORD_LEN`]. What no record
//! here means anything to, such as the other routing protocols of the format, is [`Body::Other`] and
//! can be passed over.
//!
//! A table is one [`PeerIndexTable`] and behind it a [`RibRecord`] for each prefix (TABLE_DUMP_V2, RFC
//! 6396 §4.3); a log of sessions is [`SessionMessage`]s and [`StateChange`]s (BGP4MP, §4.4). Several
//! paths of one peer for a prefix are told apart as RFC 8050 says. What a record says of routes is
//! read as an UPDATE of BGP is, with the consequences that faults have there.

mod bgp4mp;
mod octets;
mod record;
mod rib;

pub use bgp4mp::{PeerState, Session, SessionMessage, StateChange};
pub use record::{Body, Error, HEADER_LEN, MAX_RECORD_LEN, Record, Timestamp};
pub use rib::{IndexedPeer, PeerIndexTable, RibEntry, RibRecord};

#[cfg(test)]
mod tests;
