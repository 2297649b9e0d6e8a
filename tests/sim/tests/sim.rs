//! Speakers that are left alone agree, whatever has happened to them.

use std::{process::Command, time::Duration};

use viaduct_sim::{Dice, Network, Topology, check, disturb, put_right, seeds};

/// Longer than every timer that may still keep something.
const QUIET: Duration = Duration::from_secs(400);

fn how(test: &str, seed: u64, network: &Network) -> String {
    let name = &network.topology.name;
    format!("{name} (SEED={seed} cargo test -p viaduct-sim {test})")
}

/// A random network for a while; then it is put right and left alone.
fn disturbed(seed: u64) -> Network {
    let mut dice = Dice::new(seed);
    let mut network = Network::new(Topology::any(&mut dice), seed);
    network.start_all();
    for _ in 0..10 + dice.below(60) {
        disturb(&mut network, &mut dice);
    }
    put_right(&mut network);
    network.run(QUIET);
    network
}

#[test]
fn speakers_agree_after_any_disturbance() {
    for seed in seeds(60) {
        let network = disturbed(seed);
        let why = how("speakers_agree_after_any_disturbance", seed, &network);
        check(&network, &why);
    }
}

/// Once all is said nobody says anything more.
#[test]
fn a_quiet_network_is_silent() {
    for seed in seeds(10) {
        let mut dice = Dice::new(seed);
        let mut network = Network::new(Topology::any(&mut dice), seed);
        network.start_all();
        network.run(Duration::from_secs(60));
        let why = how("a_quiet_network_is_silent", seed, &network);
        check(&network, &why);
        let said = updates_sent(&network);
        network.run(Duration::from_secs(600));
        assert_eq!(updates_sent(&network), said, "{why}");
    }
}

fn updates_sent(network: &Network) -> u64 {
    let speakers = network.nodes.iter().filter_map(|node| node.speaker.as_ref());
    let statuses = speakers.flat_map(|speaker| speaker.peer_statuses(network.instant()));
    statuses.map(|status| status.updates_sent).sum()
}

const TOLD_SEED: &str = "VIADUCT_SIM_TOLD_SEED";

/// Twice in this process, and once in another, where every hash map is laid out otherwise.
#[test]
fn a_seed_is_a_trace() {
    if let Ok(seed) = std::env::var(TOLD_SEED) {
        println!("trace {}", disturbed(seed.parse().unwrap()).trace.hash());
        return;
    }
    let mut hashes = std::collections::BTreeSet::new();
    for seed in seeds(3) {
        let network = disturbed(seed);
        let hash = network.trace.hash();
        let why = how("a_seed_is_a_trace", seed, &network);
        assert_eq!(disturbed(seed).trace.hash(), hash, "{why}");
        let other = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_seed_is_a_trace", "--nocapture"])
            .env(TOLD_SEED, seed.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&other.stdout);
        assert!(said.contains(&format!("trace {hash}")), "{why}: {said}");
        assert!(hashes.insert(hash), "{why}: the trace of another seed");
    }
}
