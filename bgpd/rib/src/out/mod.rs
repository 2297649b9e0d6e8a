//! What peers are told (Adj-RIB-Out, RFC 4271 §3.2), without a table of it.
//!
//! Peers that are told the same stand in one *group*. A change of a best path is judged, rewritten and
//! encoded once for each group and put into its *log*; each member reads the log at its own pace,
//! and what all have read is forgotten. A peer is never told what it has told itself: an entry of the
//! log says who is left out, or who alone is meant.
//!
//! A member that joins late, or has asked for a refresh, is given a *dump*: a walk over the table,
//! taken on only while the log has nothing for it, so that nothing old comes after something new. A
//! member that falls behind so far that the log would grow too long *lags*: it leaves the log and
//! keeps a set of prefixes instead, whose state of the moment it is told when it reads again. So what
//! a slow peer costs is bounded, and nobody else waits for it.
//!
//! Members join and change between flushes, when what the table says is what the groups were told.

mod batch;
mod counts;
mod difference;
mod group;
mod handover;
mod log;
mod member;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bgp_wire::{Nlri, SessionParameters};
use bytes::Bytes;
use viaduct_net::{Family, Prefix, RouteUpdate};

use crate::{BestPath, LocalSpeaker, PeerId, Policy, Rib};
use batch::Batch;
pub use counts::AdjRibOutCounts;
use difference::Step;
use group::Group;
pub use handover::Owed;
use member::Member;

/// Octets of a group's log beyond which the slowest members leave it.
pub const MAX_LOG_BYTES: usize = 8 << 20;
/// Prefixes that a lagging member may have waiting; one more and it is beyond help.
pub const MAX_LAGGING: usize = 2_000_000;
/// An entry of a log is cut when it has so many octets, at the next message.
pub const ENTRY_BYTES: usize = 32 << 10;

/// All that decides what a peer is told and in which octets. Peers with equal profiles share a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub local: LocalSpeaker,
    pub parameters: SessionParameters,
    pub reflector_client: bool,
    /// [`crate::ExportPeer::next_hop_self`]
    pub next_hop_self: bool,
    pub policy: Policy,
    /// [`crate::ExportPeer::long_lived`]
    pub long_lived: bool,
    /// Paths told beside the best one of each prefix, in the families of
    /// [`SessionParameters::add_path_send`].
    pub additional_paths: usize,
}

impl Profile {
    /// Paths told beside the best one.
    fn additional(&self, family: Family) -> usize {
        if self.tells_several(family) { self.additional_paths } else { 0 }
    }

    /// Whether paths are told with identifiers.
    fn tells_several(&self, family: Family) -> bool {
        self.parameters.add_path_send.contains(family)
    }

    /// How the group knows a path.
    fn nlri(&self, prefix: Prefix, path: &BestPath) -> Nlri {
        let path_id = if self.tells_several(prefix.family()) { path.path_id } else { 0 };
        Nlri { prefix, path_id }
    }
}

/// What a member is to be sent next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Whole messages, in order.
    pub bytes: Vec<Bytes>,
    /// How many messages that is.
    pub messages: u64,
}

/// The peer does not read, and more waits for it than anybody can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_LAGGING} prefixes wait to be told")]
pub struct Hopeless;

/// Every group with its members.
#[derive(Debug)]
pub struct AdjRibsOut {
    max_log_bytes: usize,
    /// Places are used again; a group without members is none.
    groups: Vec<Option<Group>>,
    members: BTreeMap<PeerId, (usize, Member)>,
}

impl Default for AdjRibsOut {
    fn default() -> Self {
        Self::with_log_limit(MAX_LOG_BYTES)
    }
}

impl AdjRibsOut {
    /// With another limit than [`MAX_LOG_BYTES`].
    pub const fn with_log_limit(max_log_bytes: usize) -> Self {
        Self { max_log_bytes, groups: Vec::new(), members: BTreeMap::new() }
    }

    /// A new session, on which nothing was told: all there is will be, and then End-of-RIB.
    pub fn join(&mut self, rib: &Rib, peer: PeerId, profile: Profile) {
        self.leave(peer);
        let families = profile.parameters.families;
        let member = Member::new(families, rib.has_best().then_some(families));
        self.enter(rib, peer, profile, member);
    }

    /// The session is over.
    pub fn leave(&mut self, peer: PeerId) {
        drop(self.take(peer));
    }

