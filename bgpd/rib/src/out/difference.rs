//! What a peer is told when its policy changes under a running session: what differs, and nothing else.

use bgp_wire::Nlri;

use super::{
    Profile,
    batch::{Batch, Telling},
    group::Group,
    log::Audience,
};
use crate::{BestPath, PeerId, Rib};

/// Announcements at most: where more differs, everything is told anew, in pieces as the peer reads.
const MAX_ANNOUNCED: usize = 1 << 16;

/// The step of one peer from a group to another.
pub(super) struct Step<'a> {
    pub(super) rib: &'a Rib,
    pub(super) peer: PeerId,
    pub(super) old: &'a Group,
    pub(super) new: &'a Group,
}

impl Step<'_> {
    /// Whether the peer knows paths by the same names before and after, and in the same words but for
    /// what the policy says.
    fn changes_policy_alone(&self) -> bool {
        let before =
            Profile { policy: self.new.profile.policy.clone(), ..self.old.profile.clone() };
        before == self.new.profile
    }

    /// The difference: what goes, what comes and what is told otherwise. `None` where that is not known
    /// or is too much.
    pub(super) fn difference(&self) -> Option<Batch> {
        if !self.changes_policy_alone() {
            return None;
        }
        let mut batch = Batch::default();
        let mut announced = 0;
        let kind = self.new.profile.parameters.peer_kind;
        for (nlri, path) in self.candidates() {
            let telling = |group: &Group| group.telling(nlri.prefix, &path);
            let same = |old: &Telling, new: &Telling| new.says_the_same_as(old, kind);
            match (telling(self.old), telling(self.new)) {
                (Some(_), None) => batch.withdraw(nlri, Audience::All),
                (old, Some(new)) if !old.as_ref().is_some_and(|old| same(old, &new)) => {
                    batch.announce(nlri, new);
                    announced += 1;
                    if announced > MAX_ANNOUNCED {
                        return None;
                    }
                }
                _ => {}
            }
        }
        Some(batch)
    }

    /// What the peer is not to know any more.
    pub(super) fn gone(&self) -> Batch {
        let mut batch = Batch::default();
        let told = self.old.told_paths(self.rib);
        for (nlri, _) in told.filter(|(_, path)| path.source.peer() != Some(self.peer)) {
            if !self.new.knows(self.rib, nlri) {
                batch.withdraw(nlri, Audience::All);
            }
        }
        batch
    }

    /// Paths that either group may be told of, by the name that both have for them.
    fn candidates(&self) -> impl Iterator<Item = (Nlri, BestPath)> {
        let told = self.old.within(self.rib.told_paths(self.old.additional()));
        let others = told.filter(|(_, path)| path.source.peer() != Some(self.peer));
        others.map(|(prefix, path)| (self.new.profile.nlri(prefix, &path), path))
    }
}
