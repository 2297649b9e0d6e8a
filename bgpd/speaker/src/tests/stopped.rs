//! After the end nothing follows, whatever still happens.

use std::time::Duration;

use super::harness::{Network, v4, with_peers};
use crate::{Action, ConnId, Connected, Direction, State, Stop};

#[test]
fn a_speaker_that_has_stopped_begins_nothing() {
    for stop in [Stop::Restart, Stop::Administrative(String::new())] {
        let mut network = Network::default();
        network.start(1, with_peers(1, 64512, &[(2, 64512), (3, 64512)]));
        assert_eq!(network.state(1, 2), State::Connect);
        let now = network.now();
        let speaker = network.speaker(1);
        speaker.shutdown(&stop, now);
        while speaker.poll_action().is_some() {}
        while speaker.poll_fib().is_some() {}
        // What was under way ends, and a peer comes.
        speaker.handle_connect_failed(v4(2), "refused", now);
        let conn = ConnId(1000);
        let connected = Connected { conn, peer: v4(3), direction: Direction::Incoming };
        speaker.handle_connected(connected, now);
        assert_eq!(speaker.poll_action(), Some(Action::Close { conn }));
        speaker.handle_underlay(&viaduct_net::Underlay::from([]), now);
        speaker.handle_timeout(now + Duration::from_secs(600));
        assert_eq!(speaker.poll_action(), None);
        assert_eq!(speaker.poll_fib(), None);
        assert_eq!(speaker.poll_timeout(), None);
    }
}