    fn take(&mut self, peer: PeerId) -> Option<Member> {
        let (at, member) = self.members.remove(&peer)?;
        let group = self.groups[at].as_mut()?;
        group.members -= 1;
        if !group.lagging.remove(&peer) {
            group.log.leave(member.cursor);
        }
        if group.members == 0 {
            self.groups[at] = None;
        }
        Some(member)
    }

    /// The session goes on under another profile: what the peer is not to know any more is withdrawn,
    /// and everything is told anew, or what differs where only the policy is another.
    pub fn change(&mut self, rib: &Rib, peer: PeerId, profile: Profile) {
        let Some((at, member)) = self.members.get_mut(&peer) else { return };
        let Some(group) = &mut self.groups[*at] else { return };
        if group.profile == profile {
            return;
        }
        // What the group has said already is said.
        if member.gather_no_more(&mut group.log) {
            group.lagging.remove(&peer);
        }
        if !member.is_lagging() {
            member.take_log(peer, &mut group.log, usize::MAX);
        }
        let new = Group::new(profile.clone());
        let step = Step { rib, peer, old: group, new: &new };
        let difference = if member.knows_all() { step.difference() } else { None };
        let is_told = difference.is_some();
        member.owe(&mut difference.unwrap_or_else(|| step.gone()), &group.profile);
        if let Some(mut member) = self.take(peer) {
            if !is_told {
                member.dump(profile.parameters.families);
            }
            self.enter(rib, peer, profile, member);
        }
    }

    /// RFC 2918 §4: all of the family once more. `demarcated`: between a beginning and an end that are
    /// told (RFC 7313 §4).
    pub fn refresh(&mut self, peer: PeerId, family: Family, demarcated: bool) {
        let Some((at, member)) = self.members.get_mut(&peer) else { return };
        let Some(group) = &self.groups[*at] else { return };
        if group.profile.parameters.families.contains(family) {
            member.refresh(family, demarcated);
        }
    }

    /// Decides what has changed in the table; the peers' share goes into the logs, the FIB's is
    /// returned.
    pub fn flush(&mut self, rib: &mut Rib) -> Vec<RouteUpdate> {
        let Self { groups, members, max_log_bytes } = self;
        let fib = rib.flush(&mut |change| {
            for (at, group) in groups.iter_mut().enumerate() {
                let Some(group) = group else { continue };
                let is_member = |peer| members.get(&peer).is_some_and(|(of, _)| *of == at);
                group.note(&change, is_member);
                for peer in &group.lagging {
                    if let Some((_, member)) = members.get_mut(peer) {
                        group.nlris_of(&change).for_each(|nlri| member.lag_behind(nlri));
                    }
                }
                shed(at, group, members, *max_log_bytes);
            }
        });
        for (at, group) in groups.iter_mut().enumerate() {
            let Some(group) = group else { continue };
            group.write_batch();
            shed(at, group, members, *max_log_bytes);
        }
        fib
    }

    /// For [`Rib::set_additional_paths`], after members have come, gone or changed.
    pub fn additional_paths(&self) -> Option<usize> {
        let groups = self.groups.iter().flatten();
        let several = groups.filter(|group| !group.profile.parameters.add_path_send.is_empty());
        several.map(Group::additional).max()
    }

    /// Whether [`Self::next`] would give anything.
    pub fn is_pending(&self, peer: PeerId) -> bool {
        let Some((at, member)) = self.members.get(&peer) else { return false };
        let end = self.groups[*at].as_ref().map_or(0, |group| group.log.end());
        member.is_pending(end)
    }

    /// Whether [`Self::next`] reads the table, which is to be settled then.
    pub fn reads_table(&self, peer: PeerId) -> bool {
        self.members.get(&peer).is_some_and(|(_, member)| member.reads_table())
    }

    /// Octets of all logs, where more than half of all members have most of theirs unread; else zero: the
    /// few that are slow concern nobody.
    pub fn unread(&self) -> usize {
        let bytes = self.groups.iter().flatten().map(|group| group.log.bytes()).sum();
        if bytes < ENTRY_BYTES {
            return 0;
        }
        let is_behind = |(at, member): &&(usize, Member)| {
            let log = self.groups[*at].as_ref().map(|group| &group.log);
            !member.is_lagging() && log.is_some_and(|log| log.is_early(member.cursor))
        };
        let behind = self.members.values().filter(is_behind).count();
        if 2 * behind > self.members.len() { bytes } else { 0 }
    }

