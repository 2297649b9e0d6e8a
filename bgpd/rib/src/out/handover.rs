//! What peers have yet to be told, on its way to the next process.

use super::{
    AdjRibsOut, Profile,
    batch::Batch,
    group::Group,
    log::Audience,
    member::{Member, nlris_of},
};
use crate::{PeerId, Rib};
use bgp_wire::{Families, Nlri};
use bytes::Bytes;

/// What a peer is owed beyond what was handed out, in the order in which it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// Whole messages, and how many.
    pub messages: Vec<(Bytes, u32)>,
    /// Paths of which it is to be told the state of the moment.
    pub missed: Vec<Nlri>,
    /// Families to be told whole; of some the end is to be told (RFC 7313 §4).
    pub dump: Families,
    pub dump_demarcated: Families,
    pub end_of_rib: Families,
    /// Families to be told once more after that, and those of them with their beginning and end.
    pub refresh: Families,
    pub demarcated: Families,
}

impl AdjRibsOut {
    /// What a member is owed; `None` for whoever is none.
    pub fn owed(&self, peer: PeerId) -> Option<Owed> {
        let (at, member) = self.members.get(&peer)?;
        let group = self.groups[*at].as_ref()?;
        let mut owed = member.owed();
        if !member.is_lagging() {
            let unread = member.cursor..group.log.end();
            let entries = unread.filter_map(|number| group.log.at(number));
            for entry in entries.filter(|entry| entry.audience.includes(peer)) {
                owed.missed.extend(nlris_of(&entry.bytes, &group.profile.parameters));
            }
            owed.missed.sort_unstable();
            owed.missed.dedup();
        }
        Some(owed)
    }

    /// A session that has been taken over: its peer knows all that the settled table says was told, but
    /// for what it is owed. `same`: it was told by this profile. If not it is told everything anew, and
    /// whatever it may have been told and is not to know is withdrawn.
    pub fn rejoin(&mut self, rib: &Rib, peer: PeerId, profile: Profile, owed: Owed, same: bool) {
        self.leave(peer);
        let mut member = Member::owing(owed);
        if !same {
            let families = profile.parameters.families;
            let group = Group::new(profile.clone());
            let mut gone = Batch::default();
            for (prefix, path) in group.within(rib.told_paths(usize::MAX)) {
                let nlri = profile.nlri(prefix, &path);
                if families.contains(prefix.family()) && !group.knows(rib, nlri) {
                    gone.withdraw(nlri, Audience::All);
                }
            }
            member.owe(&mut gone, &profile);
            member.dump(families);
        }
        self.enter(rib, peer, profile, member);
    }
}
