//! A speaker goes on in another process: [`Speaker::hand_over`] writes down what its sessions and its
//! table are, [`Speaker::taken_over`] begins with that, and peers notice nothing.
//!
//! What is written down are facts: both OPENs, octets received and not yet read, what is still to be
//! told, every path. What follows from them and from the configuration, which may be another one by
//! now, is made again by the code that made it first. What peers were told follows from the table, so
//! they are told no more than what differs.
//!
//! Sessions that are not Established are not handed over: they begin again.

mod frame;
mod give;
mod print;
mod take;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bgp_rib::{TableError, out::Owed};
use viaduct_net::Readable;

use self::frame::{Frame, PeerFrame, SourceFrame, TAKEN_VERSIONS};
pub use self::{
    frame::VERSION,
    take::{Adopted, Successor},
};
use crate::bfd::Loss;

#[cfg(doc)]
use crate::Speaker;

/// The longest frame there is; one that says it is longer is none.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Why a handover cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    #[error("its version is {0}, and not {VERSION}")]
    Version(u16),
    #[error("a frame that cannot be read")]
    Frame,
    #[error("the end is missing")]
    Unfinished,
    #[error("an OPEN of {} that cannot be", Readable(*.0))]
    Open(IpAddr),
    #[error("what {} was told is not known", Readable(*.0))]
    Peer(IpAddr),
    #[error("its sessions of BFD are of version {0}")]
    Bfd(u16),
    #[error("two sources of one number, or one of none that there can be")]
    Source,
    #[error("the table: {0}")]
    Table(#[from] TableError),
}

/// What one speaker has handed over to another, frame by frame.
#[derive(Debug, Default)]
pub struct Handover {
    begun: bool,
    ended: bool,
    peers: Vec<(PeerFrame, Owed)>,
    sources: Vec<SourceFrame>,
    losses: BTreeMap<IpAddr, Loss>,
    cut_off: BTreeSet<IpAddr>,
    /// Frames: a piece of it takes several times the memory.
    table: Vec<Vec<u8>>,
}

impl Handover {
    /// Reads the next frame.
    pub fn read(&mut self, octets: &[u8]) -> Result<(), HandoverError> {
        if self.begun && !self.ended && frame::is_table(octets) {
            self.table.push(octets.to_vec());
            return Ok(());
        }
        let frame = if self.begun {
            frame::read(octets)?
        } else {
            let (version, frame) = frame::read_first(octets)?;
            if !TAKEN_VERSIONS.contains(&version) {
                return Err(HandoverError::Version(version));
            }
            frame
        };
        match (frame, self.begun && !self.ended) {
            (Frame::Begin, false) if !self.ended => self.begun = true,
            (Frame::Peer(peer), true) => {
                let owed = peer.session.as_ref().map(|session| session.owed());
                self.peers.push((*peer, owed.unwrap_or_default()));
            }
            (Frame::Messages { octets, count }, true) => {
                let (_, owed) = self.peers.last_mut().ok_or(HandoverError::Frame)?;
                owed.messages.push((octets.into(), count));
            }
            (Frame::Missed(nlris), true) => {
                let (_, owed) = self.peers.last_mut().ok_or(HandoverError::Frame)?;
                for nlri in nlris {
                    owed.missed.push(nlri.try_into()?);
                }
            }
            (Frame::Lost { control_plane_independent }, true) => {
                let (peer, _) = self.peers.last().ok_or(HandoverError::Frame)?;
                self.losses.insert(peer.address, Loss { control_plane_independent });
            }
            (Frame::CutOff, true) => {
                let (peer, _) = self.peers.last().ok_or(HandoverError::Frame)?;
                self.cut_off.insert(peer.address);
            }
            (Frame::Source(source), true) => self.sources.push(source),
            (Frame::End, true) => self.ended = true,
            (Frame::Begin | Frame::End, _)
            | (
                Frame::Peer(_)
                | Frame::Messages { .. }
                | Frame::Missed(_)
                | Frame::Source(_)
                | Frame::Lost { .. }
                | Frame::CutOff,
                false,
            )
            | (Frame::Table(_), _) => return Err(HandoverError::Frame),
        }
        Ok(())
    }

    /// Whether all of it has been read.
    pub const fn is_whole(&self) -> bool {
        self.ended
    }

    /// The peers with a session.
    pub fn sessions(&self) -> impl Iterator<Item = IpAddr> {
        self.peers.iter().filter(|(peer, _)| peer.session.is_some()).map(|(peer, _)| peer.address)
    }
}
