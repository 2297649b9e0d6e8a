//! Limits of prefixes, times of one's own, and a peer that is held down with a word.

use std::time::Duration;

use bgp_wire::HoldTime;

use super::harness::{HOLD_SECS, Network, v4, with_peers};
use crate::{Config, LimitAction, PeerConfig, PeerTimes, PrefixLimits, State};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Node 1 with something said of its peer, node 2.
fn pair(say: impl FnOnce(&mut PeerConfig)) -> (Network, Config) {
    let mut network = Network::default();
    let mut config = with_peers(1, 64512, &[(2, 64512)]);
    say(config.peers.get_mut(&v4(2)).unwrap());
    network.start(1, config.clone());
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    network.wait("told", |network| network.fib(1).len() == 2);
    (network, config)
}

fn limits(v4: u32, action: LimitAction) -> PrefixLimits {
    PrefixLimits { v4: Some(v4), action, ..PrefixLimits::default() }
}

const MANY: [&str; 4] = ["10.2.0.0/24", "10.2.1.0/24", "10.2.2.0/24", "fd00:2::/64"];

#[test]
fn one_prefix_too_many_ends_the_session_until_the_operator_says() {
    let (mut network, mut config) = pair(|peer| peer.prefix_limits = limits(2, LimitAction::Close));
    network.originate(2, &MANY);
    network.run(Duration::from_millis(10));
    assert!(network.fib(1).is_empty());
    let error = network.status(1, v4(2)).last_error.unwrap();
    let words = "sent: hard reset: maximum number of prefixes reached (6/1): more than 2 IPv4 \
                 prefixes; down until the peer's configuration changes";
    assert_eq!(error.to_lowercase(), words.to_lowercase());
    network.run(secs(3600));
    assert_eq!(network.state(1, 2), State::Idle, "and incoming connections are refused");
    assert_eq!(network.status(1, v4(2)).flaps, 1);
    config.peers.get_mut(&v4(2)).unwrap().prefix_limits.v4 = Some(3);
    network.configure(1, config);
    network.wait("let up", |network| network.fib(1).len() == 4);
}

#[test]
fn after_its_time_a_session_comes_back() {
    let action = LimitAction::CloseFor(secs(60));
    let (mut network, _) = pair(|peer| peer.prefix_limits = limits(2, action));
    network.originate(2, &MANY);
    network.run(Duration::from_millis(10));
    network.originate(2, &MANY[..1]);
    network.run(secs(59));
    assert_eq!(network.state(1, 2), State::Idle);
    network.wait_established(1, 2);
    network.run(Duration::from_millis(10));
    assert_eq!(network.fib(1), ["10.2.0.0/24"]);
}

#[test]
fn warnings_are_given_once_each_and_take_nothing() {
    let (mut network, _) = pair(|peer| peer.prefix_limits = limits(2, LimitAction::Warn));
    let warnings = |network: &mut Network| network.status(1, v4(2)).limit_warnings;
    assert_eq!(warnings(&mut network), 1, "one of two is 50 %, but 75 % of two is one");
    network.originate(2, &MANY);
    network.run(Duration::from_millis(10));
    assert_eq!((network.fib(1).len(), warnings(&mut network)), (4, 2));
    network.originate(2, &MANY[..1]);
    network.run(Duration::from_millis(10));
    network.originate(2, &MANY);
    network.run(Duration::from_millis(10));
    assert_eq!((network.fib(1).len(), warnings(&mut network)), (4, 3), "over it once more");
    assert_eq!(network.status(1, v4(2)).flaps, 0);
}

#[test]
fn a_limit_below_what_is_there_acts_at_once_and_a_higher_one_is_not_noticed() {
    let (mut network, mut config) = pair(|_| {});
    let mut limit = |network: &mut Network, v4_limit| {
        config.peers.get_mut(&v4(2)).unwrap().prefix_limits = limits(v4_limit, LimitAction::Close);
        network.configure(1, config.clone());
        network.run(Duration::from_millis(10));
        (network.state(1, 2), network.status(1, v4(2)).flaps)
    };
    assert_eq!(limit(&mut network, 9), (State::Established, 0));
    assert_eq!(limit(&mut network, 0), (State::Idle, 1));
}

