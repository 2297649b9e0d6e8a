//! A planned restart (see `docs/restart.md`): the running speaker gives listeners, connections, octets
//! and state to the next process over a unix socket, and no peer notices.
//!
//! ```text
//! successor ── Hello ──────────────────────────────────────▶ predecessor: stands still
//!           ◀── Listener*, Beside*, Neighbour*, (Bfd, BfdSocket*)?,
//!               (Connection, Unwritten*)*, Speaker*, End ──
//! reads all, makes a speaker of it                           says KEEPALIVE
//!           ── Ready ──────────────────────────────────────▶ is silent
//!           ◀────────────────────── BfdFrame*, Said*, Go ── sends for BFD what it has said
//! goes on with BFD, closes ────────────────────────────────▶ ends
//! reads and writes
//! ```
//!
//! Frames of the speaker go as they are made; no more than a few wait. `Said` is what has become of the
//! octets of a connection meanwhile. BFD never stands still: its thread goes on until the last moment, and
//! then repeats what it has said until the other has begun. `Beside` are sockets of the process that the
//! speaker knows nothing of; whoever has some sends them, and whoever has none can be taken over by a
//! successor that knows no such word.
//!
//! `Go` is the one moment at which the sessions change hands: until it is sent the predecessor goes on
//! as if nothing had happened when the other falls silent or away, and until it has come the successor
//! touches no connection. A speaker that is still starting says `Later` instead of all this, and one that
//! cannot be taken over says `Refused`. A successor that cannot take what it is handed says `Yield`, and the
//! predecessor ends as for an ordinary restart (RFC 4724).

mod beat;
mod channel;
mod give;
mod offer;
mod take;

pub use offer::BesideSockets;
pub use take::{Predecessor, TakeoverError};
pub(crate) use {
    give::Outcome,
    offer::{Beside, Offer, bind, listen},
    take::{Committed, commit, decline},
};
