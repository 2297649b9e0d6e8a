//! The table on its way to the next process: every path with what was decided of it, so that whoever
//! goes on knows what peers were told and tells them no more than what differs.
//!
//! What follows from the configuration is not on the way. Import judges the paths anew, and the
//! decision is made anew by the first flush; what was the best path before is noted as told.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
};

use bgp_wire::{AttributeSet, BgpNextHop, Nlri};
use serde::{Deserialize, Serialize};
use viaduct_net::{IfIndex, OriginSource, Prefix};

use super::{Origin, Rib, update::with_llgr_stale};
use crate::{
    ImportCounters, Peer, PeerId, Reason,
    next_hop::{NextHopId, NextHopKey},
    paths::{NIL, Path},
};

/// Paths of one piece.
const PIECE_PATHS: usize = 2048;
/// Octets of attributes in one piece, beyond which it is cut.
const PIECE_OCTETS: usize = 128 << 10;
/// Places of the slab that are believed: far more than any machine has memory for.
const MAX_SLOTS: u32 = 1 << 28;

/// A part of a table. Attributes and next hops are counted through all pieces, from zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePiece {
    /// [`AttributeSet::octets`], each distinct set once.
    pub attributes: Vec<Vec<u8>>,
    pub next_hops: Vec<NextHopRecord>,
    pub destinations: Vec<DestinationRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopRecord {
    pub address: IpAddr,
    pub link_local: Option<Ipv6Addr>,
    /// The link it was said on, where the address alone does not lead there.
    pub interface: Option<u32>,
}

/// A prefix with paths; one with very many has several records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationRecord {
    pub address: IpAddr,
    pub len: u8,
    pub paths: Vec<PathRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRecord {
    /// The path's place, and by that its name towards peers that take several.
    pub slot: u32,
    /// The peer's name for it.
    pub path_id: u32,
    /// The number of its peer; `None` for one of our own, with its source.
    pub peer: Option<u32>,
    pub source: u8,
    pub attributes: u32,
    pub next_hop: u32,
    /// [`Reason`] by its number.
    pub reason: u8,
    pub stale: bool,
    /// And kept for long.
    pub long_lived: bool,
}

/// What was handed over is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("attributes that cannot be")]
    Attributes,
    #[error("a prefix that cannot be")]
    Prefix,
    #[error("a path of nobody, or one without its attributes or next hop")]
    Path,
    #[error("two paths in one place, or one beyond all places")]
    Slot,
}

impl Rib {
    /// Gives the table in pieces. It must be settled: else what was decided is not what was told.
    pub fn hand_over(&self, give: &mut impl FnMut(TablePiece)) {
        debug_assert!(self.is_settled(), "flush first");
        let mut writer = Writer::new(self);
        for destination in self.destinations.ids() {
            writer.destination(destination, give);
        }
        writer.cut(give);
    }

    /// Begins to take a table into an empty one, whose peers have been added: `peers` says which is
    /// which.
    pub fn take_over(&mut self, peers: BTreeMap<u32, PeerId>) -> Takeover<'_> {
        debug_assert!(self.paths.len() == 0, "into an empty table");
        let mut limits = Vec::new();
        for &id in peers.values() {
            if let Some(entry) = self.peers.entry_mut(id) {
                // What was taken once is not refused for its number: limits are the caller's.
                limits.push((id, entry.peer.clone()));
                lift_limits(&mut entry.peer);
            }
        }
        Takeover {
            rib: self,
            peers,
            limits,
            attributes: Vec::new(),
            next_hops: Vec::new(),
            decided: Vec::new(),
        }
    }

    /// The first flush after this decides everything, and tells what has become of it.
    pub fn decide_all(&mut self) {
        let all: Vec<_> = self.destinations.ids().collect();
        all.into_iter().for_each(|id| self.mark_dirty(id));
    }
}

fn lift_limits(peer: &mut Peer) {
    peer.max_prefixes = u32::MAX;
    peer.max_v4 = None;
    peer.max_v6 = None;
}

