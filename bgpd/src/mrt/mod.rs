//! Files of MRT (RFC 6396): the table and the updates of the speaker, and files as a source of routes.

mod dump;
mod outcome;
mod player;
mod recorder;
mod replay;

use std::time::{SystemTime, UNIX_EPOCH};

use bgp_mrt::Timestamp;

pub use self::{
    dump::{Dump, DumpError},
    replay::Replay,
};
pub(crate) use self::{
    dump::{TablePage, TablePeer, page, peers},
    recorder::Recorder,
    replay::{Piece, Replays},
};

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: since.as_secs() as u32, micros: Some(since.subsec_micros()) }
}
