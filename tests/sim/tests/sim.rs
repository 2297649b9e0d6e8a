//! Speakers that are left alone agree, whatever has happened to them.

use std::{collections::BTreeSet, process::Command, time::Duration};

use bgp_rib::Reason;
use bgp_speaker::PeerStatus;
use bgp_wire::PeerKind;
use viaduct_sim::{
    Away, Dice, Known, Network, Topology, check, check_without, disturb, put_right, seeds,
};

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

/// One dies and stays away: what it has told is the last resort where both have agreed on that, and is
/// gone where they have not, and in the end everywhere. Then it is back, and all is as it was.
#[test]
fn whoever_stays_away_is_the_last_resort() {
    for seed in seeds(20) {
        let mut dice = Dice::new(seed);
        let mut network = Network::new(Topology::any(&mut dice), seed);
        network.start_all();
        network.run(Duration::from_secs(60));
        let why = how("whoever_stays_away_is_the_last_resort", seed, &network);
        let mut known = check(&network, &why);
        let node = dice.below(network.nodes.len());
        network.kill(node);
        let away = Away { node, known: std::mem::take(&mut known[node]) };
        // The restart time is over, and that of what is kept for long is not.
        network.run(Duration::from_secs(60));
        check_without(&network, &away, &format!("{why}: {node} is away"));
        network.run(Duration::from_secs(60));
        let gone = Away { node, known: Known::new() };
        check_without(&network, &gone, &format!("{why}: {node} is gone"));
        network.start(node, true);
        network.run(QUIET);
        assert_eq!(check(&network, &why)[node], away.known, "{why}");
    }
}

/// That the worlds are what they are for: in forty of them everything is met.
#[test]
fn worlds_have_all_of_it() {
    let mut met = BTreeSet::new();
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let mut network = Network::new(Topology::any(&mut dice), seed);
        network.start_all();
        network.run(Duration::from_secs(60));
        network.kill(dice.below(network.nodes.len()));
        network.run(Duration::from_secs(60));
        for speaker in network.nodes.iter().filter_map(|node| node.speaker.as_ref()) {
            let mut last = None;
            for path in speaker.paths() {
                let from = path.peer.map(|peer| peer.address);
                let again = last.replace((path.prefix, from)) == Some((path.prefix, from));
                let facts = path.attributes.facts();
                let kind = path.peer.map(|peer| peer.kind);
                let here = [
                    ("several paths of one peer", again),
                    ("refused by a filter", path.reason == Reason::ImportPolicy),
                    ("changed by a filter", path.accepted && path.received.is_some()),
                    ("not for other ASes", facts.is_no_export()),
                    ("for customers only", facts.is_only_to_customer()),
                    ("of another member", kind == Some(PeerKind::Confederation)),
                    ("through a confederation", facts.has_confederation()),
                    ("kept for long", path.stale && facts.is_llgr_stale()),
                    ("kept by another for long", !path.stale && facts.is_llgr_stale()),
                    ("behind what is kept for long", path.reason == Reason::LongLivedStale),
                ];
                met.extend(here.into_iter().filter(|(_, is_met)| *is_met).map(|(what, _)| what));
            }
        }
    }
    assert_eq!(met.len(), 10, "{met:?}");
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
    statuses(network).map(|status| status.updates_sent).sum()
}

/// Whoever goes on in another's place, in a network that is left alone, has nothing to say.
#[test]
fn a_planned_restart_is_not_seen() {
    for seed in seeds(20) {
        let mut dice = Dice::new(seed);
        let mut network = Network::new(Topology::any(&mut dice), seed);
        network.start_all();
        network.run(Duration::from_secs(60));
        let said = updates_sent(&network);
        for node in 0..network.nodes.len() {
            network.replace(node, network.topology.config(node, false));
            network.run(dice.duration(Duration::from_secs(2)));
        }
        network.run(Duration::from_secs(60));
        let why = how("a_planned_restart_is_not_seen", seed, &network);
        check(&network, &why);
        assert_eq!((updates_sent(&network), flaps(&network)), (said, 0), "{why}");
    }
}

fn flaps(network: &Network) -> u64 {
    statuses(network).map(|status| status.flaps).sum()
}

fn statuses(network: &Network) -> impl Iterator<Item = PeerStatus> {
    let speakers = network.nodes.iter().filter_map(|node| node.speaker.as_ref());
    speakers.flat_map(|speaker| speaker.peer_statuses(network.instant()))
}

const TOLD_SEED: &str = "VIADUCT_SIM_TOLD_SEED";

/// Twice in this process, and once in another, where every hash map is laid out otherwise.
#[test]
fn a_seed_is_a_trace() {
    if let Ok(seed) = std::env::var(TOLD_SEED) {
        println!("trace {}", disturbed(seed.parse().unwrap()).trace.hash());
        return;
    }
    let mut hashes = BTreeSet::new();
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
