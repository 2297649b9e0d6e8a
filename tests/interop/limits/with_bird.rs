use std::{sync::Arc, time::Duration};

use bgp_speaker::{Config, LimitAction, PrefixLimits};

use crate::lab::{
    node::{config, v4},
    setup::{BIRDS, OWN, with_bird_and},
};

pub(super) fn with_limit(v4_limit: u32, action: LimitAction) -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    let limits = PrefixLimits { v4: Some(v4_limit), action, ..PrefixLimits::default() };
    config.peers.get_mut(&v4(2)).unwrap().prefix_limits = limits;
    config
}

/// BIRD shows the subcode, and is refused until the limit is another.
#[test]
fn a_session_over_its_limit_stays_down_until_the_limit_changes() {
    with_bird_and("", 65001, with_limit(9, LimitAction::Close), async |bird, node| {
        node.config.send_replace(Arc::new(with_limit(0, LimitAction::Close)));
        node.wait("ended", async |node| !node.established(v4(2)).await).await;
        let error = node.peer(v4(2)).await.last_error.unwrap();
        let end = "more than 0 IPv4 prefixes; down until the peer's configuration changes";
        assert!(error.to_lowercase().ends_with(&end.to_lowercase()), "{error}");
        let said = async |_: &_| {
            bird.ask("show protocols all viaduct").contains("Maximum number of prefixes reached")
        };
        node.wait("bird shows why", said).await;
        bird.ask("restart viaduct");
        node.config.send_replace(Arc::new(with_limit(9, LimitAction::Close)));
        node.wait("let up", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
    });
}

/// The other way: BIRD has the limit, and our side shows its word.
#[test]
fn a_limit_of_birds_is_shown() {
    let options =
        "ipv4 { import all; export where source = RTS_STATIC; import limit 1 action disable; };";
    let ours = config(1, 64512, &[(v4(2), 65001)]);
    with_bird_and(options, 65001, ours, async |_, node| {
        node.originate(&[OWN[0], OWN[1], "10.1.1.0/24"]);
        node.wait("ended", async |node| !node.established(v4(2)).await).await;
        let said = async |node: &crate::lab::node::Node| {
            let error = node.peer(v4(2)).await.last_error.unwrap_or_default();
            error.contains("maximum number of prefixes reached (6/1)")
        };
        node.wait("shown", said).await;
    });
}

#[test]
fn a_session_over_its_limit_comes_back_after_its_time() {
    let action = LimitAction::CloseFor(Duration::from_secs(2));
    with_bird_and("", 65001, with_limit(9, action), async move |_, node| {
        node.config.send_replace(Arc::new(with_limit(0, action)));
        node.wait("ended", async |node| node.peer(v4(2)).await.flaps == 1).await;
        node.wait("tried again", async |node| node.peer(v4(2)).await.flaps == 2).await;
    });
}
