use std::time::Duration;

use super::harness::{Network, v4, with_peers};
use crate::{Config, State, Stop};

fn configs() -> [Config; 3] {
    [
        with_peers(1, 64512, &[(2, 64512), (3, 64512)]),
        with_peers(2, 64512, &[(1, 64512), (3, 64512)]),
        with_peers(3, 64512, &[(1, 64512), (2, 64512)]),
    ]
}

/// Three nodes that know each other's blocks and have been up for a while.
fn mesh() -> Network {
    let mut network = Network::default();
    for (config, node) in configs().into_iter().zip(1..) {
        network.start(node, config);
    }
    network.wait("mesh complete", |network| (1..=3).all(|node| network.fib(node).len() == 4));
    network.run(Duration::from_secs(30));
    network
}

fn restarting(node: u8) -> Config {
    let mut config = configs()[usize::from(node) - 1].clone();
    config.restarting = true;
    config
}

#[test]
fn a_killed_peer_that_comes_back_is_never_missed() {
    let mut network = mesh();
    let before = [network.nodes[&1].fib_updates, network.nodes[&3].fib_updates];
    for _ in 0..5 {
        network.kill(2);
        network.run(Duration::from_secs(2));
        assert_eq!(network.status(1, v4(2)).prefixes_stale, 2);
        network.start(2, restarting(2));
        network.wait_established(1, 2);
        network.wait_established(3, 2);
        network.wait("in sync", |network| network.nodes[&2].synced);
        network.run(Duration::from_secs(10));
        assert_eq!(network.status(1, v4(2)).prefixes_stale, 0);
        assert_eq!(network.fib(2).len(), 4);
    }
    assert_eq!(before, [network.nodes[&1].fib_updates, network.nodes[&3].fib_updates]);
}

#[test]
fn a_peer_that_dies_again_and_again_is_taken_back_each_time() {
    let mut network = mesh();
    let updates = network.nodes[&1].fib_updates;
    for _ in 0..50 {
        network.kill(2);
        network.run(Duration::from_millis(300));
        network.start(2, restarting(2));
        network.wait("in sync", |network| network.nodes[&2].synced);
        network.wait("fresh", |network| network.status(1, v4(2)).prefixes_stale == 0);
    }
    assert_eq!(network.nodes[&1].fib_updates, updates);
}

#[test]
fn a_restarting_speaker_says_nothing_and_decides_nothing_before_it_has_heard_all() {
    let mut network = mesh();
    network.kill(2);
    network.cut(2, 3);
    network.start(2, restarting(2));
    network.wait_established(1, 2);
    network.run(Duration::from_secs(10));
    assert!(!network.nodes[&2].synced, "3 has not been heard");
    assert!(network.fib(2).is_empty());
    assert_eq!(network.status(2, v4(1)).prefixes_sent, 0);
    assert_eq!(network.status(1, v4(2)).prefixes_stale, 2, "kept until End-of-RIB");
    // The deferral time ends it.
    network.run(Duration::from_secs(25));
    assert!(network.nodes[&2].synced);
    assert_eq!(network.fib(2), ["10.1.0.0/24", "fd00:1::/64"]);
    assert_eq!(network.status(1, v4(2)).prefixes_stale, 0);
}

#[test]
fn a_peer_that_policy_lets_say_nothing_still_says_that_this_is_all() {
    // An external peer without a policy is told nothing (RFC 8212), of prefixes that there are.
    let mut network = Network::default();
    network.start(1, with_peers(1, 64512, &[(2, 64513)]));
    network.start(2, with_peers(2, 64513, &[(1, 64512)]));
    network.wait_established(1, 2);
    network.run(Duration::from_secs(10));
    network.kill(2);
    network.start(2, Config { restarting: true, ..with_peers(2, 64513, &[(1, 64512)]) });
    network.wait_established(1, 2);
    network.run(Duration::from_millis(100));
    assert!(network.nodes[&2].synced, "End-of-RIB waits for the next keepalive");
}

#[test]
fn what_the_peer_does_not_tell_again_goes_at_end_of_rib() {
    let mut network = mesh();
    network.kill(2);
    network.start(2, restarting(2));
    network.originate(2, &["10.2.0.0/24"]);
    network.wait("swept", |network| !network.fib(1).contains(&"fd00:2::/64".to_owned()));
    assert!(network.fib(1).contains(&"10.2.0.0/24".to_owned()));
}

