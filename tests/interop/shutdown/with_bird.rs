use std::sync::Arc;

use bgp_speaker::Config;

use crate::lab::{
    node::{config, v4},
    setup::{BIRDS, with_bird_and},
};

pub(super) fn with_shutdown(message: Option<&str>) -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    let peer = config.peers.get_mut(&v4(2)).unwrap();
    (peer.shutdown, peer.shutdown_message) = (message.is_some(), message.map(str::to_owned));
    config
}

#[test]
fn bird_shows_the_words_and_is_let_in_again() {
    with_bird_and("", 65001, with_shutdown(None), async |bird, node| {
        node.config.send_replace(Arc::new(with_shutdown(Some("neue Kabel bis 17 Uhr"))));
        let shown = async |_: &_| {
            let state = bird.ask("show protocols all viaduct");
            state.contains("Administrative shutdown") && state.contains("neue Kabel bis 17 Uhr")
        };
        node.wait("bird shows the words", shown).await;
        let here = node.peer(v4(2)).await;
        assert_eq!(here.state, "Idle");
        assert_eq!(
            here.last_error.unwrap(),
            "shut down by configuration: \"neue Kabel bis 17 Uhr\""
        );
        node.config.send_replace(Arc::new(with_shutdown(None)));
        node.wait("let up", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
    });
}
