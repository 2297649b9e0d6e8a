use std::time::Duration;

use bgp_wire::HoldTime;

use super::harness::{HOLD_SECS, Network, prefix, v4, with_peers};
use crate::{Policy, SEND_BUFFER_BYTES, State, Stop, Timer};

fn pair(a_asn: u32, b_asn: u32) -> Network {
    let mut network = Network::default();
    network.start(1, with_peers(1, a_asn, &[(2, b_asn)]));
    network.start(2, with_peers(2, b_asn, &[(1, a_asn)]));
    network
}

#[test]
fn two_speakers_establish_and_tell_both_families_over_one_session() {
    let mut network = pair(64512, 64512);
    network.wait("everything told", |network| {
        network.nodes.values().all(|node| node.synced && node.fib.len() == 2)
    });
    assert_eq!(network.fib(1), ["10.2.0.0/24", "fd00:2::/64"]);
    assert_eq!(network.hops(1, "10.2.0.0/24"), [v4(2)]);
    assert_eq!(network.hops(1, "fd00:2::/64"), [super::harness::v6(2)]);
    let status = network.status(1, v4(2));
    assert_eq!(status.hold_time_secs, HOLD_SECS);
    assert_eq!(status.router_id.unwrap().to_string(), "192.0.2.2");
    assert_eq!((status.prefixes_received, status.prefixes_sent), (2, 2));
}

#[test]
fn four_octet_as_numbers_pass() {
    let mut network = pair(4_200_000_001, 70_000);
    network.wait_established(1, 2);
    assert!(network.fib(1).is_empty(), "RFC 8212: nothing passes the border without a policy");
}

#[test]
fn a_session_lasts_by_its_keepalives() {
    let mut network = pair(64512, 64512);
    network.wait_established(1, 2);
    network.run(Duration::from_secs(3600));
    assert_eq!(network.state(1, 2), State::Established);
    assert_eq!(network.status(1, v4(2)).flaps, 0);
    // One for each third of the hold time, less jitter, and no flood.
    let sent = network.status(1, v4(2)).messages_sent;
    assert!((1200..=1610).contains(&sent), "{sent}");
}

#[test]
fn silence_ends_a_session_after_the_hold_time() {
    let mut network = pair(64512, 64512);
    network.wait_established(1, 2);
    network.run(Duration::from_secs(20));
    network.cut(1, 2);
    network.run(Duration::from_secs(u64::from(HOLD_SECS) - 3));
    assert_eq!(network.state(1, 2), State::Established);
    network.run(Duration::from_secs(4));
    assert_ne!(network.state(1, 2), State::Established);
    let status = network.status(1, v4(2));
    assert_eq!(status.flaps, 1);
    assert_eq!(status.last_error.as_deref(), Some("sent: hold timer expired (4/0)"));
    network.mend(1, 2);
    network.wait("told again", |network| network.fib(1).len() == 2);
}

#[test]
fn the_wrong_as_is_refused_with_growing_patience() {
    let mut network = Network::default();
    network.start(1, with_peers(1, 64512, &[(2, 65001)]));
    network.start(2, with_peers(2, 65002, &[(1, 64512)]));
    network.run(Duration::from_secs(600));
    let status = network.status(1, v4(2));
    assert_ne!(status.state, State::Established);
    let error = status.last_error.unwrap();
    assert!(error.contains("bad peer AS (2/2)"), "{error}");
    assert!(status.messages_sent < 120, "{}", status.messages_sent);
}

#[test]
fn a_passive_peer_waits() {
    let mut network = Network::default();
    let mut waits = with_peers(1, 64512, &[(2, 64512)]);
    waits.peers.get_mut(&v4(2)).unwrap().passive = true;
    network.start(1, waits);
    assert_eq!(network.state(1, 2), State::Active);
    assert_eq!(network.speaker(1).poll_timeout().unwrap().timer, Timer::SelectionDeferral);
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    network.wait_established(1, 2);
}

#[test]
fn a_shutdown_is_told_with_its_words_and_routes_leave_at_once() {
    let mut network = pair(64512, 64512);
    network.wait("told", |network| network.fib(1).len() == 2);
    network.shutdown(2, &Stop::Administrative("new cables".to_owned()));
    network.run(Duration::from_millis(10));
    assert!(network.fib(1).is_empty());
    let error = network.status(1, v4(2)).last_error.unwrap();
    let words = r#"received: hard reset: administrative shutdown (6/2): "new cables""#;
    assert_eq!(error, words, "RFC 8538: anything less would leave the routes stale");
}

#[test]
fn withdrawals_pass() {
    let mut network = pair(64512, 64512);
    network.wait("told", |network| network.fib(1).len() == 2);
    network.originate(2, &["fd00:2::/64", "198.51.100.7/32"]);
    network.run(Duration::from_millis(10));
    assert_eq!(network.fib(1), ["198.51.100.7/32", "fd00:2::/64"]);
    assert_eq!(network.status(2, v4(1)).prefixes_sent, 2);
    network.originate(2, &[]);
    network.run(Duration::from_millis(10));
    assert!(network.fib(1).is_empty());
    assert_eq!(network.status(2, v4(1)).prefixes_sent, 0);
}

