//! Peers that are told the same.

use std::collections::{BTreeSet, HashMap};

use bgp_policy::Route;
use bgp_wire::Nlri;
use tracing::warn;
use viaduct_net::{Family, Prefix};

use super::{
    Profile,
    batch::{Batch, Telling},
    counts::{AdjRibOutCounts, Reached},
    log::{Audience, Log},
};
use crate::{BestChange, BestPath, ExportPeer, ExportReject, PeerId, Rib, export, judges::Judges};

/// Changes encoded together at most: those with equal attributes share messages.
const MAX_BATCH: usize = 8192;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) profile: Profile,
    pub(super) log: Log,
    pub(super) members: usize,
    /// Those of them that lag.
    pub(super) lagging: BTreeSet<PeerId>,
    /// Paths of all sources, those included that their own source is not told of.
    counts: AdjRibOutCounts,
    /// Those of them that each peer has told us.
    counts_by: HashMap<PeerId, AdjRibOutCounts>,
    batch: Batch,
    judges: Judges,
}

impl Group {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            log: Log::default(),
            members: 0,
            lagging: BTreeSet::new(),
            counts: AdjRibOutCounts::default(),
            counts_by: HashMap::new(),
            batch: Batch::default(),
            judges: Judges::default(),
        }
    }

    /// How the group is told of a best path, if it is.
    pub(super) fn telling(&self, prefix: Prefix, path: &BestPath) -> Option<Telling> {
        self.verdict(prefix, path).told()
    }

    fn verdict(&self, prefix: Prefix, path: &BestPath) -> Verdict {
        let profile = &self.profile;
        if !profile.parameters.families.contains(prefix.family()) {
            return Verdict::NotForPeer;
        }
        let target = ExportPeer {
            id: None,
            kind: profile.parameters.peer_kind,
            reflector_client: profile.reflector_client,
            next_hop_self: profile.next_hop_self,
            policy: &profile.policy,
            long_lived: profile.long_lived,
        };
        let apply = |route: &Route| self.judges.apply(&profile.policy, &path.attributes, route);
        let applied = match export::pass(&profile.local, &target, prefix, path, apply) {
            Ok(applied) => applied,
            Err(ExportReject::Policy) => return Verdict::RefusedByPolicy,
            Err(_) => return Verdict::NotForPeer,
        };
        let change = applied.next_hop;
        let next_hop = export::next_hop(&profile.local, &target, prefix.family(), path, change);
        let Some(next_hop) = next_hop else { return Verdict::NotForPeer };
        let is_interned = applied.attributes.ptr_eq(&path.attributes);
        let telling = Telling { applied, is_interned, source: path.source, next_hop };
        if !telling.fits(profile, profile.nlri(prefix, path)) {
            warn!(%prefix, octets = telling.attributes().octets().len(), "too long to be told");
            return Verdict::NotForPeer;
        }
        Verdict::Told(telling)
    }

    /// The paths of a settled table that the group is told of; their sources are not, whatever this says.
    pub(super) fn told_paths(&self, rib: &Rib) -> impl Iterator<Item = (Nlri, BestPath)> {
        let told = rib.told_paths(self.additional());
        let told = self.within(told);
        let told = told.filter(|(prefix, path)| self.telling(*prefix, path).is_some());
        told.map(|(prefix, path)| (self.profile.nlri(prefix, &path), path))
    }

    /// Paths beside the best one that the group may be told of, in any family.
    pub(super) fn additional(&self) -> usize {
        let of = |family| self.profile.additional(family);
        Family::ALL.into_iter().map(of).max().unwrap_or_default()
    }

    /// Of paths that are told to somebody those that may concern the group, however it judges them.
    pub(super) fn within(
        &self,
        told: impl Iterator<Item = (Prefix, BestPath)>,
    ) -> impl Iterator<Item = (Prefix, BestPath)> {
        // The best path comes first; where a family is told without identifiers it stands alone.
        let mut last = None;
        told.filter(move |(prefix, _)| {
            let is_best = last.replace(*prefix) != Some(*prefix);
            is_best || self.profile.tells_several(prefix.family())
        })
    }

    /// Whether the group is told of a path that a group may have been told of.
    pub(super) fn knows(&self, rib: &Rib, nlri: Nlri) -> bool {
        self.find(rib, nlri).is_some_and(|path| self.telling(nlri.prefix, &path).is_some())
    }

    /// The path by the name that the group knows it by; of a settled table.
    pub(super) fn find(&self, rib: &Rib, nlri: Nlri) -> Option<BestPath> {
        let family = nlri.prefix.family();
        let best = rib.best(nlri.prefix)?;
        if !self.profile.tells_several(family) || best.path_id == nlri.path_id {
            return Some(best);
        }
        let others = rib.additional_paths(nlri.prefix, self.profile.additional(family));
        others.into_iter().find(|path| path.path_id == nlri.path_id)
    }

    /// Counts everything that a group is told that has just come to be.
    pub(super) fn count_all(&mut self, rib: &Rib) {
        let all = self.within(rib.told_paths(self.additional()));
        let judged = all.filter_map(|(prefix, path)| {
            let reached = self.verdict(prefix, &path).reached()?;
            Some((prefix.family(), path.source.peer(), reached))
        });
        let judged: Vec<_> = judged.collect();
        for (family, source, reached) in judged {
            self.count(family, source, reached, 1);
        }
    }

    fn count(&mut self, family: Family, source: Option<PeerId>, reached: Reached, step: isize) {
        self.counts.step(family, reached, step);
        if let Some(peer) = source {
            let by = self.counts_by.entry(peer).or_default();
            by.step(family, reached, step);
            if *by == AdjRibOutCounts::default() {
                self.counts_by.remove(&peer);
            }
        }
    }

    /// What a member knows that has read everything.
    pub(super) fn counts_of(&self, peer: PeerId) -> AdjRibOutCounts {
        let own = self.counts_by.get(&peer).copied().unwrap_or_default();
        self.counts.without(own)
    }

    /// The names by which the group may know what has changed.
    pub(super) fn nlris_of(&self, change: &BestChange) -> impl Iterator<Item = Nlri> {
        let BestChange { prefix, old, new, old_additional, new_additional } = change;
        let several = self.profile.tells_several(prefix.family());
        let one = (!several).then(|| Nlri::from(*prefix));
        let others = [old_additional, new_additional].into_iter().flatten();
        let all = old.iter().chain(new).chain(others).filter(move |_| several);
        one.into_iter().chain(all.map(|path| self.profile.nlri(*prefix, path)))
    }

    /// Something has changed of what is told.
    pub(super) fn note(&mut self, change: &BestChange, is_member: impl Fn(PeerId) -> bool) {
        let prefix = change.prefix;
        if !self.profile.tells_several(prefix.family()) {
            let (old, new) = (change.old.as_ref(), change.new.as_ref());
            self.note_path(prefix.into(), old, new, &is_member);
        } else {
            let count = self.profile.additional(prefix.family());
            let all = |best: &'_ Option<BestPath>, others: &[BestPath]| -> Vec<BestPath> {
                best.iter().chain(others.iter().take(count)).cloned().collect()
            };
            let old = all(&change.old, &change.old_additional);
            let new = all(&change.new, &change.new_additional);
            let find = |paths: &[BestPath], id| paths.iter().position(|path| path.path_id == id);
            for path in &new {
                let before = find(&old, path.path_id).map(|at| &old[at]);
                let nlri = Nlri { prefix, path_id: path.path_id };
                self.note_path(nlri, before, Some(path), &is_member);
            }
            for path in old.iter().filter(|path| find(&new, path.path_id).is_none()) {
                let nlri = Nlri { prefix, path_id: path.path_id };
                self.note_path(nlri, Some(path), None, &is_member);
            }
        }
        if self.batch.len() >= MAX_BATCH {
            self.write_batch();
        }
    }

    /// What the group knows by a name is another path, or says something else.
    fn note_path(
        &mut self,
        nlri: Nlri,
        old_path: Option<&BestPath>,
        new_path: Option<&BestPath>,
        is_member: &impl Fn(PeerId) -> bool,
    ) {
        let (prefix, family) = (nlri.prefix, nlri.prefix.family());
        let peer_of = |telling: &Telling| telling.source.peer();
        let mut telling = |path: Option<&BestPath>, step| {
            let path = path?;
            let verdict = self.verdict(prefix, path);
            if let Some(reached) = verdict.reached() {
                self.count(family, path.source.peer(), reached, step);
            }
            verdict.told()
        };
        let (old, new) = (telling(old_path, -1), telling(new_path, 1));
        match (old, new) {
            (None, None) => {}
            (Some(old), None) => self.batch.withdraw(nlri, audience(peer_of(&old))),
            (None, Some(new)) => self.batch.announce(nlri, new),
            (Some(old), Some(new)) => {
                let (before, now) = (peer_of(&old), peer_of(&new));
                let concerns = |peer: Option<PeerId>| peer.is_some_and(is_member);
                let moves = before != now && (concerns(before) || concerns(now));
                if !moves && new.says_the_same_as(&old, self.profile.parameters.peer_kind) {
                    return;
                }
                // Whoever tells us the path from now on is not to go on with what we told it.
                if let Some(now) = now.filter(|now| before != Some(*now) && is_member(*now)) {
                    self.batch.withdraw(nlri, Audience::Only(now));
                }
                self.batch.announce(nlri, new);
            }
        }
    }

    /// What was noted goes into the log.
    pub(super) fn write_batch(&mut self) {
        let Self { profile, log, batch, .. } = self;
        batch.write(profile, &mut |entry| log.push(entry));
    }
}

/// What becomes of a path on its way to the group.
enum Verdict {
    Told(Telling),
    RefusedByPolicy,
    /// Whatever the policy says.
    NotForPeer,
}

impl Verdict {
    fn told(self) -> Option<Telling> {
        match self {
            Self::Told(telling) => Some(telling),
            Self::RefusedByPolicy | Self::NotForPeer => None,
        }
    }

    const fn reached(&self) -> Option<Reached> {
        match self {
            Self::Told(_) => Some(Reached::PostPolicy),
            Self::RefusedByPolicy => Some(Reached::PrePolicy),
            Self::NotForPeer => None,
        }
    }
}

/// Who is told of a path from this peer.
pub(super) fn audience(source: Option<PeerId>) -> Audience {
    source.map_or(Audience::All, Audience::Except)
}
