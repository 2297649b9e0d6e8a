//! Long-lived graceful restart (RFC 9494).

use std::time::Duration;

use super::harness::{Network, v4, with_peers};
use crate::{Config, State};

/// Node 1 hears 10.2.0.0/24 from 2 for long; 3 knows of it and 4 does not, all of one AS.
fn configs() -> [Config; 4] {
    let mut all = [
        with_peers(1, 64512, &[(2, 64512), (3, 64512), (4, 64512)]),
        with_peers(2, 64512, &[(1, 64512)]),
        with_peers(3, 64512, &[(1, 64512)]),
        with_peers(4, 64512, &[(1, 64512)]),
    ];
    all[0].peers.values_mut().for_each(|peer| peer.reflector_client = true);
    for (config, peer) in [(0, 2), (0, 3), (1, 1), (2, 1)] {
        all[config].peers.get_mut(&v4(peer)).unwrap().long_lived_secs = 600;
    }
    all
}

fn network() -> Network {
    let mut network = Network::default();
    for (config, node) in configs().into_iter().zip(1..) {
        network.start(node, config);
    }
    network.wait("all know all", |network| (1..=4).all(|node| network.fib(node).len() == 6));
    network.run(Duration::from_secs(20));
    network
}

/// All that hear of node 2.
const OTHERS: [u8; 3] = [1, 3, 4];

/// Whether a node has the routes of node 2.
fn has(network: &Network, node: u8) -> bool {
    network.fib(node).iter().any(|prefix| prefix.starts_with("10.2."))
}

#[test]
fn routes_stay_behind_all_others_once_the_restart_time_is_over() {
    let mut network = network();
    network.kill(2);
    network.run(Duration::from_secs(29));
    assert!(OTHERS.iter().all(|node| has(&network, *node)));
    network.run(Duration::from_secs(5));
    // Whoever does not know what it means is not told of it any more (§4.3).
    assert!(has(&network, 1) && has(&network, 3) && !has(&network, 4));
    assert_eq!(network.status(1, v4(2)).prefixes_stale, 2);
    // Another way, however bad, is better.
    network.originate(4, &["10.4.0.0/24", "fd00:4::/64", "10.2.0.0/24"]);
    network.wait("the other way", |network| network.hops(1, "10.2.0.0/24") == [v4(4)]);
    network.originate(4, &["10.4.0.0/24", "fd00:4::/64"]);
    network.wait("the old one", |network| network.hops(1, "10.2.0.0/24") == [v4(2)]);
    // In the end they go.
    network.run(Duration::from_secs(600));
    assert!(!has(&network, 1) && !has(&network, 3));
}

#[test]
fn a_peer_that_comes_back_in_that_time_is_one_of_us_again() {
    let mut network = network();
    network.kill(2);
    network.run(Duration::from_secs(300));
    assert!(has(&network, 1));
    let updates = network.nodes[&1].fib_updates;
    let config = Config { restarting: true, ..configs()[1].clone() };
    network.start(2, config);
    network.wait("fresh", |network| network.status(1, v4(2)).prefixes_stale == 0);
    network.run(Duration::from_secs(1000));
    assert!(OTHERS.iter().all(|node| has(&network, *node)));
    assert_eq!(network.nodes[&1].fib_updates, updates, "it forwarded all the while");

    // Without its forwarding state it begins anew.
    network.kill(2);
    network.run(Duration::from_secs(300));
    let updates = network.nodes[&1].fib_updates;
    network.start(2, configs()[1].clone());
    network
        .wait("told anew", |network| network.state(1, 2) == State::Established && has(network, 4));
    assert!(network.nodes[&1].fib_updates > updates);
}

#[test]
fn silence_is_what_it_is_for() {
    let mut network = network();
    network.cut(1, 2);
    network.run(Duration::from_secs(15));
    assert_ne!(network.state(1, 2), State::Established);
    assert!(has(&network, 1) && !has(&network, 4), "at once, without a restart time");
    network.mend(1, 2);
    network.wait("back", |network| has(network, 4));
    network.run(Duration::from_secs(1000));
    assert!(has(&network, 1));
}

#[test]
fn its_time_does_not_begin_anew() {
    let mut network = network();
    network.kill(2);
    network.run(Duration::from_secs(400));
    // It comes, and goes before it has told anything.
    network.start(2, Config { restarting: true, incomplete: true, ..configs()[1].clone() });
    network.wait_established(1, 2);
    network.kill(2);
    network.run(Duration::from_secs(200));
    assert!(has(&network, 1), "kept over it");
    network.run(Duration::from_secs(100));
    assert!(!has(&network, 1), "600 s after the first restart time");
}
