use std::time::Duration;

use bgpd::Stop;
use tokio::time::sleep;

use crate::lab::{
    node::{Node, config, v4, v6},
    setup::{BIRDS, OWN, with_bird},
};

#[test]
fn bird_keeps_our_routes_while_we_restart() {
    with_bird(65001, 64512, async |bird, mut node| {
        for _ in 0..3 {
            node.handle.shutdown(Stop::Restart).await;
            drop(node);
            for _ in 0..20 {
                assert!(bird.has_ours(), "{}", bird.ask("show protocols all viaduct"));
                sleep(Duration::from_millis(10)).await;
            }
            let mut again = config(1, 64512, &[(v4(2), 65001)]);
            again.restarting = true;
            node = Node::start(again, &OWN);
            node.wait("in sync", async |node| {
                assert!(bird.has_ours(), "{}", bird.ask("show protocols all viaduct"));
                node.synced()
            })
            .await;
            assert_eq!(node.hops(BIRDS[0]), [v4(2)]);
            node.wait("bird has swept", async |_| {
                let state = bird.ask("show protocols all viaduct");
                assert!(bird.has_ours(), "{state}");
                state.contains("Established") && !bird.ask("show route").contains("Stale")
            })
            .await;
        }
    });
}

#[test]
fn we_keep_birds_routes_while_it_restarts() {
    with_bird(65001, 64512, async |mut bird, node| {
        bird.kill();
        node.wait("stale", async |node| node.peer(v4(2)).await.prefixes_stale == 2).await;
        bird.recover();
        node.wait("fresh", async |node| {
            node.established(v4(2)).await && node.peer(v4(2)).await.prefixes_stale == 0
        })
        .await;
        bird.wait_for_ours(&node).await;
        assert_eq!(node.hops(BIRDS[1]), [v6(2)]);
        assert!(node.fib.lock().unwrap().withdrawn.is_empty());
        assert_eq!(node.peer(v4(2)).await.flaps, 1);
    });
}
