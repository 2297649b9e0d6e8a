//! How far a collector has come.

use std::net::IpAddr;

use bgp_rib::{PathFilter, Reason};
use bgp_speaker::Speaker;
use bgp_wire::Nlri;
use bytes::Bytes;

use super::{
    Tables,
    collector::{LOW_BYTES, Queue},
};

/// Places of the table taken at once for what a peer was told.
const STEP: usize = 1024;

/// What comes next.
pub(super) enum Step {
    Paths(Tables),
    /// What a peer has been told.
    Told(IpAddr, Vec<Bytes>),
    /// That was all there is.
    Ended,
}

#[derive(Debug)]
enum Walk {
    /// Over the table, for what came and what was chosen.
    Table(u32),
    /// Over the table, for what the last of these peers was told.
    Told(u32),
    Ended,
}

#[derive(Debug)]
pub(super) struct Feed {
    pub(super) queue: Queue,
    walk: Walk,
    /// Peers of whom it has yet to be said what they are told.
    peers: Vec<IpAddr>,
}

impl Feed {
    /// `peers` are those of whom it is to be said what they are told.
    pub(super) fn new(queue: Queue, peers: Vec<IpAddr>) -> Self {
        Self { queue, walk: Walk::Table(0), peers }
    }

    /// Whether there is room for more. Where there is none the collector's task says so when there is.
    pub(super) fn may_go_on(&self) -> bool {
        if matches!(self.walk, Walk::Ended) {
            return false;
        }
        // Said before it is looked at: whoever drains in between says so.
        self.queue.set_wants_more(true);
        self.queue.waiting() < LOW_BYTES
    }

    /// `None` when there is nothing more.
    pub(super) fn next(&mut self, speaker: &mut Speaker) -> Option<Step> {
        match self.walk {
            Walk::Table(from) => {
                let mut tables = Tables::default();
                let config = speaker.config().clone();
                let rib = speaker.settled_rib();
                let step = rib.walk(from, &PathFilter::default(), usize::MAX);
                for path in &step.paths {
                    let nlri = Nlri { prefix: path.prefix, path_id: path.path_id };
                    if let Some(peer) = path.peer {
                        tables.path(peer.address, nlri, Some(path));
                    }
                    if path.reason == Reason::Best {
                        let next_hop = path.next_hop;
                        tables.chosen(path.prefix, path.attributes, next_hop, &config);
                    }
                }
                self.walk = step.next.map_or(Walk::Told(0), Walk::Table);
                Some(Step::Paths(tables))
            }
            Walk::Told(from) => {
                let Some(&peer) = self.peers.last() else {
                    self.walk = Walk::Ended;
                    return Some(Step::Ended);
                };
                let (messages, next) = speaker.told_from(peer, from, STEP);
                if next.is_none() {
                    self.peers.pop();
                }
                self.walk = Walk::Told(next.unwrap_or_default());
                Some(Step::Told(peer, messages))
            }
            Walk::Ended => None,
        }
    }
}
