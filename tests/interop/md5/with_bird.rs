use std::{net::IpAddr, sync::Arc};

use bgp_speaker::{Config, Password, Transport};

use crate::lab::{
    node::{config, v4},
    setup::{BIRDS, with_bird_and},
};

/// A node with a BIRD or GoBGP as its peer.
pub(super) fn with_password(word: Option<&str>) -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    config.peers.get_mut(&v4(2)).unwrap().transport = Transport {
        md5: word.map(|word| Password::try_from(word.as_bytes()).unwrap()),
        ..Transport::default()
    };
    config
}

/// Whichever side connects: one of the two waits for the other.
#[test]
fn a_password_that_both_know_makes_a_session() {
    for (passive, bird) in [(true, ""), (false, "passive yes;")] {
        let mut ours = with_password(Some("s3cret"));
        ours.peers.get_mut(&v4(2)).unwrap().passive = passive;
        with_bird_and(&format!("password \"s3cret\"; {bird}"), 65001, ours, async |_, node| {
            assert!(node.established(v4(2)).await);
            let said = format!("{:?}", node.handle.peers().await);
            assert!(!said.contains("s3cret"), "{said}");
        });
    }
}

#[test]
fn a_changed_password_ends_the_session_and_the_right_one_brings_it_back() {
    let ours = with_password(Some("old"));
    with_bird_and("password \"old\"; passive yes;", 65001, ours, async |bird, node| {
        for wrong in [Some("new"), None] {
            node.config.send_replace(Arc::new(with_password(wrong)));
            node.wait("ended", async |node| node.hops(BIRDS[0]) == [] as [IpAddr; 0]).await;
            let silent = Some("no answer to SYN".to_owned());
            node.wait("refused", async |node| node.peer(v4(2)).await.last_error == silent).await;
            node.config.send_replace(Arc::new(with_password(Some("old"))));
            node.wait("back", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
            bird.wait_for_ours(&node).await;
        }
    });
}

/// The listener knows a password as soon as the configuration does: BIRD alone connects.
#[test]
fn a_listener_takes_over_a_password_without_being_opened_again() {
    let with = |word| {
        let mut config = with_password(word);
        config.peers.get_mut(&v4(2)).unwrap().passive = true;
        config
    };
    with_bird_and("password \"s3cret\";", 65001, with(Some("s3cret")), async move |bird, node| {
        node.config.send_replace(Arc::new(with(Some("other"))));
        node.wait("ended", async |node| !node.established(v4(2)).await).await;
        let refused = async |_: &_| !bird.ask("show protocols viaduct").contains("Established");
        node.wait("bird knows", refused).await;
        node.config.send_replace(Arc::new(with(Some("s3cret"))));
        node.wait("back", async |node| node.established(v4(2)).await).await;
    });
}
