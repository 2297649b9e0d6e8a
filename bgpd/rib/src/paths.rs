//! Paths without a heap block each: a slab, and through it a list for each prefix.

use std::collections::HashMap;

use bgp_wire::AttributeSet;
use viaduct_net::OriginSource;

use crate::{PeerId, Reason, next_hop::NextHopId, rib::Origin};

/// No entry.
pub(crate) const NIL: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Path {
    attributes: AttributeSet,
    /// The next path of the same prefix.
    next: u32,
    /// A peer, or from [`LOCAL`] on a source of our own.
    origin: u32,
    /// [`NIL`] for a path of our own.
    next_hop: u32,
    /// What import has said: a rejection, or [`Reason::Undecided`] for a path that may compete.
    pub(crate) import: Reason,
    /// What the last decision has said.
    pub(crate) reason: Reason,
    pub(crate) stale: bool,
    /// It has a path identifier that is not zero.
    numbered: bool,
}

/// A full table has a million of these for each peer.
const _: () = assert!(size_of::<Option<Path>>() == 24);

/// Above all peers: their number is bounded by [`crate::MAX_PEER_ID`].
const LOCAL: u32 = u32::MAX - 255;
const _: () = assert!(crate::peer::MAX_PEER_ID < LOCAL);

fn code_of(origin: Origin) -> u32 {
    match origin {
        Origin::Peer(PeerId(peer)) => peer,
        Origin::Local(source) => LOCAL + source as u32,
    }
}

impl Path {
    pub(crate) fn new(
        attributes: AttributeSet,
        origin: Origin,
        next_hop: Option<NextHopId>,
        import: Reason,
    ) -> Self {
        Self {
            attributes,
            next: NIL,
            origin: code_of(origin),
            next_hop: next_hop.map_or(NIL, |id| id.0),
            import,
            reason: Reason::Undecided,
            stale: false,
            numbered: false,
        }
    }

    pub(crate) fn attributes(&self) -> &AttributeSet {
        &self.attributes
    }

    pub(crate) fn set_attributes(&mut self, attributes: AttributeSet) {
        self.attributes = attributes;
    }

    pub(crate) fn origin(&self) -> Origin {
        if self.origin < LOCAL {
            return Origin::Peer(PeerId(self.origin));
        }
        let of = |source: &OriginSource| LOCAL + *source as u32 == self.origin;
        let source = OriginSource::ALL.into_iter().find(of);
        Origin::Local(source.expect("only sources are put there"))
    }

    pub(crate) fn peer(&self) -> Option<PeerId> {
        (self.origin < LOCAL).then_some(PeerId(self.origin))
    }

    pub(crate) fn is_of(&self, peer: PeerId) -> bool {
        self.origin == peer.0
    }

    pub(crate) fn is_from(&self, origin: Origin) -> bool {
        self.origin == code_of(origin)
    }

    pub(crate) fn next_hop(&self) -> Option<NextHopId> {
        (self.next_hop != NIL).then_some(NextHopId(self.next_hop))
    }

    pub(crate) fn set_next_hop(&mut self, next_hop: NextHopId) {
        self.next_hop = next_hop.0;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Paths {
    slots: Vec<Option<Path>>,
    free: Vec<u32>,
    /// The path identifiers of peers that send several paths for a prefix (RFC 7911): few do, so the
    /// paths themselves have no place for it.
    path_ids: HashMap<u32, u32>,
    /// What came in of the paths that import has changed.
    originals: HashMap<u32, Original>,
}

/// A path as the peer told it.
#[derive(Clone, Debug)]
pub(crate) struct Original {
    pub(crate) attributes: AttributeSet,
    /// Holds a reference.
    pub(crate) next_hop: NextHopId,
}

impl Paths {
    /// Puts a path in front of a list; `None` when every number is taken.
    pub(crate) fn insert(&mut self, head: &mut u32, mut path: Path, path_id: u32) -> Option<u32> {
        path.next = *head;
        path.numbered = path_id != 0;
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = Some(path);
                id
            }
            None => {
                let id = u32::try_from(self.slots.len()).ok().filter(|id| *id != NIL)?;
                self.slots.push(Some(path));
                id
            }
        };
        *head = id;
        if path_id != 0 {
            self.path_ids.insert(id, path_id);
        }
        Some(id)
    }

    /// The next path that is inserted stands at `id`, which nobody may have; places before it stay
    /// empty until [`Self::free_all`]. False where it is taken.
    pub(crate) fn reserve(&mut self, id: u32) -> bool {
        let at = id as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        let free = self.slots[at].is_none();
        if free {
            self.free.push(id);
        }
        free
    }

    /// Every place that is empty may be used.
    pub(crate) fn free_all(&mut self) {
        let empty = |(at, slot): (usize, &Option<Path>)| slot.is_none().then_some(at as u32);
        // The lowest is taken first.
        self.free = self.slots.iter().enumerate().rev().filter_map(empty).collect();
    }

    /// By which the peer knows the path among its others for the prefix.
    pub(crate) fn path_id(&self, id: u32) -> u32 {
        if self.at(id).numbered { self.path_ids.get(&id).copied().unwrap_or_default() } else { 0 }
    }

    /// As the peer told a path; `None` where it is as it was told.
    pub(crate) fn original(&self, id: u32) -> Option<&Original> {
        if self.originals.is_empty() { None } else { self.originals.get(&id) }
    }

    /// Gives what was noted before, with its reference to a next hop. To be called with `None` for a path
    /// that is removed.
    pub(crate) fn set_original(&mut self, id: u32, original: Option<Original>) -> Option<Original> {
        match original {
            Some(original) => self.originals.insert(id, original),
            None if self.originals.is_empty() => None,
            None => self.originals.remove(&id),
        }
    }

    /// Takes a path out of the list it stands in.
    pub(crate) fn remove(&mut self, head: &mut u32, id: u32) -> Option<Path> {
        let next = self.at(id).next;
        if *head == id {
            *head = next;
        } else {
            let mut before = *head;
            while self.at(before).next != id {
                before = self.at(before).next;
            }
            self.at_mut(before).next = next;
        }
        self.free.push(id);
        let path = self.slots[id as usize].take()?;
        if path.numbered {
            self.path_ids.remove(&id);
        }
        Some(path)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// A path known to be there: ids come from our own lists only.
    pub(crate) fn at(&self, id: u32) -> &Path {
        self.slots[id as usize].as_ref().expect("lists hold live paths only")
    }

    pub(crate) fn at_mut(&mut self, id: u32) -> &mut Path {
        self.slots[id as usize].as_mut().expect("lists hold live paths only")
    }

    /// The paths of a list with their ids.
    pub(crate) fn list(&self, head: u32) -> impl Iterator<Item = (u32, &Path)> {
        let entry = move |id: u32| (id != NIL).then(|| (id, self.at(id)));
        std::iter::successors(entry(head), move |(_, path)| entry(path.next))
    }

    pub(crate) fn next(&self, id: u32) -> u32 {
        self.at(id).next
    }
}
