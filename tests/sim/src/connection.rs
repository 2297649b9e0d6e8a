//! One end of a TCP connection.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use crate::NodeId;

/// What one side may have on the way that the other has not read: the buffers of both.
pub(crate) const WINDOW_BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Octets(Bytes),
    End,
}

impl Packet {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Octets(octets) => octets.len(),
            Self::End => 0,
        }
    }
}

/// It outlives its process until what was written is on its way.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    pub(crate) other_node: NodeId,
    /// The process still wants it.
    pub(crate) open: bool,
    /// Given to us by the process, not taken by TCP yet.
    pub(crate) unwritten: VecDeque<Packet>,
    /// Taken by TCP and not sent, because there is no way.
    pub(crate) held: VecDeque<Packet>,
    /// Taken by TCP and not read at the other end.
    pub(crate) in_flight: usize,
    /// TCP keeps the order: nothing arrives before what was sent before it.
    pub(crate) last_arrival: Duration,
    /// Arrived and not read yet.
    pub(crate) unread: VecDeque<Packet>,
    pub(crate) reads: bool,
}

impl End {
    pub(crate) fn new(node: NodeId, other_node: NodeId) -> Self {
        Self {
            node,
            other_node,
            open: true,
            unwritten: VecDeque::new(),
            held: VecDeque::new(),
            in_flight: 0,
            last_arrival: Duration::ZERO,
            unread: VecDeque::new(),
            reads: false,
        }
    }

    /// What TCP takes next, if anything.
    pub(crate) fn take_unwritten(&mut self) -> Option<Packet> {
        let len = self.unwritten.front()?.len();
        if self.in_flight != 0 && self.in_flight + len > WINDOW_BYTES {
            return None;
        }
        self.in_flight += len;
        self.unwritten.pop_front()
    }
}
