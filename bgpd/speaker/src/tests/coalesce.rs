//! Changes that wait for more of their kind. 1 tells 3 what 2 says; each message takes a millisecond.

use std::time::Duration;

use bgp_rib::Policy;

use super::harness::{Network, v4, with_peers};
use crate::{Config, RestartTime, Timer};

const WINDOW: Duration = Duration::from_millis(10);
const BASE: &str = "10.9.0.0/16";

fn open(node: u8, asn: u32, peers: &[(u8, u32)]) -> Config {
    let mut config = with_peers(node, asn, peers);
    for peer in config.peers.values_mut() {
        (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
    }
    config
}

/// Each in an AS of its own, and at rest.
fn line(coalesce: Duration) -> Network {
    let mut network = Network::default();
    network.start(1, Config { coalesce, ..open(1, 64501, &[(2, 64502), (3, 64503)]) });
    // Nothing is kept of it when it is lost.
    let teller = open(2, 64502, &[(1, 64501)]);
    network.start(2, Config { restart_time: RestartTime::default(), ..teller });
    network.start(3, open(3, 64503, &[(1, 64501)]));
    network.wait_established(1, 2);
    network.wait_established(1, 3);
    says(&mut network, &[]);
    network.run(Duration::from_secs(1));
    assert!(knows(&network, BASE));
    network
}

/// What 2 tells from now on beside [`BASE`]; two milliseconds later 3 may have heard of it.
fn says(network: &mut Network, prefixes: &[&str]) {
    let all: Vec<_> = [BASE].iter().chain(prefixes).copied().collect();
    network.originate(2, &all);
    network.run(Duration::from_millis(2));
}

fn knows(network: &Network, prefix: &str) -> bool {
    network.fib(3).iter().any(|known| known == prefix)
}

fn updates(network: &mut Network) -> u64 {
    network.status(1, v4(3)).updates_sent
}

/// What wakes 1 next, where that is what it waits for.
fn waits(network: &mut Network) -> bool {
    network.speaker(1).poll_timeout().is_some_and(|deadline| deadline.timer == Timer::Coalesce)
}

#[test]
fn after_a_rest_the_first_change_is_told_at_once_and_the_next_ones_together() {
    let mut network = line(WINDOW);
    let before = updates(&mut network);
    says(&mut network, &["10.8.1.0/24"]);
    assert!(knows(&network, "10.8.1.0/24") && !waits(&mut network));
    assert_eq!(updates(&mut network), before + 1);
    says(&mut network, &["10.8.1.0/24", "10.8.2.0/24"]);
    assert!(!knows(&network, "10.8.2.0/24") && waits(&mut network));
    says(&mut network, &["10.8.1.0/24", "10.8.2.0/24", "10.8.3.0/24"]);
    assert_eq!(updates(&mut network), before + 1);
    // Heard by 1 a millisecond after the first was told.
    network.run(Duration::from_millis(6));
    assert_eq!(updates(&mut network), before + 2, "one message for both");
    network.run(Duration::from_millis(1));
    assert!(knows(&network, "10.8.2.0/24") && knows(&network, "10.8.3.0/24"));
    assert!(!waits(&mut network));
}

#[test]
fn what_comes_and_goes_meanwhile_is_not_told() {
    let mut network = line(WINDOW);
    says(&mut network, &["10.8.1.0/24"]);
    let before = updates(&mut network);
    says(&mut network, &["10.8.1.0/24", "10.8.2.0/24"]);
    assert!(waits(&mut network));
    says(&mut network, &["10.8.1.0/24"]);
    network.run(Duration::from_secs(1));
    assert_eq!(updates(&mut network), before);
    assert!(!waits(&mut network));
}

#[test]
fn many_changes_and_the_loss_of_a_session_do_not_wait() {
    let mut network = line(WINDOW);
    says(&mut network, &["10.8.1.0/24"]);
    let many: Vec<_> = (0..300).map(|i| format!("10.7.{}.{}/32", i / 200, i % 200)).collect();
    says(&mut network, &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(knows(&network, &many[299]) && !knows(&network, "10.8.1.0/24"));
    says(&mut network, &["10.8.3.0/24"]);
    assert!(!waits(&mut network), "300 have gone as well");

    says(&mut network, &["10.8.3.0/24", "10.8.4.0/24"]);
    assert!(waits(&mut network));
    let without = open(1, 64501, &[(3, 64503)]);
    network.configure(1, Config { coalesce: WINDOW, ..without });
    network.run(Duration::from_millis(1));
    assert_eq!(network.fib(3), ["10.1.0.0/24", "fd00:1::/64"]);
    assert!(!waits(&mut network));
}

#[test]
fn a_loss_does_not_wait_with_what_the_lost_one_has_changed() {
    let mut network = line(WINDOW);
    // All that 2 tells waits already.
    network.originate(2, &[]);
    network.run(Duration::from_millis(2));
    assert!(!knows(&network, BASE));
    says(&mut network, &[]);
    assert!(!knows(&network, BASE) && waits(&mut network));
    let before = updates(&mut network);
    network.kill(2);
    network.run(Duration::from_millis(1));
    assert!(!waits(&mut network), "it is gone before it was told");
    assert_eq!(updates(&mut network), before);
}

#[test]
fn who_asks_for_the_table_is_told_what_waited() {
    let mut network = line(WINDOW);
    says(&mut network, &["10.8.1.0/24"]);
    says(&mut network, &["10.8.1.0/24", "10.8.2.0/24"]);
    assert!(waits(&mut network));
    // A policy that is another has 3 told anew.
    let mut config = network.speaker(1).config().as_ref().clone();
    config.peers.get_mut(&v4(3)).unwrap().export = Policy::new([]);
    network.configure(1, config);
    network.run(Duration::from_millis(1));
    assert!(network.fib(3).iter().all(|known| known.contains("10.3") || known.contains("fd00:3")));
    let mut config = network.speaker(1).config().as_ref().clone();
    config.peers.get_mut(&v4(3)).unwrap().export = Policy::accept_all();
    network.configure(1, config);
    network.run(Duration::from_millis(1));
    assert!(knows(&network, "10.8.2.0/24") && !waits(&mut network));
}

#[test]
fn without_a_time_nothing_waits_and_a_shorter_one_counts_at_once() {
    let mut network = line(Duration::ZERO);
    for i in 1..5 {
        let before = updates(&mut network);
        let all: Vec<_> = (1..=i).map(|i| format!("10.8.{i}.0/24")).collect();
        says(&mut network, &all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(updates(&mut network), before + 1);
        assert!(knows(&network, &all[i - 1]));
    }
    let with = |network: &mut Network, coalesce| {
        let config = network.speaker(1).config().as_ref().clone();
        network.configure(1, Config { coalesce, ..config });
    };
    with(&mut network, Duration::from_secs(1));
    says(&mut network, &["10.8.1.0/24"]);
    assert!(waits(&mut network) && knows(&network, "10.8.4.0/24"));
    with(&mut network, Duration::ZERO);
    network.run(Duration::from_millis(1));
    assert!(!waits(&mut network) && !knows(&network, "10.8.4.0/24"));
}
