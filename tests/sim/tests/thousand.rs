//! A thousand speakers behind reflectors: how the whole of it behaves, and how long it takes.

use std::time::{Duration, Instant};

use viaduct_sim::{Network, Topology, check_reflection, repeat};

const REFLECTORS: usize = 4;
const SPEAKERS: usize = 1000;
const SPEAKERS_IN_CI: usize = 100;

/// A hundred in CI, all of them in `make sim` and `make soak`.
#[test]
fn a_thousand_speakers_for_ten_minutes() {
    let speakers = if repeat(1) < 10 { SPEAKERS_IN_CI } else { SPEAKERS };
    let mut topology = Topology::reflection(REFLECTORS, speakers - REFLECTORS, false);
    assert_eq!(topology.nodes.len(), speakers);
    (topology.hold_secs, topology.restart_secs) = (90, 120);
    // Behind two of the four each.
    for client in REFLECTORS..speakers {
        for gone in [client % REFLECTORS, (client + 1) % REFLECTORS] {
            topology.disconnect(gone, client);
        }
    }
    let began = Instant::now();
    let mut network = Network::new(topology, 1);
    network.start_all();
    network.run(Duration::from_secs(600));
    let took = began.elapsed();
    let events = network.trace.events();
    println!("{speakers} speakers, 10 minutes in {took:.1?}, {events} events");
    check_reflection(&network, "a_thousand_speakers_for_ten_minutes");
    // Twice what it takes on a slow machine; a debug build is another thing.
    assert!(cfg!(debug_assertions) || took < Duration::from_secs(60), "{took:.1?}");
}
