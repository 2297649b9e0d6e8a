//! One peer in full.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use bgp_rib::Policy;
use bgp_wire::{Families, Open, SessionParameters};

use crate::{
    Direction, PeerConfig, PeerStatus,
    speaker::Speaker,
    timer::{Owner, Timer},
};

/// What is known of a peer and its connection.
#[derive(Clone, Debug)]
pub struct PeerDetail<'a> {
    pub status: PeerStatus,
    pub config: &'a PeerConfig,
    /// Who has opened the connection, where there is one.
    pub direction: Option<Direction>,
    pub sent: Option<&'a Open>,
    pub received: Option<&'a Open>,
    pub agreed: Option<&'a SessionParameters>,
    /// Families for which the peer has said End-of-RIB in this session.
    pub end_of_rib: Families,
    /// Families of which routes are kept from an earlier session.
    pub stale: Families,
    /// Those that run, and how long they still have.
    pub timers: Vec<(Timer, Duration)>,
    /// Malformed attributes.
    pub malformed: u64,
}

impl Speaker {
    /// One peer in full; `None` where there is none at the address.
    pub fn peer_detail(&self, address: IpAddr, now: Instant) -> Option<PeerDetail<'_>> {
        let peer = self.peers.get(&address)?;
        let connection = peer.connection.as_ref();
        let mut timers = self.timers.of(Owner::Peer(address));
        timers.extend(
            connection.map(|one| self.timers.of(Owner::Connection(one.id))).unwrap_or_default(),
        );
        let left = |(timer, at): (Timer, Instant)| (timer, at.saturating_duration_since(now));
        Some(PeerDetail {
            status: self.status_of(address, peer, now),
            config: &peer.config,
            direction: connection.map(|connection| connection.direction),
            sent: connection.and_then(|connection| connection.sent.as_ref()),
            received: connection.and_then(|connection| connection.received.as_ref()),
            agreed: peer.agreed().map(|agreed| &agreed.parameters),
            end_of_rib: peer.end_of_rib,
            stale: peer.stale,
            timers: timers.into_iter().map(left).collect(),
            malformed: peer.malformed.count,
        })
    }

    /// What is taken from a peer and what it is told, of all or of one.
    pub fn policies(&self, only: Option<IpAddr>) -> Vec<(IpAddr, Policy, Policy)> {
        let asked =
            self.peers.iter().filter(|(address, _)| only.is_none_or(|one| one == **address));
        asked
            .map(|(&address, peer)| {
                (address, peer.config.import.clone(), peer.config.export.clone())
            })
            .collect()
    }
}