#[test]
fn a_peer_that_does_not_come_back_is_forgotten_after_its_restart_time() {
    let mut network = mesh();
    network.kill(2);
    network.run(Duration::from_secs(29));
    assert_eq!(network.fib(1).len(), 4);
    network.run(Duration::from_secs(2));
    assert_eq!(network.fib(1), ["10.3.0.0/24", "fd00:3::/64"]);
}

#[test]
fn a_peer_that_comes_back_without_its_forwarding_state_loses_it_here_too() {
    let mut network = mesh();
    network.kill(2);
    network.run(Duration::from_secs(1));
    let updates = network.nodes[&1].fib_updates;
    // A fresh start: no F bit in its OPEN.
    network.start(2, configs()[1].clone());
    network.wait("told anew", |network| {
        network.state(1, 2) == State::Established && network.fib(1).len() == 4
    });
    assert!(network.nodes[&1].fib_updates > updates, "withdrawn and told again");
}

#[test]
fn an_orderly_restart_is_a_death_without_words() {
    let mut network = mesh();
    network.shutdown(2, &Stop::Restart);
    network.kill(2);
    network.run(Duration::from_secs(1));
    assert_eq!(network.fib(1).len(), 4);
    assert_eq!(network.status(1, v4(2)).prefixes_stale, 2);
}

#[test]
fn a_silent_peer_is_dead_and_its_routes_leave_with_the_hold_time() {
    let mut network = mesh();
    network.cut(1, 2);
    network.run(Duration::from_secs(10));
    assert_ne!(network.state(1, 2), State::Established);
    assert_eq!(network.fib(1), ["10.3.0.0/24", "fd00:3::/64"]);
    network.mend(1, 2);
    network.wait("back", |network| network.fib(1).len() == 4);
}

#[test]
fn two_that_restart_at_once_do_not_wait_for_each_other() {
    // RFC 4724 §4.1: a peer with the R bit is not waited for.
    let mut network = mesh();
    let updates = network.nodes[&3].fib_updates;
    network.kill(1);
    network.kill(2);
    network.start(1, restarting(1));
    network.start(2, restarting(2));
    network.run(Duration::from_secs(7));
    assert!(network.nodes[&1].synced && network.nodes[&2].synced);
    assert_eq!((network.fib(1).len(), network.fib(2).len()), (4, 4));
    assert_eq!(network.nodes[&3].fib_updates, updates);
}

#[test]
fn a_peer_that_restarts_unseen_takes_over_its_session() {
    let mut network = mesh();
    let updates = network.nodes[&1].fib_updates;
    // Its last words are lost on the way, so 1 holds a session with nobody.
    network.cut(1, 2);
    network.kill(2);
    network.mend(1, 2);
    assert_eq!(network.state(1, 2), State::Established);
    network.start(2, restarting(2));
    network.run(Duration::from_millis(100));
    assert_eq!(network.state(1, 2), State::Established);
    assert_eq!(network.status(1, v4(2)).flaps, 1, "long before the hold time");
    network.wait("in sync", |network| network.nodes[&2].synced);
    network.run(Duration::from_secs(1));
    assert_eq!(network.nodes[&1].fib_updates, updates);
}

#[test]
fn a_restart_is_not_over_before_all_is_known_that_is_to_be_told() {
    let mut network = mesh();
    let updates = network.nodes[&1].fib_updates;
    network.kill(2);
    let mut config = restarting(2);
    config.incomplete = true;
    let peers = std::mem::take(&mut config.peers);
    network.start(2, config.clone());
    network.originate(2, &[]);
    network.run(Duration::from_secs(1));
    assert!(!network.nodes[&2].synced, "its peers are not known yet");
    config.peers = peers;
    network.configure(2, config.clone());
    network.wait_established(1, 2);
    network.run(Duration::from_secs(1));
    assert!(!network.nodes[&2].synced);
    network.originate(2, &["10.2.0.0/24", "fd00:2::/64"]);
    config.incomplete = false;
    network.configure(2, config);
    network.wait("fresh", |network| network.status(1, v4(2)).prefixes_stale == 0);
    assert!(network.nodes[&2].synced);
    assert_eq!(network.nodes[&1].fib_updates, updates);
}
