use std::{collections::BTreeMap, net::IpAddr};

use bgp_wire::PeerKind;
use viaduct_net::{Asn, Family, IfIndex, RouterId};

use crate::{AnnounceError, ImportCounters, Ingress, Policy};

/// A peer's place in the table. Valid from [`crate::Rib::add_peer`] to
/// [`crate::Rib::remove_peer`], over any number of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(crate) u32);

impl PeerId {
    /// By which [`crate::PathRecord::peer`] knows it.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// A peer as far as its routes depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What the peer is known by; the last tie-break (RFC 4271 §9.1.2.2 g).
    pub address: IpAddr,
    pub asn: Asn,
    pub router_id: RouterId,
    pub kind: PeerKind,
    /// The link the session runs over, where there is one: without it IPv6 link-local next hops
    /// from the peer are unusable.
    pub interface: Option<IfIndex>,
    /// A client of ours as route reflector (RFC 4456 §4).
    pub reflector_client: bool,
    /// [`Policy::default_for`] where nothing is configured.
    pub import: Policy,
    /// Whether paths must begin with the peer's AS (RFC 4271 §6.3). A route server's do not.
    /// External peers only.
    pub enforce_first_as: bool,
    /// Paths of both families, accepted or not. One more is [`crate::AnnounceError::PrefixLimit`].
    pub max_prefixes: u32,
    /// The same for each family.
    pub max_v4: Option<u32>,
    pub max_v6: Option<u32>,
    pub ingress: Ingress,
}

impl Peer {
    /// Enough for a full table of both families twice over, and a bound for a peer gone mad.
    pub const DEFAULT_MAX_PREFIXES: u32 = 4_000_000;

    /// The limit that is reached with so many paths, if any is.
    pub(crate) fn limit_reached(
        &self,
        counts: PeerCounts,
        family: Family,
    ) -> Option<AnnounceError> {
        let of_family = match family {
            Family::V4 => self.max_v4,
            Family::V6 => self.max_v6,
        };
        let reached = of_family.filter(|limit| counts.of(family) >= *limit);
        if let Some(limit) = reached {
            return Some(AnnounceError::FamilyLimit { family, limit });
        }
        let limit = self.max_prefixes;
        (counts.received >= limit).then_some(AnnounceError::PrefixLimit { limit })
    }
}

/// How many paths there are from a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    pub received: u32,
    /// Those of them that are IPv4.
    pub received_v4: u32,
    /// Those of them that import has let pass.
    pub accepted: u32,
    /// Kept from a session that is gone (RFC 4724 §4.2).
    pub stale: u32,
}

impl PeerCounts {
    /// How many of a family were received.
    pub const fn of(&self, family: Family) -> u32 {
        match family {
            Family::V4 => self.received_v4,
            Family::V6 => self.received - self.received_v4,
        }
    }
}

#[derive(Debug)]
pub(crate) struct PeerEntry {
    pub(crate) peer: Peer,
    pub(crate) counts: PeerCounts,
    pub(crate) counters: ImportCounters,
}

/// More peers than any speaker has; their numbers share a field with other things.
pub(crate) const MAX_PEER_ID: u32 = 1 << 24;

/// Places are reused, but only after a flush: until then changes may speak of the old peer.
#[derive(Debug, Default)]
pub(crate) struct PeerTable {
    entries: Vec<Option<PeerEntry>>,
    by_address: BTreeMap<IpAddr, PeerId>,
    free: Vec<PeerId>,
    removed: Vec<PeerId>,
}

impl PeerTable {
    pub(crate) fn id(&self, address: IpAddr) -> Option<PeerId> {
        self.by_address.get(&address).copied()
    }

    pub(crate) fn insert(&mut self, peer: Peer) -> PeerId {
        let address = peer.address;
        let entry = Some(PeerEntry {
            peer,
            counts: PeerCounts::default(),
            counters: ImportCounters::default(),
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id.0 as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                debug_assert!(self.entries.len() <= MAX_PEER_ID as usize, "speakers have fewer");
                PeerId(self.entries.len() as u32 - 1)
            }
        };
        self.by_address.insert(address, id);
        id
    }

    /// Forgets the address; the entry stays readable until [`Self::free_removed`].
    pub(crate) fn remove(&mut self, id: PeerId) {
        if let Some(entry) = self.entry(id)
            && self.by_address.get(&entry.peer.address) == Some(&id)
        {
            self.by_address.remove(&entry.peer.address.clone());
            self.removed.push(id);
        }
    }

    pub(crate) fn free_removed(&mut self) {
        for id in self.removed.drain(..) {
            self.entries[id.0 as usize] = None;
            self.free.push(id);
        }
    }

    pub(crate) fn entry(&self, id: PeerId) -> Option<&PeerEntry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn entry_mut(&mut self, id: PeerId) -> Option<&mut PeerEntry> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }

    /// In the order of their addresses.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PeerId> {
        self.by_address.values().copied()
    }
}
