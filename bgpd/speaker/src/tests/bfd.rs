use std::{collections::BTreeMap, time::Duration};

use bgp_bfd::{DownReason, Path, Profile, SessionKey};

use super::harness::{Network, v4, with_peers};
use crate::{BfdConfig, BfdSessionConfig, Config, State};

const LOST: DownReason = DownReason::DetectionTimeExpired;

fn watched(node: u8, peer: u8) -> Config {
    let mut config = with_peers(node, 64512, &[(peer, 64512)]);
    let bfd = BfdConfig { path: Path::SingleHop, profile: Profile::default() };
    config.peers.get_mut(&v4(peer)).unwrap().bfd = Some(bfd);
    config
}

fn key(peer: u8, path: Path) -> SessionKey {
    SessionKey { peer: v4(peer), path }
}

/// What the first node's BFD is to be.
fn wanted(key: SessionKey, profile: Profile) -> Option<BTreeMap<SessionKey, BfdSessionConfig>> {
    let session = BfdSessionConfig { profile, local: Some(v4(1)), interface: None };
    Some(BTreeMap::from([(key, session)]))
}

/// Two nodes with a session between them that has lasted.
fn pair() -> Network {
    let mut network = Network::default();
    network.start(1, watched(1, 2));
    network.start(2, watched(2, 1));
    network.wait("both know the other's", |network| {
        network.fib(1).len() == 2 && network.fib(2).len() == 2
    });
    network.run(Duration::from_secs(30));
    network
}

#[test]
fn a_peer_that_is_lost_takes_its_routes_along_graceful_restart_or_not() {
    for independent in [false, true] {
        let mut network = pair();
        network.cut(1, 2);
        network.bfd_down(1, key(2, Path::SingleHop), LOST, independent);
        assert_eq!(network.fib(1), Vec::<String>::new());
        let status = network.status(1, v4(2));
        assert_eq!((status.state, status.prefixes_stale, status.flaps), (State::Idle, 0, 1));
        let error = status.last_error.unwrap();
        assert_eq!(error, "BFD down: control detection time expired");
        // It is wanted back at once: losing the way to a peer is nobody's error.
        network.mend(1, 2);
        network.run(Duration::from_secs(10));
        network.wait_established(1, 2);
    }
}

#[test]
fn the_peer_is_told_why_and_drops_our_routes_too() {
    let mut network = pair();
    network.bfd_down(1, key(2, Path::SingleHop), DownReason::NeighborDown, false);
    network.run(Duration::from_millis(10));
    assert_eq!(network.fib(2), Vec::<String>::new());
    let error = network.status(2, v4(1)).last_error.unwrap();
    assert!(error.contains("BFD down"), "{error}");
    network.wait_established(1, 2);
}

#[test]
fn a_peer_whose_operator_holds_bfd_down_is_not_lost() {
    let mut network = pair();
    network.bfd_down(1, key(2, Path::SingleHop), DownReason::NeighborAdminDown, true);
    network.run(Duration::from_secs(1));
    assert_eq!(network.state(1, 2), State::Established);
    assert_eq!(network.fib(1).len(), 2);
}

#[test]
fn what_is_said_of_a_session_that_is_not_wanted_any_more_is_nothing() {
    let mut network = pair();
    network.bfd_down(1, key(2, Path::Multihop), LOST, true);
    network.bfd_down(1, key(9, Path::SingleHop), LOST, true);
    assert_eq!(network.state(1, 2), State::Established);
}