struct Writer<'a> {
    rib: &'a Rib,
    /// By the allocation.
    attributes: HashMap<usize, u32>,
    next_hops: HashMap<NextHopId, u32>,
    next_slot: u32,
    piece: TablePiece,
    paths: usize,
    octets: usize,
}

impl<'a> Writer<'a> {
    fn new(rib: &'a Rib) -> Self {
        Self {
            rib,
            attributes: HashMap::new(),
            next_hops: HashMap::new(),
            next_slot: 0,
            piece: TablePiece::default(),
            paths: 0,
            octets: 0,
        }
    }

    fn destination(&mut self, destination: u32, give: &mut impl FnMut(TablePiece)) {
        let prefix = self.rib.destinations.prefix(destination);
        let (address, len) = (prefix.address(), prefix.len());
        let mut paths = self.rib.paths.list(self.rib.destination(destination).head).peekable();
        while paths.peek().is_some() {
            let mut record = DestinationRecord { address, len, paths: Vec::new() };
            for (id, path) in paths.by_ref() {
                record.paths.push(self.path(id, path));
                if self.is_full() {
                    break;
                }
            }
            self.piece.destinations.push(record);
            if self.is_full() {
                self.cut(give);
            }
        }
    }

    fn path(&mut self, id: u32, path: &Path) -> PathRecord {
        // Where paths have no names the table may as well close its ranks.
        let slot = match self.rib.additional_paths {
            Some(_) => id,
            None => self.next_slot,
        };
        self.next_slot = self.next_slot.saturating_add(1);
        self.paths += 1;
        // Import makes of it again what it has made.
        let original = self.rib.paths.original(id);
        let next_hop = original.map(|one| one.next_hop).or(path.next_hop());
        let (peer, source) = match path.origin() {
            Origin::Local(source) => (None, source as u8),
            Origin::Peer(peer) => (Some(peer.0), 0),
        };
        PathRecord {
            slot,
            path_id: self.rib.paths.path_id(id),
            peer,
            source,
            attributes: self
                .attributes_of(original.map_or(path.attributes(), |one| &one.attributes)),
            next_hop: next_hop.map_or(NIL, |id| self.next_hop_of(id)),
            reason: path.reason.number(),
            stale: path.stale,
            long_lived: path.stale && path.attributes().facts().is_llgr_stale(),
        }
    }

    fn attributes_of(&mut self, set: &AttributeSet) -> u32 {
        let next = self.attributes.len() as u32;
        let number = *self.attributes.entry(set.address()).or_insert(next);
        if number == next {
            self.octets += set.octets().len();
            self.piece.attributes.push(set.octets().to_vec());
        }
        number
    }

    fn next_hop_of(&mut self, id: NextHopId) -> u32 {
        let next = self.next_hops.len() as u32;
        let number = *self.next_hops.entry(id).or_insert(next);
        if number == next {
            let key = self.rib.next_hops.at(id).key;
            let (address, link_local) = match key.next_hop() {
                BgpNextHop::V4(address) => (address.into(), None),
                BgpNextHop::V6 { global, link_local } => (global.into(), link_local),
            };
            let interface = key.interface().map(|IfIndex(index)| index);
            self.piece.next_hops.push(NextHopRecord { address, link_local, interface });
        }
        number
    }

    fn is_full(&self) -> bool {
        self.paths >= PIECE_PATHS || self.octets >= PIECE_OCTETS
    }

    fn cut(&mut self, give: &mut impl FnMut(TablePiece)) {
        (self.paths, self.octets) = (0, 0);
        let piece = std::mem::take(&mut self.piece);
        if piece != TablePiece::default() {
            give(piece);
        }
    }
}

/// A table that is being taken over: pieces in their order, then [`Takeover::finish`].
#[derive(Debug)]
pub struct Takeover<'a> {
    rib: &'a mut Rib,
    peers: BTreeMap<u32, PeerId>,
    /// The peers as they were added, with their limits.
    limits: Vec<(PeerId, Peer)>,
    attributes: Vec<AttributeSet>,
    next_hops: Vec<NextHopKey>,
    /// Destination, path, what was decided of it.
    decided: Vec<(u32, u32, Reason)>,
}

