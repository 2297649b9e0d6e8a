//! Paths without a heap block each: a slab, and intrusive lists through it.

use std::sync::Arc;

use bgp_wire::PathAttributes;

use crate::{Reason, next_hop::NextHopId, rib::Origin};

/// No entry.
pub(crate) const NIL: u32 = u32::MAX;

/// The lists every path stands in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum List {
    Destination = 0,
    /// Not for paths of our own.
    Peer = 1,
    /// Not for paths of our own.
    NextHop = 2,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    prev: u32,
    next: u32,
}

const UNLINKED: Link = Link { prev: NIL, next: NIL };

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) attributes: Arc<PathAttributes>,
    links: [Link; 3],
    pub(crate) destination: u32,
    pub(crate) origin: Origin,
    pub(crate) next_hop: Option<NextHopId>,
    /// What import has said: a rejection, or [`Reason::Undecided`] for a path that may compete.
    pub(crate) import: Reason,
    /// What the last decision has said.
    pub(crate) reason: Reason,
    pub(crate) stale: bool,
}

/// A full table has a million of these for each peer.
const _: () = assert!(size_of::<Option<Path>>() <= 56);

impl Path {
    pub(crate) const fn new(
        attributes: Arc<PathAttributes>,
        destination: u32,
        origin: Origin,
        next_hop: Option<NextHopId>,
        import: Reason,
    ) -> Self {
        Self {
            attributes,
            links: [UNLINKED; 3],
            destination,
            origin,
            next_hop,
            import,
            reason: Reason::Undecided,
            stale: false,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Paths {
    slots: Vec<Option<Path>>,
    free: Vec<u32>,
}

impl Paths {
    /// `None` when every number is taken.
    pub(crate) fn insert(&mut self, path: Path) -> Option<u32> {
        if let Some(id) = self.free.pop() {
            self.slots[id as usize] = Some(path);
            return Some(id);
        }
        let id = u32::try_from(self.slots.len()).ok().filter(|id| *id != NIL)?;
        self.slots.push(Some(path));
        Some(id)
    }

    /// The path must have been taken out of its lists.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Path> {
        let path = self.slots.get_mut(id as usize)?.take()?;
        self.free.push(id);
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

    pub(crate) fn link(&mut self, list: List, head: &mut u32, id: u32) {
        let next = std::mem::replace(head, id);
        self.at_mut(id).links[list as usize] = Link { prev: NIL, next };
        if next != NIL {
            self.at_mut(next).links[list as usize].prev = id;
        }
    }

    pub(crate) fn unlink(&mut self, list: List, head: &mut u32, id: u32) {
        let Link { prev, next } =
            std::mem::replace(&mut self.at_mut(id).links[list as usize], UNLINKED);
        if prev == NIL {
            *head = next;
        } else {
            self.at_mut(prev).links[list as usize].next = next;
        }
        if next != NIL {
            self.at_mut(next).links[list as usize].prev = prev;
        }
    }

    /// The paths of a list with their ids.
    pub(crate) fn list(&self, list: List, head: u32) -> impl Iterator<Item = (u32, &Path)> {
        let entry = move |id: u32| (id != NIL).then(|| (id, self.at(id)));
        std::iter::successors(entry(head), move |(_, path)| entry(path.links[list as usize].next))
    }

    pub(crate) fn next(&self, list: List, id: u32) -> u32 {
        self.at(id).links[list as usize].next
    }
}
