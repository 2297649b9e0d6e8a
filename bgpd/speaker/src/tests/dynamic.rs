//! Peers that are known by their prefix.

use std::time::Duration;

use bgp_wire::HoldTime;
use viaduct_net::Asn;

use super::harness::{HOLD_SECS, Network, prefix, v4, with_peers};
use crate::{Config, PeerConfig, Policy, RangeAsns, RangeConfig, State, Stop};

const RANGE: &str = "192.0.2.0/24";

/// A node 1 of AS 64512 that takes whoever comes of `asns`.
pub(super) fn open(asns: RangeAsns, limit: usize) -> Config {
    let mut config = with_peers(1, 64512, &[]);
    let hold_time = HoldTime::from_secs(HOLD_SECS).unwrap();
    let mut peer = PeerConfig::new(config.asn, Asn::new(0), hold_time);
    (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
    peer.passive = true;
    config.ranges.insert(prefix(RANGE), RangeConfig { peer, asns, limit });
    config
}

pub(super) fn join(network: &mut Network, number: u8, asn: u32) {
    let mut config = with_peers(number, asn, &[(1, 64512)]);
    for peer in config.peers.values_mut() {
        (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
    }
    network.start(number, config);
}

pub(super) fn known(network: &mut Network) -> Vec<(String, u32, State)> {
    let now = network.now();
    let statuses = network.speaker(1).peer_statuses(now);
    let each = |peer: crate::PeerStatus| {
        assert_eq!(peer.range, Some(prefix(RANGE)));
        (peer.address.to_string(), peer.asn.to_u32(), peer.state)
    };
    statuses.into_iter().map(each).collect()
}

#[test]
fn a_peer_is_there_from_its_connection_to_the_end_of_its_session() {
    let mut network = Network::default();
    network.start(1, open(RangeAsns::External, 10));
    assert!(known(&mut network).is_empty());
    join(&mut network, 2, 65002);
    join(&mut network, 3, 65003);
    network.wait("told", |network| network.fib(1).len() == 4);
    let expected = [(v4(2).to_string(), 65002, State::Established), {
        (v4(3).to_string(), 65003, State::Established)
    }];
    assert_eq!(known(&mut network), expected);
    network.shutdown(2, &Stop::Administrative("gone".to_owned()));
    network.run(Duration::from_secs(30));
    assert_eq!(known(&mut network), expected[1..]);
    assert_eq!(network.fib(1), ["10.3.0.0/24", "fd00:3::/64"]);
}

/// Its routes are kept for its restart time (RFC 4724), and it with them.
#[test]
fn a_peer_that_dies_is_there_until_its_routes_go() {
    let mut network = Network::default();
    network.start(1, open(RangeAsns::External, 10));
    join(&mut network, 2, 65002);
    network.wait("told", |network| network.fib(1).len() == 2);
    network.run(Duration::from_secs(10));
    network.kill(2);
    network.run(Duration::from_secs(10));
    assert_eq!(network.fib(1).len(), 2, "stale");
    join(&mut network, 2, 65002);
    network.wait_established(1, 2);
    network.kill(2);
    network.run(Duration::from_secs(60));
    assert_eq!((network.fib(1), known(&mut network)), (Vec::new(), Vec::new()));
}

#[test]
fn only_so_many_and_only_of_these() {
    for (asns, comes) in [
        (RangeAsns::External, [true, true, false]),
        (RangeAsns::Internal, [false, false, true]),
        (RangeAsns::Any([Asn::new(65002)].into()), [true, false, false]),
    ] {
        for (number, asn) in [(2, 65002), (3, 65003), (4, 64512)] {
            let mut network = Network::default();
            network.start(1, open(asns.clone(), 10));
            join(&mut network, number, asn);
            network.run(Duration::from_secs(20));
            let up = network.state(number, 1) == State::Established;
            assert_eq!(up, comes[usize::from(number) - 2], "{asns:?} {asn}");
        }
    }
    let mut network = Network::default();
    network.start(1, open(RangeAsns::External, 2));
    for number in 2..=4 {
        join(&mut network, number, 65000 + u32::from(number));
        network.run(Duration::from_secs(2));
    }
    assert_eq!(known(&mut network).len(), 2);
    let error = network.status(4, v4(1)).last_error.unwrap();
    assert!(error.contains("connection rejected (6/5)"), "{error}");
    // Who leaves makes room.
    network.shutdown(2, &Stop::Administrative(String::new()));
    network.wait("room", |network| network.state(4, 1) == State::Established);
}

#[test]
fn a_changed_range_acts_on_those_who_are_there() {
    let mut network = Network::default();
    let mut config = open(RangeAsns::External, 10);
    network.start(1, config.clone());
    join(&mut network, 2, 65002);
    network.wait("told", |network| network.fib(1).len() == 2);
    let change = |network: &mut Network, config: &Config| {
        network.configure(1, config.clone());
        network.run(Duration::from_millis(10));
    };
    config.ranges.get_mut(&prefix(RANGE)).unwrap().peer.import = Policy::reject_all();
    change(&mut network, &config);
    assert!(network.fib(1).is_empty());
    assert_eq!(network.status(2, v4(1)).flaps, 0, "the session goes on");
    config.ranges.get_mut(&prefix(RANGE)).unwrap().asns = RangeAsns::Any([Asn::new(9)].into());
    change(&mut network, &config);
    assert!(known(&mut network).is_empty());
    config.ranges.clear();
    change(&mut network, &config);
    network.run(Duration::from_secs(20));
    assert_ne!(network.state(2, 1), State::Established);
}