impl Takeover<'_> {
    pub fn piece(&mut self, piece: TablePiece) -> Result<(), TableError> {
        for octets in &piece.attributes {
            let set = AttributeSet::read(octets).ok_or(TableError::Attributes)?;
            self.attributes.push(self.rib.attributes.intern(&set));
        }
        for NextHopRecord { address, link_local, interface } in piece.next_hops {
            let next_hop = match address {
                IpAddr::V4(address) => BgpNextHop::V4(address),
                IpAddr::V6(global) => BgpNextHop::V6 { global, link_local },
            };
            self.next_hops.push(NextHopKey::new(next_hop, interface.map(IfIndex)));
        }
        for record in piece.destinations {
            let prefix = Prefix::new(record.address, record.len).or(Err(TableError::Prefix))?;
            record.paths.iter().try_for_each(|path| self.path(prefix, path))?;
        }
        Ok(())
    }

    fn path(&mut self, prefix: Prefix, record: &PathRecord) -> Result<(), TableError> {
        if record.slot >= MAX_SLOTS || !self.rib.paths.reserve(record.slot) {
            return Err(TableError::Slot);
        }
        let attributes =
            self.attributes.get(record.attributes as usize).ok_or(TableError::Path)?.clone();
        let before = self.rib.paths.len();
        match record.peer {
            Some(peer) => {
                let &peer = self.peers.get(&peer).ok_or(TableError::Path)?;
                let &key = self.next_hops.get(record.next_hop as usize).ok_or(TableError::Path)?;
                let nlri = Nlri { prefix, path_id: record.path_id };
                let taken = self.rib.announce_as_came(peer, &attributes, key, &[nlri]);
                taken.or(Err(TableError::Slot))?;
                if record.long_lived && self.rib.paths.len() > before {
                    let marked = with_llgr_stale(self.rib.paths.at(record.slot).attributes());
                    let marked = self.rib.attributes.intern(&marked);
                    self.rib.paths.at_mut(record.slot).set_attributes(marked);
                }
                if record.stale && self.rib.paths.len() > before {
                    self.rib.paths.at_mut(record.slot).stale = true;
                    if let Some(entry) = self.rib.peers.entry_mut(peer) {
                        entry.counts.stale += 1;
                    }
                }
            }
            None => {
                let of = |source: &OriginSource| *source as u8 == record.source;
                let source = OriginSource::ALL.into_iter().find(of).ok_or(TableError::Path)?;
                let origin = Origin::Local(source);
                let destination = self.rib.destination_of(prefix).or(Err(TableError::Slot))?;
                let path = Path::new(attributes, origin, None, Reason::Undecided);
                self.rib.insert_path(destination, path, 0).or(Err(TableError::Slot))?;
                self.rib.originations.insert(prefix, source);
            }
        }
        // A peer has told nothing twice.
        if self.rib.paths.len() == before {
            return Err(TableError::Path);
        }
        let destination = self.rib.destinations.find(prefix).ok_or(TableError::Prefix)?;
        self.decided.push((destination, record.slot, Reason::of_number(record.reason)));
        Ok(())
    }

    /// The table is whole, and says what was decided before; nothing waits to be told.
    pub fn finish(self) {
        let Self { rib, limits, decided, .. } = self;
        // Nothing was told of them yet, so no next hop is held.
        for dirty in std::mem::take(&mut rib.dirty) {
            rib.destinations.at_mut(dirty.destination).dirty = false;
        }
        for (destination, path, reason) in decided {
            rib.paths.at_mut(path).reason = reason;
            if reason == Reason::Best {
                rib.destinations.at_mut(destination).best = path;
                rib.chosen.step(rib.destinations.family(destination), 1);
            }
        }
        for (id, peer) in limits {
            if let Some(entry) = rib.peers.entry_mut(id) {
                entry.peer = peer;
                // Nothing of this has come just now.
                entry.counters = ImportCounters::default();
            }
        }
        rib.paths.free_all();
    }
}
