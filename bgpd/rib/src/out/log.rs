//! What a group was told, until every member has read it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::PeerId;

/// Whom an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Audience {
    All,
    /// Everybody but the peer whose path it is.
    Except(PeerId),
    Only(PeerId),
}

impl Audience {
    pub(super) fn includes(self, peer: PeerId) -> bool {
        match self {
            Self::All => true,
            Self::Except(other) => other != peer,
            Self::Only(one) => one == peer,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) audience: Audience,
    /// Whole messages.
    pub(super) bytes: Bytes,
    pub(super) messages: u32,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    /// With the number of members that have yet to pass each.
    entries: VecDeque<(Entry, usize)>,
    /// The number of the first entry; they are counted from the beginning of the group.
    first: u64,
    bytes: usize,
    readers: usize,
}

impl Log {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Whether more than half of what is there comes from here on.
    pub(super) fn is_early(&self, cursor: u64) -> bool {
        2 * (self.end() - cursor) > self.entries.len() as u64
    }

    /// The number that the next entry will have.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// One reader more, from here on. Gives its cursor.
    pub(super) fn join(&mut self) -> u64 {
        self.readers += 1;
        self.end()
    }

    /// One reader fewer, which has read up to `cursor`.
    pub(super) fn leave(&mut self, cursor: u64) {
        self.readers -= 1;
        self.pass(cursor, self.end());
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if self.readers > 0 {
            self.bytes += entry.bytes.len();
            self.entries.push_back((entry, self.readers));
        } else {
            self.first += 1;
        }
    }

    pub(super) fn at(&self, number: u64) -> Option<&Entry> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get(at).map(|(entry, _)| entry)
    }

    /// A reader is done with the entries from `from` up to `to`, that one not included.
    pub(super) fn pass(&mut self, from: u64, to: u64) {
        for number in from..to {
            let at = (number - self.first) as usize;
            self.entries[at].1 -= 1;
        }
        while let Some((entry, 0)) = self.entries.front() {
            self.bytes -= entry.bytes.len();
            self.entries.pop_front();
            self.first += 1;
        }
    }
}
