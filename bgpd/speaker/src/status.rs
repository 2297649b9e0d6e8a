//! What an operator asks of a speaker.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use bgp_rib::{PathView, PeerId, Rib, RibCounts};
use viaduct_net::{Asn, Family, Prefix, RouterId};

use crate::{State, peer::Peer, restart::has_told_all, speaker::Speaker};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub address: IpAddr,
    pub asn: Asn,
    /// The range that the peer has come from, where it is not named.
    pub range: Option<Prefix>,
    /// From the OPEN of the current session.
    pub router_id: Option<RouterId>,
    pub state: State,
    pub since: Duration,
    /// As agreed on; as configured while there is no session.
    pub hold_time_secs: u16,
    pub families: Vec<Family>,
    pub prefixes_received: usize,
    pub prefixes_accepted: usize,
    pub prefixes_sent: usize,
    pub prefixes_stale: usize,
    pub messages_received: u64,
    pub messages_sent: u64,
    pub updates_received: u64,
    pub updates_sent: u64,
    pub flaps: u64,
    /// How often the peer has come near a limit of prefixes, or over it.
    pub limit_warnings: u64,
    /// Octets that TCP has not taken yet.
    pub unwritten: usize,
    /// Why the session is not there, or was not there the last time.
    pub last_error: Option<String>,
}

/// How many peers there are, those that are shut down left out, and how far the sessions with them
/// have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    pub configured: usize,
    pub established: usize,
    /// Established, and the peer has said End-of-RIB where it says that at all.
    pub told: usize,
}

impl Speaker {
    pub fn session_counts(&self) -> SessionCounts {
        let mut counts = SessionCounts::default();
        for peer in self.peers.values().filter(|peer| !peer.config.shutdown) {
            counts.configured += 1;
            counts.established += usize::from(peer.is_established());
            counts.told += usize::from(peer.is_established() && has_told_all(peer));
        }
        counts
    }

    /// Whether there is a session with the peer.
    pub fn is_established(&self, peer: IpAddr) -> bool {
        self.peers.get(&peer).is_some_and(Peer::is_established)
    }

    /// All peers, by address.
    pub fn peer_statuses(&self, now: Instant) -> Vec<PeerStatus> {
        self.peers.iter().map(|(&address, peer)| self.status_of(address, peer, now)).collect()
    }

    pub(crate) fn status_of(&self, address: IpAddr, peer: &Peer, now: Instant) -> PeerStatus {
        let agreed = peer.agreed();
        let counts = self.routing.counts(address);
        PeerStatus {
            address,
            asn: peer.config.asn,
            range: peer.range,
            router_id: agreed.map(|agreed| agreed.router_id),
            state: peer.state,
            since: now.saturating_duration_since(peer.since),
            hold_time_secs: agreed
                .map_or(peer.config.hold_time, |agreed| agreed.hold_time)
                .to_secs(),
            families: agreed
                .map_or(peer.config.families, |agreed| agreed.parameters.families)
                .iter()
                .collect(),
            prefixes_received: counts.received as usize,
            prefixes_accepted: counts.accepted as usize,
            prefixes_sent: self.routing.told(address),
            prefixes_stale: counts.stale as usize,
            messages_received: peer.counters.messages_received,
            messages_sent: peer.counters.messages_sent,
            updates_received: peer.counters.updates_received,
            updates_sent: peer.counters.updates_sent,
            flaps: peer.counters.flaps,
            limit_warnings: peer.counters.limit_warnings,
            unwritten: peer.connection.as_ref().map_or(0, |connection| connection.unwritten),
            last_error: peer.last_error.clone(),
        }
    }

    /// Every path in the table, by prefix.
    pub fn paths(&self) -> impl Iterator<Item = PathView<'_>> {
        self.routing.rib.paths()
    }

    /// The table, to be asked in steps.
    pub const fn rib(&self) -> &Rib {
        &self.routing.rib
    }

    /// Whether there is such a peer, and by which name the table knows it: by none before its first
    /// session.
    pub fn peer_in_rib(&self, address: IpAddr) -> Option<Option<PeerId>> {
        self.peers.contains_key(&address).then(|| self.routing.id(address))
    }

    pub fn rib_counts(&self) -> RibCounts {
        self.routing.rib.counts()
    }
}
