//! Octets that arrive otherwise than they were sent. What else can happen to speakers is in `tests/sim`.

use std::time::Duration;

use super::harness::{Network, with_peers};
use crate::{Config, State, rng::Rng};

const ASN: u32 = 64512;

fn pair_config(node: u8) -> Config {
    with_peers(node, ASN, &[(3 - node, ASN)])
}

/// REPEAT times as many in a soak test.
fn seeds(in_ci: u64) -> u64 {
    in_ci * std::env::var("REPEAT").map_or(1, |text| text.parse::<u64>().unwrap())
}

/// Octets of a peer, damaged: the speaker may end the session but not itself.
#[test]
fn damaged_octets_end_a_session_and_nothing_else() {
    for seed in 0..seeds(100) {
        let mut rng = Rng::new(seed);
        let mut network = Network::default();
        network.start(1, pair_config(1));
        network.start(2, pair_config(2));
        network.damage = Some(Rng::new(seed));
        network.run(Duration::from_secs(20));
        network.originate(1 + rng.below(2) as u8, &["10.7.0.0/16", "fd07::/16"]);
        network.run(Duration::from_secs(20));
        network.damage = None;
        network.run(Duration::from_secs(200));
        assert_eq!(network.state(1, 2), State::Established, "seed {seed}");
    }
}
