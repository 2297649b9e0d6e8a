//! Peers that are known by a link-local address and the link that it is on.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use bgp_bfd::{Path, Profile, SessionKey};
use bgp_wire::{BgpNextHop, PeerKind, SessionParameters};
use viaduct_net::{IfIndex, LinkLocal};

use super::harness::with_peers;
use crate::{
    Action, BfdConfig, BfdSessionConfig, Config, PeerLink, Speaker, routing::local_speaker,
};

fn on_link(number: u16, interface: u32) -> LinkLocal {
    let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number);
    LinkLocal::new(address, IfIndex(interface)).unwrap()
}

/// The peer fe80::2 on interface 3, where we are fe80::1.
fn config(global: Option<Ipv6Addr>) -> (Config, IpAddr) {
    let mut config = with_peers(1, 64512, &[(2, 65000)]);
    let (_, mut peer) = config.peers.pop_first().unwrap();
    peer.link = Some(PeerLink { name: "eth1".into(), link_local: on_link(1, 3), global });
    peer.extended_next_hop = true;
    let address = on_link(2, 3).embedded();
    config.peers.insert(address, peer);
    (config, address)
}

#[test]
fn it_is_connected_to_from_our_address_on_the_link() {
    let (config, peer) = config(None);
    let mut speaker = Speaker::new(Arc::new(config), 1, Instant::now());
    let action = speaker.poll_action();
    let Some(Action::Connect { peer: to, local, .. }) = action else { panic!("{action:?}") };
    assert_eq!((to, local), (peer, Some(on_link(1, 3).embedded())));
}

/// Its BFD session is between the same addresses, on the same link.
#[test]
fn it_is_watched_from_there_too() {
    let (mut config, peer) = config(None);
    let (path, profile) = (Path::SingleHop, Profile::default());
    config.peers.get_mut(&peer).unwrap().bfd = Some(BfdConfig { path, profile });
    let now = Instant::now();
    let mut speaker = Speaker::new(Arc::new(config.clone()), 1, now);
    let local = Some(on_link(1, 3).embedded());
    let session = BfdSessionConfig { profile, local, interface: Some("eth1".into()) };
    let key = SessionKey { peer, path };
    assert_eq!(speaker.poll_bfd(), Some([(key, session.clone())].into()));

    let link = config.peers.get_mut(&peer).unwrap().link.as_mut().unwrap();
    (link.link_local, link.name) = (on_link(7, 3), "uplink".into());
    speaker.handle_config(Arc::new(config.clone()), now);
    let local = Some(on_link(7, 3).embedded());
    let session = BfdSessionConfig { local, interface: Some("uplink".into()), ..session };
    assert_eq!(speaker.poll_bfd(), Some([(key, session)].into()));

    config.peers.clear();
    speaker.handle_config(Arc::new(config), now);
    assert_eq!(speaker.poll_bfd(), Some([].into()));
}

#[test]
fn it_is_told_next_hops_that_it_can_reach() {
    let parameters = SessionParameters {
        extended_next_hop: true,
        ..SessionParameters::before_open(PeerKind::External)
    };
    for (global, first, second) in [
        (None, "fe80::1", None),
        (Some("2001:db8::1"), "2001:db8::1", Some("fe80::1".parse().unwrap())),
    ] {
        let (config, peer) = config(global.map(|text| text.parse().unwrap()));
        let local = local_speaker(&config, peer, &config.peers[&peer], &parameters);
        assert_eq!(local.address_v4, None, "IPv4 routes go the same way");
        assert_eq!((local.address_v6, local.link_local), (Some(first.parse().unwrap()), second));
        // Both are what a next hop can be.
        let told = BgpNextHop::V6 { global: local.address_v6.unwrap(), link_local: second };
        assert_eq!(told.address(), first.parse::<IpAddr>().unwrap());
    }
}

#[test]
fn a_session_outlives_a_global_address_and_not_a_link_local_one() {
    let (before, peer) = config(None);
    let before = &before.peers[&peer];
    let (after, _) = config(Some("2001:db8::1".parse().unwrap()));
    assert!(before.session_survives(&after.peers[&peer]));
    let mut other = before.clone();
    other.link.as_mut().unwrap().link_local = on_link(7, 3);
    assert!(!before.session_survives(&other));
}
