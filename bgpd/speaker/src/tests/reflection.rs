//! Two reflectors and their clients (RFC 4456), as whole speakers.

use std::time::Duration;

use super::harness::{Network, v4, v6, with_peers};
use crate::{Config, State, Stop};

const AS: u32 = 64512;
const CLIENTS: [u8; 3] = [1, 2, 3];
const REFLECTORS: [u8; 2] = [8, 9];

fn client(node: u8) -> Config {
    with_peers(node, AS, &REFLECTORS.map(|reflector| (reflector, AS)))
}

fn reflector(node: u8) -> Config {
    let others = REFLECTORS.into_iter().filter(|other| *other != node);
    let peers: Vec<_> = CLIENTS.into_iter().chain(others).map(|peer| (peer, AS)).collect();
    let mut config = with_peers(node, AS, &peers);
    for client in CLIENTS {
        config.peers.get_mut(&v4(client)).unwrap().reflector_client = true;
    }
    config
}

fn network() -> Network {
    let mut network = Network::default();
    for node in CLIENTS {
        network.start(node, client(node));
    }
    for node in REFLECTORS {
        network.start(node, reflector(node));
        network.originate(node, &[]);
    }
    network.wait("whole", is_whole);
    network
}

/// Every client has the blocks of the two others, by way of both reflectors.
fn is_whole(network: &mut Network) -> bool {
    CLIENTS.iter().all(|&node| {
        network.fib(node).len() == 4 && {
            let told = REFLECTORS.map(|peer| network.status(node, v4(peer)).prefixes_accepted);
            told == [4, 4]
        }
    })
}

#[test]
fn clients_reach_each_other_directly_in_both_families() {
    let mut network = network();
    for node in CLIENTS {
        for other in CLIENTS.into_iter().filter(|other| *other != node) {
            assert_eq!(network.hops(node, &format!("10.{other}.0.0/24")), [v4(other)]);
            assert_eq!(network.hops(node, &format!("fd00:{other}::/64")), [v6(other)]);
        }
    }
    let paths: Vec<_> = network
        .speaker(1)
        .paths()
        .map(|path| (path.prefix.to_string(), path.reason, path.attributes.open()))
        .collect();
    let own = paths.iter().filter(|(prefix, ..)| prefix == "10.1.0.0/24").count();
    assert_eq!(own, 1, "a reflector does not echo: {paths:?}");
    let reflected = &paths.iter().find(|(prefix, ..)| prefix == "10.2.0.0/24").unwrap().2;
    assert_eq!(reflected.originator_id.unwrap().to_string(), "192.0.2.2");
    assert_eq!(reflected.cluster_list.len(), 1);
    assert_eq!(reflected.local_pref, Some(100));
}

#[test]
fn a_reflector_that_dies_or_leaves_costs_nothing() {
    for leaves in [false, true] {
        let mut network = network();
        let before: Vec<_> = CLIENTS.map(|node| network.nodes[&node].fib_updates).into();
        if leaves {
            network.shutdown(8, &Stop::Administrative("night".to_owned()));
        }
        network.kill(8);
        network.run(Duration::from_secs(120));
        assert!(CLIENTS.iter().all(|&node| network.fib(node).len() == 4));
        assert_eq!(before, CLIENTS.map(|node| network.nodes[&node].fib_updates));
        network.start(8, reflector(8));
        network.originate(8, &[]);
        network.wait("whole again", is_whole);
        assert_eq!(before, CLIENTS.map(|node| network.nodes[&node].fib_updates));
    }
}

/// The only reflector restarts: routes are kept (RFC 4724), and End-of-RIB follows what it tells.
#[test]
fn a_lone_reflector_restarts_unnoticed() {
    let mut network = network();
    network.kill(9);
    network.run(Duration::from_secs(120));
    let before = CLIENTS.map(|node| network.nodes[&node].fib_updates);
    network.kill(8);
    network.run(Duration::from_secs(1));
    let mut again = reflector(8);
    again.peers.remove(&v4(9));
    again.restarting = true;
    network.start(8, again);
    network.originate(8, &[]);
    network.wait("nothing is stale", |network| {
        CLIENTS.iter().all(|&node| {
            let status = network.status(node, v4(8));
            status.state == State::Established
                && status.prefixes_stale == 0
                && status.prefixes_accepted == 4
        })
    });
    assert_eq!(before, CLIENTS.map(|node| network.nodes[&node].fib_updates));
}

#[test]
fn a_client_that_dies_leaves_the_others() {
    let mut network = network();
    network.shutdown(3, &Stop::Administrative("gone".to_owned()));
    network.kill(3);
    network.wait("its routes are gone", |network| {
        [1, 2].iter().all(|&node| network.fib(node).len() == 2)
    });
    assert_eq!(network.status(1, v4(8)).flaps, 0);
}

#[test]
fn being_a_client_begins_and_ends_without_a_flap() {
    let mut network = network();
    network.kill(9);
    network.run(Duration::from_secs(120));
    let mut config = reflector(8);
    config.peers.get_mut(&v4(1)).unwrap().reflector_client = false;
    config.peers.get_mut(&v4(2)).unwrap().reflector_client = false;
    network.configure(8, config.clone());
    network.run(Duration::from_secs(1));
    // A non-client is told of the client only; the client still of everybody.
    assert_eq!(network.fib(1), ["10.3.0.0/24", "fd00:3::/64"]);
    assert_eq!(network.fib(3).len(), 4);
    config.peers.get_mut(&v4(3)).unwrap().reflector_client = false;
    network.configure(8, config);
    network.run(Duration::from_secs(1));
    assert!(CLIENTS.iter().all(|&node| network.fib(node).is_empty()));
    network.configure(8, reflector(8));
    network.run(Duration::from_secs(1));
    for node in CLIENTS {
        assert_eq!(network.fib(node).len(), 4);
        assert_eq!(network.status(node, v4(8)).flaps, 0);
    }
}

#[test]
fn another_cluster_id_is_told_without_a_flap() {
    let mut network = network();
    let mut config = reflector(8);
    config.cluster_id = "0.0.0.7".parse().unwrap();
    network.configure(8, config);
    network.run(Duration::from_secs(1));
    let clusters: std::collections::BTreeSet<_> =
        network.speaker(1).paths().flat_map(|path| path.attributes.open().cluster_list).collect();
    let clusters: Vec<_> = clusters.iter().map(ToString::to_string).collect();
    assert_eq!(clusters, ["0.0.0.7", "192.0.2.9"]);
    assert_eq!(network.status(1, v4(8)).flaps, 0);
}

/// One cluster id for both: neither takes from the other what has been through the cluster.
#[test]
fn reflectors_of_one_cluster_refuse_each_others_paths() {
    let mut network = network();
    for node in REFLECTORS {
        let mut config = reflector(node);
        config.cluster_id = "0.0.0.7".parse().unwrap();
        network.configure(node, config);
    }
    network.run(Duration::from_secs(1));
    assert!(is_whole(&mut network));
    let status = network.status(8, v4(9));
    assert_eq!((status.prefixes_received, status.prefixes_accepted), (6, 0));
    let rejected = network.speaker(8).paths().filter(|path| path.reason.is_rejected()).count();
    assert_eq!(rejected, 6);
}
