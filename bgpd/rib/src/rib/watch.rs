//! What changes in the table, for somebody who watches: names alone, whose state of the moment is looked
//! up when they are told. So a name that changes often costs no more than one that changes once.

use bgp_wire::Nlri;
use viaduct_net::Prefix;

use super::{Origin, Rib};
use crate::PeerId;

/// Names of what has changed, in the order it did, some of them repeatedly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Paths of peers that have come, gone or changed, or that import judges otherwise.
    pub paths: Vec<(PeerId, Nlri)>,
    /// Prefixes with another best path, or none any more.
    pub best: Vec<Prefix>,
}

impl Changes {
    pub const fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.best.is_empty()
    }
}

impl Rib {
    /// Whether changes are noted. What they are must then be taken, or they grow in number.
    pub fn watch(&mut self, on: bool) {
        if on != self.watched.is_some() {
            self.watched = on.then(Changes::default);
        }
    }

    /// What has changed since they were taken last. Of the best paths nothing while any is undecided:
    /// whoever asked then what they are would hear of what is on its way.
    pub fn take_changes(&mut self) -> Changes {
        let is_settled = self.is_settled();
        let Some(changes) = &mut self.watched else { return Changes::default() };
        let best = if is_settled { std::mem::take(&mut changes.best) } else { Default::default() };
        Changes { paths: std::mem::take(&mut changes.paths), best }
    }

    pub(super) fn note_path(&mut self, peer: PeerId, nlri: Nlri) {
        if let Some(changes) = &mut self.watched {
            changes.paths.push((peer, nlri));
        }
    }

    /// The same of a path that is still there.
    pub(super) fn note_path_of(&mut self, destination: u32, id: u32) {
        if self.watched.is_some()
            && let Origin::Peer(peer) = self.paths.at(id).origin()
        {
            let prefix = self.destinations.prefix(destination);
            self.note_path(peer, Nlri { prefix, path_id: self.paths.path_id(id) });
        }
    }

    pub(super) fn note_best_change(&mut self, prefix: Prefix) {
        if let Some(changes) = &mut self.watched {
            changes.best.push(prefix);
        }
    }
}
