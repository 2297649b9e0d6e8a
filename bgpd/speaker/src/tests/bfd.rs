use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use bgp_bfd::{DownReason, Path, Profile, SessionKey};
use viaduct_net::{LossCause, Underlay};

use super::harness::{Network, underlay, v4, with_peers};
use crate::{BfdConfig, BfdSessionConfig, Config, State, Stop};

pub(super) const LOST: DownReason = DownReason::DetectionTimeExpired;

fn watched(node: u8, peer: u8) -> Config {
    let mut config = with_peers(node, 64512, &[(peer, 64512)]);
    let bfd = BfdConfig { path: Path::SingleHop, profile: Profile::default() };
    config.peers.get_mut(&v4(peer)).unwrap().bfd = Some(bfd);
    config
}

pub(super) fn key(peer: u8, path: Path) -> SessionKey {
    SessionKey { peer: v4(peer), path }
}

/// Whom the first node has lost.
fn lost(network: &mut Network) -> BTreeMap<IpAddr, LossCause> {
    network.speaker(1).lost_neighbours()
}

fn by_bfd(peer: u8) -> BTreeMap<IpAddr, LossCause> {
    BTreeMap::from([(v4(peer), LossCause::Bfd)])
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
        assert_eq!(lost(&mut network), by_bfd(2));
        let status = network.status(1, v4(2));
        assert_eq!((status.state, status.prefixes_stale, status.flaps), (State::Idle, 0, 1));
        let error = status.last_error.unwrap();
        assert_eq!(error, "BFD down: control detection time expired");
        // It is wanted back at once: losing the way to a peer is nobody's error.
        network.mend(1, 2);
        network.run(Duration::from_secs(10));
        network.wait_established(1, 2);
        assert_eq!(lost(&mut network), BTreeMap::new());
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
    assert_eq!(lost(&mut network), BTreeMap::new());
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
        let expected = if independent { by_bfd(2) } else { BTreeMap::new() };
        assert_eq!(lost(&mut network), expected);
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

/// A node with a session with 3 that is watched, and another with a reflector that tells 3's routes, too,
/// and keeps them for long.
pub(super) fn beside_a_reflector() -> Network {
    let mut network = Network::default();
    let mut ours = with_peers(1, 64512, &[(3, 64512), (9, 64512)]);
    ours.peers.get_mut(&v4(3)).unwrap().bfd = watched(1, 2).peers[&v4(2)].bfd;
    let mut reflector = with_peers(9, 64512, &[(1, 64512), (3, 64512)]);
    let mut theirs = with_peers(3, 64512, &[(1, 64512), (9, 64512)]);
    for peer in reflector.peers.values_mut() {
        peer.reflector_client = true;
        peer.long_lived_secs = 600;
    }
    for config in [&mut ours, &mut theirs] {
        config.peers.get_mut(&v4(9)).unwrap().long_lived_secs = 600;
    }
    network.start(1, ours);
    network.start(3, theirs);
    network.start(9, reflector);
    network.originate(9, &["10.9.0.0/24"]);
    network.wait("both ways", |network| {
        let told = |network: &mut Network, peer| network.status(1, v4(peer)).prefixes_accepted;
        told(network, 3) == 2 && told(network, 9) == 3
    });
    network.run(Duration::from_secs(30));
    network
}

pub(super) const NEXT_HOP_LOST: &str = "unusable: BFD has lost the next hop (RFC 5882 5)";

pub(super) fn reasons(network: &mut Network, text: &str) -> Vec<String> {
    let paths = network.speaker(1).paths();
    let paths = paths.filter(|path| path.prefix.to_string() == text);
    paths.map(|path| path.reason.to_string()).collect()
}

/// RFC 5882 §5.
#[test]
fn who_is_lost_is_no_next_hop_of_others_either() {
    let mut network = beside_a_reflector();
    while network.speaker(1).poll_event().is_some() {}
    network.cut(1, 3);
    network.bfd_down(1, key(3, Path::SingleHop), LOST, false);
    // The session with the reflector tells them all the while.
    assert_eq!(network.status(1, v4(9)).prefixes_accepted, 3);
    assert_eq!(network.fib(1), ["10.9.0.0/24", "fd00:3::/64"]);
    assert_eq!(reasons(&mut network, "10.3.0.0/24"), [NEXT_HOP_LOST]);
    let told: Vec<_> = std::iter::from_fn(|| network.speaker(1).poll_event()).collect();
    let down = told.iter().find(|event| event.what.name() == "bfd-down").unwrap();
    assert_eq!(down.what.to_string(), "control detection time expired; no next hop");

    // Its BFD is there again, and its session is not yet.
    network.bfd_up(1, key(3, Path::SingleHop));
    assert_eq!(network.hops(1, "10.3.0.0/24"), [v4(3)]);
    assert_ne!(network.state(1, 3), State::Established);
    let up = std::iter::from_fn(|| network.speaker(1).poll_event()).last().unwrap();
    assert_eq!((up.what.name(), up.peer), ("bfd-up", Some(v4(3))));
}

/// BGP does not wait for BFD, and nor do its next hops.
#[test]
fn a_session_that_comes_back_is_a_way_found_again() {
    let mut network = beside_a_reflector();
    network.cut(1, 3);
    network.bfd_down(1, key(3, Path::SingleHop), LOST, true);
    assert!(!network.fib(1).contains(&"10.3.0.0/24".to_owned()));
    network.mend(1, 3);
    network.run(Duration::from_secs(10));
    network.wait_established(1, 3);
    network.wait("its routes", |network| network.hops(1, "10.3.0.0/24") == [v4(3)]);
}

#[test]
fn who_is_not_watched_any_more_is_not_lost() {
    for another_path in [false, true] {
        let mut network = beside_a_reflector();
        network.cut(1, 3);
        network.bfd_down(1, key(3, Path::SingleHop), LOST, false);
        assert!(!network.fib(1).contains(&"10.3.0.0/24".to_owned()));
        let mut config = Config::clone(network.speaker(1).config());
        let bfd = &mut config.peers.get_mut(&v4(3)).unwrap().bfd;
        *bfd = bfd.filter(|_| another_path).map(|bfd| BfdConfig { path: Path::Multihop, ..bfd });
        assert_eq!(lost(&mut network), by_bfd(3));
        network.configure(1, config);
        assert_eq!(network.hops(1, "10.3.0.0/24"), [v4(3)]);
        assert_eq!(lost(&mut network), BTreeMap::new());
    }
}

/// What others tell of a neighbour that restarts stays with what it has told itself, and goes with it.
#[test]
fn who_restarts_is_a_next_hop_for_as_long_as_its_routes_are_kept() {
    for independent in [false, true] {
        let mut network = beside_a_reflector();
        network.kill(3);
        network.run(Duration::from_millis(100));
        assert_eq!(network.status(1, v4(3)).prefixes_stale, 2);
        network.bfd_down(1, key(3, Path::SingleHop), LOST, independent);
        let is_there = network.fib(1).contains(&"10.3.0.0/24".to_owned());
        assert_eq!(is_there, !independent);
        let told = std::iter::from_fn(|| network.speaker(1).poll_event()).last().unwrap();
        if !independent {
            assert_eq!(
                told.what.to_string(),
                "control detection time expired; kept, for it restarts"
            );
        }
        let expected = if independent { by_bfd(3) } else { BTreeMap::new() };
        assert_eq!(lost(&mut network), expected);
        // It does not come back in time; the reflector tells of it all the while.
        network.run(Duration::from_secs(60));
        assert_eq!(lost(&mut network), by_bfd(3));
        assert_eq!(network.status(1, v4(9)).prefixes_accepted, 3);
        assert_eq!(reasons(&mut network, "10.3.0.0/24"), [NEXT_HOP_LOST]);
    }
}

/// It may still be shutting down, and its BFD be heard or not: nobody has lost it.
#[test]
fn who_has_parted_in_order_is_not_lost() {
    for stop in [Stop::Restart, Stop::Administrative(String::new())] {
        let mut network = pair();
        network.shutdown(2, &stop);
        network.run(Duration::from_millis(100));
        assert_ne!(network.state(1, 2), State::Established, "{stop:?}");
        let reason = DownReason::NeighborAdminDown;
        network.bfd_down(1, key(2, Path::SingleHop), reason, false);
        assert_eq!(lost(&mut network), BTreeMap::new(), "{stop:?}");
    }
}

#[test]
fn a_session_that_is_lost_while_bfd_is_up_loses_nobody() {
    let mut network = pair();
    network.kill(2);
    network.run(Duration::from_secs(60));
    assert_ne!(network.state(1, 2), State::Established);
    assert_eq!(lost(&mut network), BTreeMap::new());
}

#[test]
fn a_neighbour_that_no_link_leads_to_any_more_is_lost() {
    let mut network = pair();
    let now = network.now();
    let by_link = BTreeMap::from([(v4(2), LossCause::Link)]);
    let nowhere = Underlay::from([]);
    network.speaker(1).handle_underlay(&nowhere, now);
    assert_eq!(lost(&mut network), by_link);
    // BFD finds it out, too, and the link is the better reason.
    network.cut(1, 2);
    network.bfd_down(1, key(2, Path::SingleHop), LOST, false);
    assert_eq!(lost(&mut network), by_link);
    network.speaker(1).handle_underlay(&underlay(), now);
    assert_eq!(lost(&mut network), by_bfd(2));
    network.bfd_up(1, key(2, Path::SingleHop));
    assert_eq!(lost(&mut network), BTreeMap::new());

    // Nobody else's configuration brings it back, nor is it lost when it is nobody's neighbour.
    network.speaker(1).handle_underlay(&nowhere, now);
    let config = Config::clone(network.speaker(1).config());
    let mut more = config.clone();
    let third = more.peers[&v4(2)].clone();
    more.peers.insert(v4(3), third);
    network.configure(1, more);
    assert_eq!(lost(&mut network), by_link, "what was never there is not lost");
    network.configure(1, Config { peers: BTreeMap::new(), ..config });
    assert_eq!(lost(&mut network), BTreeMap::new());
}
