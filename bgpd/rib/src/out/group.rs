//! Peers that are told the same.

use std::collections::{BTreeSet, HashMap};

use tracing::warn;
use viaduct_net::Prefix;

use super::{
    Profile,
    batch::{Batch, Telling},
    log::{Audience, Log},
};
use crate::{BestChange, BestPath, ExportPeer, PeerId, export};

/// Changes encoded together at most: those with equal attributes share messages.
const MAX_BATCH: usize = 8192;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) profile: Profile,
    pub(super) log: Log,
    pub(super) members: usize,
    /// Those of them that lag.
    pub(super) lagging: BTreeSet<PeerId>,
    /// Prefixes told, those included that their own source is not told of.
    told: usize,
    /// How many of them each peer has told us.
    told_by: HashMap<PeerId, usize>,
    batch: Batch,
}

impl Group {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            log: Log::default(),
            members: 0,
            lagging: BTreeSet::new(),
            told: 0,
            told_by: HashMap::new(),
            batch: Batch::default(),
        }
    }

    /// Whether the group is told of a best path; its source is not, whatever this says.
    pub(super) fn tells(&self, prefix: Prefix, path: &BestPath) -> bool {
        self.telling(prefix, path).is_some()
    }

    /// How the group is told of a best path, if it is.
    pub(super) fn telling(&self, prefix: Prefix, path: &BestPath) -> Option<Telling> {
        let profile = &self.profile;
        if !profile.parameters.families.contains(prefix.family()) {
            return None;
        }
        let target = ExportPeer {
            id: None,
            kind: profile.parameters.peer_kind,
            reflector_client: profile.reflector_client,
            next_hop_self: profile.next_hop_self,
            policy: &profile.policy,
        };
        export::permits(&target, prefix, path).ok()?;
        let next_hop = export::next_hop(&profile.local, &target, prefix.family(), path)?;
        let attributes = path.attributes.clone();
        let telling = Telling { attributes, source: path.source, next_hop };
        if !telling.fits(profile, prefix) {
            warn!(%prefix, octets = path.attributes.octets().len(), "too long to be told");
            return None;
        }
        Some(telling)
    }

    /// Counts a best path among those told.
    pub(super) fn count_told(&mut self, prefix: Prefix, path: &BestPath) {
        if self.tells(prefix, path) {
            self.count(path, 1);
        }
    }

    fn count(&mut self, path: &BestPath, step: isize) {
        self.told = self.told.saturating_add_signed(step);
        if let Some(peer) = path.source.peer() {
            let by = self.told_by.entry(peer).or_default();
            *by = by.saturating_add_signed(step);
            if *by == 0 {
                self.told_by.remove(&peer);
            }
        }
    }

    /// How many prefixes a member knows that has read everything.
    pub(super) fn told_to(&self, peer: PeerId) -> usize {
        self.told - self.told_by.get(&peer).copied().unwrap_or_default()
    }

    /// A best path has changed.
    pub(super) fn note(&mut self, change: &BestChange, is_member: impl Fn(PeerId) -> bool) {
        let prefix = change.prefix;
        let telling = |path: &Option<BestPath>| self.telling(prefix, path.as_ref()?);
        let (old, new) = (telling(&change.old), telling(&change.new));
        if let (Some(_), Some(path)) = (&old, &change.old) {
            self.count(path, -1);
        }
        if let (Some(_), Some(path)) = (&new, &change.new) {
            self.count(path, 1);
        }
        let peer_of = |telling: &Telling| telling.source.peer();
        match (old, new) {
            (None, None) => {}
            (Some(old), None) => self.batch.withdraw(prefix, audience(peer_of(&old))),
            (None, Some(new)) => self.batch.announce(prefix, new),
            (Some(old), Some(new)) => {
                let (before, now) = (peer_of(&old), peer_of(&new));
                let concerns = |peer: Option<PeerId>| peer.is_some_and(&is_member);
                let moves = before != now && (concerns(before) || concerns(now));
                if !moves && new.says_the_same_as(&old, self.profile.parameters.peer_kind) {
                    return;
                }
                // Whoever tells us the path from now on is not to go on with what we told it.
                if let Some(now) = now.filter(|now| before != Some(*now) && is_member(*now)) {
                    self.batch.withdraw(prefix, Audience::Only(now));
                }
                self.batch.announce(prefix, new);
            }
        }
        if self.batch.len() >= MAX_BATCH {
            self.write_batch();
        }
    }

    /// What was noted goes into the log.
    pub(super) fn write_batch(&mut self) {
        let Self { profile, log, batch, .. } = self;
        batch.write(profile, &mut |entry| log.push(entry));
    }
}

/// Who is told of a path from this peer.
pub(super) fn audience(source: Option<PeerId>) -> Audience {
    source.map_or(Audience::All, Audience::Except)
}
