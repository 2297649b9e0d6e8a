//! Whatever happens to them, speakers that are left alone afterwards agree on everything.

use std::{collections::BTreeSet, time::Duration};

use super::harness::{Network, own, v4, with_peers};
use crate::{Config, State, Stop, rng::Rng};

const NODES: u8 = 4;
const ASN: u32 = 64512;

fn mesh_config(node: u8, restarting: bool) -> Config {
    let peers: Vec<_> =
        (1..=NODES).filter(|other| *other != node).map(|other| (other, ASN)).collect();
    let mut config = with_peers(node, ASN, &peers);
    config.restarting = restarting;
    config
}

/// REPEAT times as many in a soak test.
fn seeds(in_ci: u64) -> u64 {
    in_ci * std::env::var("REPEAT").map_or(1, |text| text.parse::<u64>().unwrap())
}

/// One thing that can happen, chosen by the dice.
fn happen(network: &mut Network, rng: &mut Rng) {
    let node = 1 + rng.below(NODES.into()) as u8;
    let other = 1 + (node + rng.below(u64::from(NODES) - 1) as u8) % NODES;
    let alive = network.nodes.contains_key(&node);
    match rng.below(10) {
        0 | 1 if alive => network.kill(node),
        2 if alive => {
            network.shutdown(node, &Stop::Restart);
            network.kill(node);
        }
        3 if alive => {
            network.shutdown(node, &Stop::Administrative("chaos".to_owned()));
            network.kill(node);
        }
        4 => network.cut(node, other),
        5 => network.mend(node, other),
        6 if alive => {
            let some = format!("10.{node}.{}.0/24", rng.below(3));
            network.originate(node, &[&some]);
        }
        7 if alive => {
            let mut config = mesh_config(node, false);
            config.peers.get_mut(&v4(other)).unwrap().shutdown = rng.below(2) == 0;
            network.configure(node, config);
        }
        8 if alive => {
            let mut config = mesh_config(node, false);
            config.peers.remove(&v4(other));
            network.configure(node, config);
        }
        _ if !alive => network.start(node, mesh_config(node, rng.below(2) == 0)),
        _ => {}
    }
    let millis = [0, 1, 2, 50, 500, 3_000, 15_000][rng.below(7) as usize];
    network.run(Duration::from_millis(millis));
}

#[test]
fn speakers_agree_after_any_disturbance() {
    for seed in 0..seeds(40) {
        let mut rng = Rng::new(seed);
        let mut network = Network::default();
        for node in 1..=NODES {
            network.start(node, mesh_config(node, false));
        }
        for _ in 0..60 {
            happen(&mut network, &mut rng);
        }
        for node in 1..=NODES {
            (1..=NODES).for_each(|other| network.mend(node, other));
            if !network.nodes.contains_key(&node) {
                network.start(node, mesh_config(node, true));
            }
            network.configure(node, mesh_config(node, false));
            let all: Vec<_> = own(node).iter().map(|one| one.prefix.to_string()).collect();
            network.originate(node, &all.iter().map(String::as_str).collect::<Vec<_>>());
        }
        // Longer than every timer that may still keep something.
        network.run(Duration::from_secs(400));
        check(&mut network, seed);
    }
}

fn check(network: &mut Network, seed: u64) {
    for node in 1..=NODES {
        let expected: BTreeSet<_> = (1..=NODES)
            .filter(|other| *other != node)
            .flat_map(own)
            .map(|one| one.prefix)
            .collect();
        let fib: BTreeSet<_> = network.nodes[&node].fib.keys().copied().collect();
        assert_eq!(fib, expected, "seed {seed}, node {node}");
        assert!(network.nodes[&node].synced, "seed {seed}, node {node}");
        for other in (1..=NODES).filter(|other| *other != node) {
            let status = network.status(node, v4(other));
            assert_eq!(status.state, State::Established, "seed {seed}: {node} to {other}");
            assert_eq!(status.prefixes_stale, 0, "seed {seed}: {node} from {other}");
            assert_eq!(status.prefixes_sent, 2, "seed {seed}: {node} to {other}");
            assert_eq!(status.prefixes_received, 2, "seed {seed}: {node} from {other}");
        }
    }
}

/// Octets of a peer, damaged: the speaker may end the session but not itself.
#[test]
fn damaged_octets_end_a_session_and_nothing_else() {
    for seed in 0..seeds(100) {
        let mut rng = Rng::new(seed);
        let mut network = Network::default();
        network.start(1, mesh_config(1, false));
        network.start(2, mesh_config(2, false));
        network.damage = Some(Rng::new(seed));
        network.run(Duration::from_secs(20));
        network.originate(1 + rng.below(2) as u8, &["10.7.0.0/16", "fd07::/16"]);
        network.run(Duration::from_secs(20));
        network.damage = None;
        network.run(Duration::from_secs(200));
        assert_eq!(network.state(1, 2), State::Established, "seed {seed}");
    }
}