    /// The members.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.members.keys().copied()
    }

    /// What a member is told next: about `room` octets, fewer where less waits, [`ENTRY_BYTES`] and a
    /// message more at worst.
    pub fn next(&mut self, rib: &Rib, peer: PeerId, room: usize) -> Result<Outgoing, Hopeless> {
        let Some((at, member)) = self.members.get_mut(&peer) else {
            return Ok(Outgoing::default());
        };
        let Some(group) = &mut self.groups[*at] else { return Ok(Outgoing::default()) };
        member.fill(rib, peer, group, room)?;
        if !member.is_lagging() {
            group.lagging.remove(&peer);
        }
        Ok(member.take_own(room))
    }

    /// A member that has been told everything will not ask for a while: what changes meanwhile is kept as
    /// a set of paths, and it is told what they are by then. It keeps nobody's log from being
    /// forgotten.
    pub fn gather(&mut self, peer: PeerId) {
        if self.is_pending(peer) {
            return;
        }
        let Some((at, member)) = self.members.get_mut(&peer) else { return };
        let Some(group) = &mut self.groups[*at] else { return };
        member.gather(&mut group.log);
        group.lagging.insert(peer);
    }

    /// What a member would be told of the next `count` places of a settled table, in whole messages,
    /// and where to go on: for whoever looks over its shoulder. Places are those of
    /// [`Rib::told_paths_from`].
    pub fn told_from(
        &self,
        rib: &Rib,
        peer: PeerId,
        from: u32,
        count: usize,
    ) -> (Vec<Bytes>, Option<u32>) {
        let group = self.members.get(&peer).and_then(|(at, _)| self.groups[*at].as_ref());
        let Some(group) = group else { return (Vec::new(), None) };
        let mut batch = Batch::default();
        let (paths, next) = rib.told_paths_from(from, count, group.additional());
        for (prefix, path) in group.within(paths) {
            if path.source.peer() != Some(peer)
                && let Some(telling) = group.telling(prefix, &path)
            {
                batch.announce(group.profile.nlri(prefix, &path), telling);
            }
        }
        let mut messages = Vec::new();
        batch.write(&group.profile, &mut |entry| messages.push(entry.bytes));
        (messages, next)
    }

    /// How many prefixes the peer knows from us, as far as it has read.
    pub fn told(&self, peer: PeerId) -> usize {
        let Some((at, member)) = self.members.get(&peer) else { return 0 };
        let group = self.groups[*at].as_ref();
        member.told_so_far(group.map_or(0, |group| group.counts_of(peer).post_policy.total()))
    }

    /// What the peer is to be told in the end, and what of the table its policy keeps from it.
    pub fn counts(&self, peer: PeerId) -> AdjRibOutCounts {
        let group = self.members.get(&peer).and_then(|(at, _)| self.groups[*at].as_ref());
        group.map(|group| group.counts_of(peer)).unwrap_or_default()
    }

    /// How many groups there are: fewer than members where members share.
    pub fn groups(&self) -> usize {
        self.groups.iter().flatten().count()
    }

    fn enter(&mut self, rib: &Rib, peer: PeerId, profile: Profile, mut member: Member) {
        debug_assert!(rib.is_settled() || !rib.has_best(), "flush first");
        let has_profile =
            |group: &Option<Group>| group.as_ref().is_some_and(|group| group.profile == profile);
        let known = self.groups.iter().position(has_profile);
        let at = known.unwrap_or_else(|| {
            let mut group = Group::new(profile);
            group.count_all(rib);
            let free = self.groups.iter().position(Option::is_none);
            let at = free.unwrap_or_else(|| {
                self.groups.push(None);
                self.groups.len() - 1
            });
            self.groups[at] = Some(group);
            at
        });
        let Some(group) = &mut self.groups[at] else { return };
        group.members += 1;
        if member.is_lagging() {
            group.lagging.insert(peer);
        } else {
            member.cursor = group.log.join();
        }
        self.members.insert(peer, (at, member));
    }
}

/// Has the slowest members of a group leave its log until that is short enough.
fn shed(
    at: usize,
    group: &mut Group,
    members: &mut BTreeMap<PeerId, (usize, Member)>,
    max_log_bytes: usize,
) {
    while group.log.bytes() > max_log_bytes {
        let slowest = group.log.first();
        let behind = members.iter_mut().filter(|(peer, (of, member))| {
            *of == at && !group.lagging.contains(peer) && member.cursor == slowest
        });
        let behind: Vec<_> = behind.collect();
        for (&peer, (_, member)) in behind {
            member.start_lagging(peer, &mut group.log, &group.profile.parameters);
            if member.is_lagging() {
                group.lagging.insert(peer);
            }
        }
    }
}
