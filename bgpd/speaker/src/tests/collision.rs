use std::time::Duration;

use super::harness::{Network, v4, with_peers};
use crate::{Action, ConnId, Connected, Direction, Speaker, State};

#[test]
fn both_connect_at_once_and_one_connection_stays() {
    // Both start within the latency of the wire, so that both connections are made.
    for (a_asn, b_asn) in [(64512, 64512), (64512, 65001), (65001, 64512)] {
        let mut network = Network::default();
        network.start(1, with_peers(1, a_asn, &[(2, b_asn)]));
        network.start(2, with_peers(2, b_asn, &[(1, a_asn)]));
        network.wait_established(1, 2);
        network.run(Duration::from_secs(60));
        assert_eq!(network.state(1, 2), State::Established);
        assert_eq!(network.status(1, v4(2)).flaps, 0);
        assert_eq!(network.status(2, v4(1)).flaps, 0);
        // RFC 4271 §6.8: the one that the speaker with the higher identifier has opened.
        let kept = |network: &mut Network, node, peer| {
            network.speaker(node).peers[&v4(peer)].connection.as_ref().unwrap().direction
        };
        assert_eq!(kept(&mut network, 2, 1), Direction::Outgoing);
        assert_eq!(kept(&mut network, 1, 2), Direction::Incoming);
        assert!(
            network.trace.iter().any(|line| line.contains("Close")),
            "there was no collision to speak of"
        );
    }
}

/// One speaker whose peer is played by the test.
struct Alone {
    speaker: Speaker,
    now: std::time::Instant,
}

impl Alone {
    fn new() -> Self {
        let now = std::time::Instant::now();
        let config = with_peers(1, 64512, &[(2, 64512)]);
        Self { speaker: Speaker::new(config.into(), 1, now), now }
    }

    fn connected(&mut self, number: u64, direction: Direction) {
        let connected = Connected { conn: ConnId(number), peer: v4(2), direction };
        self.speaker.handle_connected(connected, self.now);
    }

    fn closes(&mut self) -> Vec<u64> {
        let actions = std::iter::from_fn(|| self.speaker.poll_action());
        let closed = actions.filter_map(|action| match action {
            Action::Close { conn } => Some(conn.0),
            _ => None,
        });
        closed.collect()
    }
}

#[test]
fn of_two_new_connections_both_wait_for_their_open() {
    let mut alone = Alone::new();
    alone.connected(1, Direction::Outgoing);
    alone.connected(2, Direction::Incoming);
    assert!(alone.closes().is_empty());
    // The peer insists: its newest connection is the one that counts.
    alone.connected(3, Direction::Incoming);
    assert_eq!(alone.closes(), [2]);
    // The first is lost: the other takes its place.
    alone.speaker.handle_closed(ConnId(1), "reset", alone.now);
    let status = alone.speaker.peer_statuses(alone.now).remove(0);
    assert_eq!(status.state, State::OpenSent);
}

#[test]
fn a_stranger_is_sent_away() {
    let mut alone = Alone::new();
    let stranger = Connected { conn: ConnId(7), peer: v4(66), direction: Direction::Incoming };
    alone.speaker.handle_connected(stranger, alone.now);
    assert_eq!(alone.closes(), [7]);
}
