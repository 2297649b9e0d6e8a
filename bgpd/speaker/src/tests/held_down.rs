//! Peers that this machine has no means to speak to.

use std::{sync::Arc, time::Duration};

use super::{
    dynamic::{join, known, open},
    harness::{Network, v4, with_peers},
};
use crate::{Config, RangeAsns, State};

const OBSTACLE: &str = "tcpAo: the kernel has none";

/// What was said of being held down since this was asked last.
fn held_down(network: &mut Network) -> Vec<String> {
    let events = std::iter::from_fn(|| network.speaker(1).poll_event());
    let these = events.filter(|event| event.what.name() == "held-down");
    these.map(|event| event.what.to_string()).collect()
}

fn pair(obstacle: Option<&str>) -> Config {
    let mut config = with_peers(1, 64512, &[(2, 64512)]);
    config.peers.get_mut(&v4(2)).unwrap().obstacle = obstacle.map(Arc::from);
    config
}

/// Whoever connects: neither side gets further, and what is said is why.
#[test]
fn no_connection_is_made_or_taken_until_there_is_a_means() {
    let mut network = Network::default();
    network.start(1, pair(Some(OBSTACLE)));
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    assert_eq!(held_down(&mut network), [OBSTACLE]);
    network.run(Duration::from_secs(120));
    assert_eq!(network.state(1, 2), State::Idle);
    assert_ne!(network.state(2, 1), State::Established);
    assert_eq!(network.status(1, v4(2)).last_error.as_deref(), Some(OBSTACLE));
    // The start waits for nobody who cannot come, and an operator counts it all the same.
    let counts = network.speaker(1).session_counts();
    assert_eq!((counts.configured, counts.established), (1, 0));
    network.configure(1, pair(None));
    network.wait_established(1, 2);
    network.configure(1, pair(Some(OBSTACLE)));
    network.run(Duration::from_secs(120));
    assert_eq!(network.state(1, 2), State::Idle);
    assert_eq!(network.status(1, v4(2)).last_error.as_deref(), Some(OBSTACLE));
}

#[test]
fn nobody_of_a_range_is_taken_and_the_range_says_why() {
    let mut network = Network::default();
    let held = |obstacle: Option<&str>| {
        let mut config = open(RangeAsns::External, 10);
        for range in config.ranges.values_mut() {
            range.peer.obstacle = obstacle.map(Arc::from);
        }
        config
    };
    network.start(1, held(Some(OBSTACLE)));
    assert_eq!(held_down(&mut network), [format!("192.0.2.0/24: {OBSTACLE}")]);
    join(&mut network, 2, 65002);
    network.run(Duration::from_secs(120));
    assert!(known(&mut network).is_empty());
    network.configure(1, held(None));
    network.wait("told", |network| network.fib(1).len() == 2);
    network.configure(1, held(Some(OBSTACLE)));
    network.run(Duration::from_secs(1));
    assert!(known(&mut network).is_empty());
    assert_eq!(held_down(&mut network).len(), 1);
}