#[test]
fn times_of_ones_own() {
    let times =
        PeerTimes { keepalive: Some(secs(1)), connect_retry: secs(60), ..PeerTimes::default() };
    let (mut network, mut config) = pair(|peer| peer.times = times);
    let sent = network.status(1, v4(2)).messages_sent;
    network.run(secs(100));
    let keepalives = network.status(1, v4(2)).messages_sent - sent;
    assert!((100..=134).contains(&keepalives), "one a second, less jitter: {keepalives}");
    // What concerns no session that stands waits for its turn.
    config.peers.get_mut(&v4(2)).unwrap().times = PeerTimes::default();
    network.configure(1, config);
    network.run(secs(u64::from(HOLD_SECS)));
    assert_eq!(network.status(1, v4(2)).flaps, 0);
}

#[test]
fn a_peer_is_told_of_changes_no_more_often_than_it_is_to_be() {
    let times = PeerTimes { advertisement: secs(10), ..PeerTimes::default() };
    let (mut network, _) = pair(|peer| peer.times = times);
    network.run(secs(30));
    let sent = |network: &mut Network| network.status(1, v4(2)).updates_sent;
    let has = |network: &Network, text: &str| network.fib(2).contains(&text.to_owned());
    let before = sent(&mut network);
    network.originate(1, &["10.1.7.0/24"]);
    network.run(secs(1));
    assert!(has(&network, "10.1.7.0/24"), "after a rest at once");
    let first = sent(&mut network);
    for _ in 0..3 {
        for prefixes in [&[][..], &["10.1.8.0/24", "10.1.7.0/24"], &["10.1.8.0/24"]] {
            network.originate(1, prefixes);
            network.run(secs(1) / 2);
        }
    }
    assert_eq!(sent(&mut network), first, "less than three quarters of the time have passed");
    assert!(has(&network, "10.1.7.0/24") && !has(&network, "10.1.8.0/24"));
    network.run(secs(5));
    assert!(!has(&network, "10.1.7.0/24") && has(&network, "10.1.8.0/24"), "what is so by then");
    assert!(sent(&mut network) - first <= first - before + 1, "in a message each way");
}

#[test]
fn a_peer_that_does_not_read_is_left_after_its_send_hold_time() {
    let times = PeerTimes { send_hold: Some(secs(20)), ..PeerTimes::default() };
    let (mut network, _) = pair(|peer| (peer.times, peer.hold_time) = (times, HoldTime::INFINITE));
    network.deaf.insert(2);
    network.originate(1, &["10.1.7.0/24"]);
    network.run(secs(19));
    assert_eq!(network.state(1, 2), State::Established);
    network.run(secs(2));
    let error = network.status(1, v4(2)).last_error.unwrap();
    assert!(error.contains("send hold timer expired (RFC 9687)"), "{error}");
}

#[test]
fn a_peer_that_is_shut_down_is_told_why_and_the_operator_here_too() {
    let (mut network, mut config) = pair(|_| {});
    let peer = config.peers.get_mut(&v4(2)).unwrap();
    (peer.shutdown, peer.shutdown_message) = (true, Some("new cables".to_owned()));
    network.configure(1, config.clone());
    network.run(Duration::from_millis(10));
    let there = network.status(2, v4(1)).last_error.unwrap();
    assert_eq!(there, r#"received: hard reset: administrative shutdown (6/2): "new cables""#);
    let here = network.status(1, v4(2)).last_error.unwrap();
    assert_eq!(here, r#"shut down by configuration: "new cables""#);
    let peer = config.peers.get_mut(&v4(2)).unwrap();
    (peer.shutdown, peer.shutdown_message) = (false, None);
    network.configure(1, config);
    network.wait_established(1, 2);
}
