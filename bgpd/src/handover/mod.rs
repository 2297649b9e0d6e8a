//! A planned restart (see `docs/restart.md`): the running speaker gives listeners, connections, octets
//! and state to the next process over a unix socket, and no peer notices.
//!
//! ```text
//! successor ── Hello ──────────────────────────────────────▶ predecessor: stands still
//!           ◀── Listener*, Neighbour*, (Connection, Unwritten*)*, Speaker*, End ──
//! reads all, makes a speaker of it                           says KEEPALIVE
//!           ── Ready ──────────────────────────────────────▶ is silent
//!           ◀───────────────────────────────── Said*, Go ── ends
//! reads and writes
//! ```
//!
//! Frames of the speaker go as they are made; no more than a few wait. `Said` is what has become of the
//! octets of a connection meanwhile.
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

pub use take::{Predecessor, TakeoverError};
pub(crate) use {
    give::Outcome,
    offer::{Offer, bind, listen},
    take::{commit, decline},
};
