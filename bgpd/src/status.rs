//! The speaker's state in the words of the admin socket.

use std::{
    collections::BTreeMap,
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

/// More peers than this are counted where they share a problem.
const NAMED: usize = 8;

/// What keeps peers and ranges down that are to have sessions: a line for each reason.
pub(crate) fn problems(config: &Config) -> Vec<String> {
    let peers = config.peers.iter().filter(|(_, peer)| peer.link.is_none());
    let peers = peers.map(|(address, peer)| (address.to_string(), peer));
    let interfaces = config.interfaces.iter().map(|(name, peer)| (name.clone(), peer));
    let ranges = config.ranges.iter().map(|(prefix, range)| (prefix.to_string(), &range.peer));
    let mut held: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, peer) in peers.chain(interfaces).chain(ranges) {
        if let Some(obstacle) = peer.obstacle.as_deref().filter(|_| !peer.shutdown) {
            held.entry(obstacle).or_default().push(name);
        }
    }
    let line = |(obstacle, mut names): (&str, Vec<String>)| {
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("BGP peer {}{more}: {obstacle}", names.join(", "))
    };
    held.into_iter().map(line).collect()
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
        last_error: peer.obstacle.as_deref().map(str::to_owned).or_else(|| links.problem(name)),
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

#[cfg(test)]
mod tests {
    use bgp_speaker::RangeConfig;
    use bgp_wire::HoldTime;
    use viaduct_net::Asn;

    use super::*;
    use crate::config::standalone;

    #[test]
    fn peers_that_are_held_down_for_one_reason_share_a_line() {
        let addresses = bgp_speaker::LocalAddresses { v4: Some([192, 0, 2, 1].into()), v6: None };
        let (router_id, peers, passwords) =
            ("192.0.2.1".parse().unwrap(), Default::default(), Default::default());
        let mut config =
            standalone(&Default::default(), router_id, addresses, &peers, &passwords).unwrap();
        let asn = Asn::new(64512);
        let peer = PeerConfig::new(asn, asn, HoldTime::from_secs(9).unwrap());
        let held = |why: &str| PeerConfig { obstacle: Some(why.into()), ..peer.clone() };
        config.peers.insert([192, 0, 2, 2].into(), peer.clone());
        assert_eq!(problems(&config), [""; 0]);
        config.peers.extend((3..=9).map(|last| ([192, 0, 2, last].into(), held("a"))));
        config.interfaces.insert("eth1".to_owned(), held("b"));
        let range = |peer| RangeConfig { peer, asns: bgp_speaker::RangeAsns::Internal, limit: 1 };
        config.ranges.insert("198.51.100.0/24".parse().unwrap(), range(held("a")));
        config.ranges.insert("203.0.113.0/24".parse().unwrap(), range(held("a")));
        assert_eq!(
            problems(&config),
            [
                "BGP peer 192.0.2.3, 192.0.2.4, 192.0.2.5, 192.0.2.6, 192.0.2.7, 192.0.2.8, 192.0.2.9, \
                 198.51.100.0/24 and 1 more: a",
                "BGP peer eth1: b"
            ]
        );
    }
}
