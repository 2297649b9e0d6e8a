use std::sync::Arc;

use super::with_bird::with_password;
use crate::lab::{node::v4, setup::with_frr};

/// Whichever side connects.
#[test]
fn a_password_makes_a_session_and_another_ends_it() {
    for options in ["password s3cret\npassive", "password s3cret"] {
        let with = move |word| {
            let mut config = with_password(Some(word));
            config.peers.get_mut(&v4(2)).unwrap().passive = !options.ends_with("passive");
            Arc::new(config)
        };
        with_frr(options, "", (*with("s3cret")).clone(), async move |_, node| {
            node.config.send_replace(with("other"));
            node.wait("ended", async |node| !node.established(v4(2)).await).await;
            node.config.send_replace(with("s3cret"));
            node.wait("back", async |node| node.established(v4(2)).await).await;
        });
    }
}