/// RFC 5882 §4.3.2: of a peer that is restarting the C bit says whether its BFD knows better.
#[test]
fn a_peer_that_restarts_loses_its_routes_only_to_a_bfd_that_does_not_restart_with_it() {
    for independent in [false, true] {
        let mut network = pair();
        network.kill(2);
        network.run(Duration::from_millis(100));
        assert_eq!(network.status(1, v4(2)).prefixes_stale, 2);
        network.bfd_down(1, key(2, Path::SingleHop), LOST, independent);
        let kept = if independent { 0 } else { 2 };
        assert_eq!(network.status(1, v4(2)).prefixes_stale, kept);
        assert_eq!(network.fib(1).len(), kept);
        let mut again = watched(2, 1);
        again.restarting = true;
        network.start(2, again);
        network.wait_established(1, 2);
        network.wait("its routes", |network| network.fib(1).len() == 2);
    }
}

#[test]
fn the_sessions_there_shall_be_follow_the_configuration() {
    let mut network = pair();
    let single = key(2, Path::SingleHop);
    let speaker = network.speaker(1);
    assert_eq!(speaker.poll_bfd(), wanted(single, Profile::default()));
    assert_eq!(speaker.poll_bfd(), None);

    let slow = Profile::new(1000, 1000, 3).unwrap();
    let mut config = watched(1, 2);
    let peer = config.peers.get_mut(&v4(2)).unwrap();
    peer.bfd = Some(BfdConfig { path: Path::Multihop, profile: slow });
    network.configure(1, config.clone());
    let multihop = key(2, Path::Multihop);
    assert_eq!(network.speaker(1).poll_bfd(), wanted(multihop, slow));
    assert_eq!(network.state(1, 2), State::Established, "it is the same session of BGP");

    config.peers.get_mut(&v4(2)).unwrap().hold_time = bgp_wire::HoldTime::from_secs(30).unwrap();
    network.configure(1, config.clone());
    assert_eq!(network.speaker(1).poll_bfd(), None);
    config.peers.get_mut(&v4(2)).unwrap().shutdown = true;
    network.configure(1, config.clone());
    assert_eq!(network.speaker(1).poll_bfd(), Some(BTreeMap::new()));
    config.peers.get_mut(&v4(2)).unwrap().shutdown = false;
    network.configure(1, config.clone());
    assert_eq!(network.speaker(1).poll_bfd(), wanted(multihop, slow));
    config.peers.clear();
    network.configure(1, config);
    assert_eq!(network.speaker(1).poll_bfd(), Some(BTreeMap::new()));
}

/// The same of what is kept for long (RFC 9494), whose restart time is over.
#[test]
fn what_is_kept_for_long_goes_with_the_way_to_the_peer() {
    for (independent, kept) in [(false, 2), (true, 0)] {
        let mut network = Network::default();
        for (node, peer) in [(1, 2), (2, 1)] {
            let mut config = watched(node, peer);
            config.peers.get_mut(&v4(peer)).unwrap().long_lived_secs = 600;
            network.start(node, config);
        }
        network.wait("both know the other's", |network| network.fib(1).len() == 2);
        network.run(Duration::from_secs(30));
        network.kill(2);
        network.run(Duration::from_secs(60));
        assert_eq!(network.status(1, v4(2)).prefixes_stale, 2);
        network.bfd_down(1, key(2, Path::SingleHop), LOST, independent);
        assert_eq!(network.status(1, v4(2)).prefixes_stale, kept);
        network.run(Duration::from_secs(600));
        assert_eq!(network.status(1, v4(2)).prefixes_stale, 0);
    }
}

/// A session that has BFD ends for good with it, whatever is kept for whom else.
#[test]
fn nothing_is_kept_for_long_of_a_peer_that_bfd_has_lost() {
    let mut network = Network::default();
    for (node, peer) in [(1, 2), (2, 1)] {
        let mut config = watched(node, peer);
        config.peers.get_mut(&v4(peer)).unwrap().long_lived_secs = 600;
        network.start(node, config);
    }
    network.wait("both know the other's", |network| network.fib(1).len() == 2);
    network.cut(1, 2);
    network.bfd_down(1, key(2, Path::SingleHop), LOST, false);
    assert_eq!(network.status(1, v4(2)).prefixes_stale, 0);
    assert_eq!(network.fib(1), Vec::<String>::new());
}