#[test]
fn many_prefixes_pass_though_the_buffer_is_small() {
    let mut network = pair(64512, 64512);
    network.wait_established(1, 2);
    let many: Vec<_> = (0..20_000)
        .map(|n| format!("10.{}.{}.{}/32", n >> 14, n >> 6 & 255, n << 2 & 255))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    network.originate(2, &many);
    network.wait("all told", |network| network.nodes[&1].fib.len() == 20_000);
    assert!(network.nodes[&1].fib.contains_key(&prefix("10.1.1.4/32")));
}

#[test]
fn a_peer_that_does_not_read_holds_up_nobody_and_is_cut_off_in_the_end() {
    let mut network = Network::default();
    let configs = [
        with_peers(1, 64512, &[(2, 64512), (3, 64512)]),
        with_peers(2, 64512, &[(1, 64512)]),
        with_peers(3, 64512, &[(1, 64512)]),
    ];
    for (mut config, node) in configs.into_iter().zip(1..) {
        // Without a hold time nothing else would notice.
        config.peers.values_mut().for_each(|peer| peer.hold_time = HoldTime::INFINITE);
        network.start(node, config);
    }
    network.wait("told", |network| network.fib(2).len() == 2 && network.fib(3).len() == 2);
    network.deaf.insert(2);
    for round in 0..5 {
        let many: Vec<_> = (0..16_384)
            .map(|n| format!("10.{}.{}.{}/32", 100 + round, n >> 6 & 255, n << 2 & 255))
            .collect();
        network.originate(1, &many.iter().map(String::as_str).collect::<Vec<_>>());
    }
    network.run(Duration::from_secs(1));
    assert_eq!(network.nodes[&3].fib.len(), 16_384, "the other peer knows all");
    let waiting = network.status(1, v4(2)).unwritten;
    assert!((SEND_BUFFER_BYTES..SEND_BUFFER_BYTES * 2).contains(&waiting), "{waiting}");
    network.run(Duration::from_secs(470));
    assert_eq!(network.state(1, 2), State::Established);
    network.run(Duration::from_secs(20));
    let status = network.status(1, v4(2));
    assert_eq!(status.flaps, 1);
    network.deaf.clear();
    network.wait("back with all", |network| network.nodes[&2].fib.len() == 16_384);
}

#[test]
fn a_peer_that_tells_too_much_is_parted_from_for_longer_each_time() {
    let mut network = Network::default();
    let mut modest = with_peers(1, 64512, &[(2, 64512)]);
    modest.peers.get_mut(&v4(2)).unwrap().max_prefixes = 2;
    network.start(1, modest);
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    network.wait("told", |network| network.fib(1).len() == 2);
    network.originate(2, &["10.2.0.0/24", "10.2.1.0/24", "10.2.2.0/24"]);
    network.run(Duration::from_millis(10));
    assert!(network.fib(1).is_empty(), "not kept as by a restart");
    let error = network.status(2, v4(1)).last_error.unwrap();
    assert!(error.contains("maximum number of prefixes reached (6/1)"), "{error}");
    network.run(Duration::from_secs(600));
    let flaps = network.status(1, v4(2)).flaps;
    assert!((3..25).contains(&flaps), "{flaps}");
    network.originate(2, &["10.2.0.0/24"]);
    network.wait("told again", |network| network.fib(1) == ["10.2.0.0/24"]);
}

#[test]
fn the_border_passes_what_policy_says_with_its_as_in_front() {
    let mut network = Network::default();
    let mut inside = with_peers(1, 64512, &[(2, 65000)]);
    let border = inside.peers.get_mut(&v4(2)).unwrap();
    border.export = Policy::accept_all();
    border.import = Policy::accept_all();
    network.start(1, inside);
    let mut outside = with_peers(2, 65000, &[(1, 64512)]);
    outside.peers.get_mut(&v4(1)).unwrap().import = Policy::accept_all();
    network.start(2, outside);
    network.wait("told", |network| network.fib(2).len() == 2);
    assert!(network.fib(1).is_empty(), "the other side exports nothing");
    let path = network.speaker(2).paths().find(|path| path.peer.is_some()).unwrap();
    assert_eq!(path.attributes.open().as_path.to_string(), "64512");
    assert_eq!(path.attributes.open().local_pref, None);
}

#[test]
fn the_same_seeds_give_the_same_run() {
    let run = || {
        let mut network = pair(64512, 64512);
        network.run(Duration::from_secs(100));
        network.kill(2);
        network.run(Duration::from_secs(10));
        network.start(2, with_peers(2, 64512, &[(1, 64512)]));
        network.run(Duration::from_secs(100));
        network.trace
    };
    let (one, other) = (run(), run());
    assert!(one.len() > 50);
    assert_eq!(one, other);
}
