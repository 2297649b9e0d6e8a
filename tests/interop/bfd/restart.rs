//! BFD beside graceful restart (RFC 5882 §4.3.2).

use std::time::Duration;

use bgp_bfd::Path;
use bgpd::Stop;
use tokio::time::sleep;

use super::{FASTEST, watched, watching_bird};
use crate::lab::{
    node::{Node, v4},
    setup::{BIRDS, OWN, with_bird_of, with_frr},
};

/// BIRD's BFD dies with it and says so (C = 0): its routes stay for the restart.
#[test]
fn a_bird_that_is_killed_and_comes_back_is_not_missed() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    with_bird_of(watching_bird(FASTEST), ours, async |mut bird, node| {
        node.bfd_up(v4(2)).await;
        bird.kill();
        node.wait("BFD down", async |node| node.bfd(v4(2)).await.state == "Down").await;
        sleep(Duration::from_millis(500)).await;
        assert_eq!(node.peer(v4(2)).await.prefixes_stale, 2);
        bird.recover();
        node.wait("fresh", async |node| {
            node.established(v4(2)).await && node.peer(v4(2)).await.prefixes_stale == 0
        })
        .await;
        assert_eq!(node.hops(BIRDS[0]), [v4(2)]);
        assert!(node.fib.lock().unwrap().withdrawn.is_empty());
        node.bfd_up(v4(2)).await;
    });
}

/// Our restart, by intent. BIRD keeps what it has of us where it is told that BFD may go with a
/// restart, for it does not look at the C bit.
#[test]
fn bird_keeps_our_routes_while_we_restart() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    let theirs = watching_bird(FASTEST).replace("bfd on;", "bfd graceful;");
    with_bird_of(theirs, ours.clone(), async move |bird, mut node| {
        for _ in 0..2 {
            node.bfd_up(v4(2)).await;
            node.handle.shutdown(Stop::Restart).await;
            drop(node);
            for _ in 0..50 {
                assert!(bird.has_ours(), "{}", bird.ask("show protocols all viaduct"));
                sleep(Duration::from_millis(10)).await;
            }
            let mut again = ours.clone();
            again.restarting = true;
            node = Node::start(again, &OWN);
            node.wait("in sync", async |node| {
                assert!(bird.has_ours(), "{}", bird.ask("show protocols all viaduct"));
                node.synced()
            })
            .await;
        }
    });
}

/// By intent and by a crash: FRR sees the end of the session before it misses our packets.
#[test]
fn frr_keeps_our_routes_while_we_restart() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    let options = "bfd 3 50 50\ngraceful-restart";
    with_frr(options, "", ours.clone(), async move |frr, mut node| {
        for by_intent in [true, false, true, false] {
            node.bfd_up(v4(2)).await;
            node.wait("frr has ours", async |_| frr.has_ours()).await;
            if by_intent {
                node.handle.shutdown(Stop::Restart).await;
            }
            drop(node);
            let what = || frr.ask("show bgp neighbors 192.0.2.1");
            for _ in 0..50 {
                assert!(frr.has_ours(), "{by_intent} {}", what());
                sleep(Duration::from_millis(10)).await;
            }
            let mut again = ours.clone();
            again.restarting = true;
            node = Node::start(again, &OWN);
            node.wait("in sync", async |node| {
                assert!(frr.has_ours(), "{by_intent} {}", what());
                node.synced()
            })
            .await;
        }
    });
}
