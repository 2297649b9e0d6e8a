//! A thousand speakers behind reflectors: how the whole of it behaves, and how long it takes.

use std::time::{Duration, Instant};

use viaduct_sim::{Network, Topology, check_reflection, repeat};

/// A hundred in CI, all of them in `make sim` and `make soak`.
#[test]
fn a_thousand_speakers_for_ten_minutes() {
    let clients = if repeat(1) < 10 { 96 } else { 996 };
    let mut topology = Topology::reflection(4, clients, false);
    (topology.hold_secs, topology.restart_secs) = (90, 120);
    // Behind two of the four each.
    for client in 4..4 + clients {
        for gone in [client % 4, (client + 1) % 4] {
            topology.disconnect(gone, client);
        }
    }
    let began = Instant::now();
    let mut network = Network::new(topology, 1);
    network.start_all();
    network.run(Duration::from_secs(600));
    let took = began.elapsed();
    println!(
        "{} speakers, 10 minutes in {took:.1?}, {} events",
        clients + 4,
        network.trace.events()
    );
    check_reflection(&network, "a_thousand_speakers_for_ten_minutes");
    // Twice what it takes on a slow machine; a debug build is another thing.
    assert!(cfg!(debug_assertions) || took < Duration::from_secs(60), "{took:.1?}");
}
