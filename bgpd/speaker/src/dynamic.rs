//! Neighbours that are known by their prefix: each is a peer from when it connects until its session
//! is over.

use std::{collections::BTreeSet, net::IpAddr};

use bgp_wire::{Notification, NotificationCode, Open};
use bytes::BytesMut;
use tracing::{debug, error, warn};
use viaduct_net::{Asn, Prefix, Readable};

use crate::{
    Action, ConnId,
    config::{Config, MAX_PEERS, PeerConfig},
    events::Happening,
    fsm::State,
    peer::Peer,
    speaker::{Speaker, farewell_before},
};

/// Ranges of one speaker.
pub const MAX_RANGES: usize = 256;

/// The peers within a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeConfig {
    /// What each of them is; its AS is none until the peer says which.
    pub peer: PeerConfig,
    pub asns: RangeAsns,
    /// How many there may be at a time.
    pub limit: usize,
}

/// In which AS the peers of a range may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeAsns {
    /// In any of these; all ours, or none.
    Any(BTreeSet<Asn>),
    /// In ours: that which we are to them.
    Internal,
    /// In every other.
    External,
}

impl RangeConfig {
    pub const DEFAULT_LIMIT: usize = 100;

    fn allows(&self, config: &Config, asn: Asn) -> bool {
        let ours = self.peer.our_asn(config);
        match &self.asns {
            RangeAsns::Any(asns) => asns.contains(&asn),
            RangeAsns::Internal => asn == ours,
            RangeAsns::External => asn != ours,
        }
    }
}

impl Config {
    /// The narrowest range that an address is in. Peers that are named are not asked about.
    pub fn range_of(&self, address: IpAddr) -> Option<(Prefix, &RangeConfig)> {
        let around = self.ranges.iter().filter(|(prefix, _)| prefix.contains(address));
        around.max_by_key(|(prefix, _)| prefix.len()).map(|(prefix, range)| (*prefix, range))
    }

    /// What a peer in `asn` that is not named is by the range that it is in.
    pub(crate) fn within_range(&self, address: IpAddr, asn: Asn) -> Option<(Prefix, PeerConfig)> {
        let (prefix, range) = self.range_of(address)?;
        let peer = PeerConfig { asn, ..range.peer.clone() };
        range.allows(self, asn).then_some((prefix, peer))
    }

    /// What is configured of whoever has an address: a peer that is named, or one within a range.
    pub fn peer_at(&self, address: IpAddr) -> Option<&PeerConfig> {
        self.peers.get(&address).or_else(|| Some(&self.range_of(address)?.1.peer))
    }
}

impl Speaker {
    /// Makes a peer of whoever has connected from within a range; false where it may not be one.
    pub(crate) fn admit(&mut self, address: IpAddr, conn: ConnId) -> bool {
        let config = self.config.clone();
        let Some((prefix, range)) = config.range_of(address) else { return false };
        let there = self.peers.values().filter(|peer| peer.range == Some(prefix)).count();
        if range.peer.is_held_down() || there >= range.limit || self.peers.len() >= MAX_PEERS {
            warn!(peer = %Readable(address), range = %prefix, there, limit = range.limit, "refused");
            // RFC 4486 §4: the session is not to be, as nobody is there to have it.
            let mut bytes = BytesMut::new();
            Notification::new(NotificationCode::ConnectionRejected).encode(&mut bytes);
            self.actions.push_back(Action::Send { conn, bytes: bytes.freeze() });
            return false;
        }
        debug!(peer = %Readable(address), range = %prefix, "admitted");
        self.events.push(address, Happening::PeerAdded);
        self.add_peer(address, range.peer.clone());
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.range = Some(prefix);
        }
        true
    }

    /// Tells of ranges that nobody can be of, unless that is no news.
    pub(crate) fn tell_held_ranges(&mut self, before: Option<&Config>) {
        let config = self.config.clone();
        for (prefix, range) in &config.ranges {
            let known = before.and_then(|before| before.ranges.get(prefix));
            let known = known.and_then(|range| range.peer.obstacle.as_ref());
            let obstacle = range.peer.obstacle.as_ref().filter(|_| !range.peer.shutdown);
            if let Some(obstacle) = obstacle.filter(|obstacle| known != Some(obstacle)) {
                error!(range = %prefix, %obstacle, "held down");
                let (range, obstacle) = (Some(*prefix), obstacle.clone());
                self.events.push(None, Happening::HeldDown { range, obstacle });
            }
        }
    }

    /// The AS that a peer must be in, which one of a range says itself.
    pub(crate) fn expected_asn(&self, address: IpAddr, open: &Open) -> Option<Asn> {
        let peer = self.peers.get(&address)?;
        let Some(prefix) = peer.range else { return Some(peer.config.asn) };
        let range = self.config.ranges.get(&prefix)?;
        range.allows(&self.config, open.asn).then_some(open.asn)
    }

    /// A peer of a range has said which AS it is in.
    pub(crate) fn learn_asn(&mut self, address: IpAddr, asn: Asn) {
        if let Some(peer) = self.peers.get_mut(&address)
            && peer.range.is_some()
        {
            peer.config.asn = asn;
        }
    }

    /// What a peer of a range is by the configuration, in the AS that it has said; `None` where it is
    /// none any more.
    pub(crate) fn still_within(&self, address: IpAddr) -> Option<PeerConfig> {
        let peer = self.peers.get(&address)?;
        let (prefix, range) = self.config.range_of(address)?;
        let named = self.config.peers.contains_key(&address);
        let asn = peer.config.asn;
        let unknown = peer.agreed().is_none();
        if named || peer.range != Some(prefix) || !unknown && !range.allows(&self.config, asn) {
            return None;
        }
        Some(PeerConfig { asn, ..range.peer.clone() })
    }

    /// What is configured of a peer of a range has changed.
    pub(crate) fn change_dynamic(&mut self, address: IpAddr, wanted: PeerConfig) {
        let survives =
            self.peers.get(&address).is_some_and(|peer| peer.config.session_survives(&wanted));
        if survives {
            self.change_peer(address, wanted);
        } else {
            self.remove_peer(address, farewell_before(&wanted));
            self.events.push(address, Happening::PeerRemoved);
        }
    }

    /// Of a peer that waits, and need not be waited for.
    pub(crate) fn note_departed(&mut self, address: IpAddr) {
        let waits = |peer: &Peer| peer.range.is_some() && peer.state == State::Active;
        if self.peers.get(&address).is_some_and(waits) {
            self.departed.insert(address);
        }
    }

    /// Forgets peers of ranges whose sessions are over: those that would wait for a connection, and of
    /// which no routes are kept.
    pub(crate) fn forget_departed(&mut self) {
        for address in std::mem::take(&mut self.departed) {
            let over = self.peers.get(&address).is_some_and(|peer| {
                peer.range.is_some()
                    && peer.state == State::Active
                    && peer.connection.is_none()
                    && peer.second.is_none()
                    && peer.stale.is_empty()
            });
            if over {
                debug!(peer = %Readable(address), "departed");
                self.remove_peer(address, Notification::new(NotificationCode::PeerDeconfigured));
                self.events.push(address, Happening::PeerRemoved);
            }
        }
    }
}
