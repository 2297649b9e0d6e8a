//! The speaker's state in the words of the admin socket.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

use bgp_speaker::{Config, PeerConfig, Speaker, State};
use viaduct_api::admin::PeerStatus;
use viaduct_net::{Family, LinkLocal};

use crate::unnumbered::Links;

/// Every peer by its address, and then the interfaces where none was found yet.
pub(crate) fn peers(speaker: &Speaker, links: &Links, now: Instant) -> Vec<PeerStatus> {
    let config = speaker.config();
    let known = speaker.peer_statuses(now).into_iter().map(|status| {
        let mut peer = peer(interface(config, status.address), status);
        let problem = peer.interface.as_ref().and_then(|name| links.problem(name));
        peer.last_error = problem.or(peer.last_error);
        peer
    });
    let waiting = config.interfaces.iter().filter(|(name, _)| !links.has_neighbour(name));
    known.chain(waiting.map(|(name, peer)| nobody(name, peer, links))).collect()
}

/// What people and other speakers call a peer's address.
pub(crate) fn plain(address: IpAddr) -> IpAddr {
    LinkLocal::of(address).map_or(address, |link_local| link_local.address().into())
}

/// The name of the interface that a link-local peer is on.
pub(crate) fn interface(config: &Config, address: IpAddr) -> Option<&str> {
    Some(&config.peers.get(&address)?.link.as_ref()?.name)
}

/// What the speaker knows a peer by: a link-local address by the one peer that has it, if it is one.
pub(crate) fn known_as(config: &Config, address: IpAddr) -> IpAddr {
    let mut same = config.peers.keys().filter(|peer| plain(**peer) == address);
    match (same.next(), same.next()) {
        (Some(peer), None) => *peer,
        _ => address,
    }
}

fn nobody(name: &str, peer: &PeerConfig, links: &Links) -> PeerStatus {
    PeerStatus {
        address: Ipv6Addr::UNSPECIFIED.into(),
        interface: Some(name.to_owned()),
        asn: peer.asn.to_u32(),
        router_id: None,
        state: State::Idle.name().to_owned(),
        since_secs: 0,
        hold_time_secs: peer.hold_time.to_secs(),
        families: peer.families.iter().collect::<Vec<Family>>(),
        prefixes_received: 0,
        prefixes_accepted: 0,
        prefixes_sent: 0,
        prefixes_stale: 0,
        messages_received: 0,
        messages_sent: 0,
        flaps: 0,
        last_error: links.problem(name),
        range: None,
        bfd: None,
    }
}

pub(crate) fn peer(interface: Option<&str>, status: bgp_speaker::PeerStatus) -> PeerStatus {
    PeerStatus {
        address: plain(status.address),
        interface: interface.map(str::to_owned),
        asn: status.asn.to_u32(),
        range: status.range,
        router_id: status.router_id,
        state: status.state.name().to_owned(),
        since_secs: status.since.as_secs(),
        hold_time_secs: status.hold_time_secs,
        families: status.families,
        prefixes_received: status.prefixes_received,
        prefixes_accepted: status.prefixes_accepted,
        prefixes_sent: status.prefixes_sent,
        prefixes_stale: status.prefixes_stale,
        messages_received: status.messages_received,
        messages_sent: status.messages_sent,
        flaps: status.flaps,
        last_error: status.last_error,
        bfd: None,
    }
}
