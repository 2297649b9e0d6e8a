//! Peers that connect to us, and never we to them.

use std::{sync::Arc, time::Duration};

use super::harness::{Network, v4, with_peers};
use crate::{Action, Config, ConnId, Connected, Direction, State};

fn config(passive: bool) -> Config {
    let mut config = with_peers(1, 64512, &[(2, 64512)]);
    config.peers.get_mut(&v4(2)).unwrap().passive = passive;
    config
}

fn connects(network: &mut Network) -> bool {
    let speaker = network.speaker(1);
    std::iter::from_fn(|| speaker.poll_action())
        .any(|action| matches!(action, Action::Connect { .. }))
}

#[test]
fn a_connection_that_fails_is_waited_for_again() {
    let mut network = Network::default();
    network.start(1, config(true));
    let now = network.now();
    let conn = ConnId(1000);
    let connected = Connected { conn, peer: v4(2), direction: Direction::Incoming };
    network.speaker(1).handle_connected(connected, now);
    assert_eq!(network.state(1, 2), State::OpenSent);
    network.speaker(1).handle_closed(conn, "reset", now);
    for secs in 1..60 {
        network.speaker(1).handle_timeout(now + Duration::from_secs(secs));
        assert!(!connects(&mut network), "after {secs} s");
    }
    assert_eq!(network.state(1, 2), State::Active);
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    network.wait_established(1, 2);
}

#[test]
fn whoever_is_made_passive_connects_no_more_and_the_other_way_round() {
    let mut network = Network::default();
    network.start(1, config(false));
    assert_eq!(network.state(1, 2), State::Connect);
    let now = network.now();
    network.speaker(1).handle_config(Arc::new(config(true)), now);
    assert_eq!(network.speaker(1).poll_action(), Some(Action::CancelConnect { peer: v4(2) }));
    network.speaker(1).handle_timeout(now + Duration::from_secs(60));
    assert!(!connects(&mut network));
    assert_eq!(network.state(1, 2), State::Active);
    network.speaker(1).handle_config(Arc::new(config(false)), now);
    assert!(connects(&mut network));
}
