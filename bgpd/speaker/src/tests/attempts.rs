//! Attempts to connect that come to nothing.

use super::harness::{Network, v4, with_peers};
use crate::{CONNECT_RETRY_TIME, State};

#[test]
fn the_latest_attempt_says_why_there_is_no_session() {
    let mut network = Network::default();
    network.start(1, with_peers(1, 64512, &[(2, 64512)]));
    assert_eq!(network.state(1, 2), State::Connect);
    let mut now = network.now();
    let error = |network: &mut Network| network.status(1, v4(2)).last_error;
    network.speaker(1).handle_connect_failed(v4(2), "refused", now);
    assert_eq!(error(&mut network).as_deref(), Some("refused"));
    // The next one is under way for as long as it may be.
    for _ in 0..2 {
        now += 2 * CONNECT_RETRY_TIME;
        network.speaker(1).handle_timeout(now);
    }
    assert_eq!(error(&mut network).as_deref(), Some("no answer to SYN"));
    network.speaker(1).handle_connect_failed(v4(2), "refused", now);
    assert_eq!(error(&mut network).as_deref(), Some("refused"));
}
