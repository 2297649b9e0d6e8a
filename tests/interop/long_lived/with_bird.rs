use bgp_speaker::{Config, RestartTime};

use crate::lab::{
    node::{Node, config, prefix, v4, v6},
    setup::{BIRDS, OWN, with_bird_and},
};

/// BIRD and we keep each other's routes for a second, and then for a minute.
const OPTIONS: &str = "graceful restart time 1; long lived graceful restart on;
                       long lived stale time 60;";

pub(super) fn ours(restarting: bool) -> Config {
    let mut ours = config(1, 64512, &[(v4(2), 65001)]);
    ours.restart_time = RestartTime::try_from(1).unwrap();
    ours.restarting = restarting;
    ours.peers.get_mut(&v4(2)).unwrap().long_lived_secs = 60;
    ours
}

#[test]
fn we_keep_birds_routes_for_long() {
    with_bird_and(OPTIONS, 65001, ours(false), async |mut bird, node| {
        bird.kill();
        node.wait("kept for long", async |node| {
            let all = node.handle.routes().await.unwrap();
            let theirs = all.iter().filter(|path| path.peer.is_some());
            theirs.filter(|path| path.communities.contains(&"llgr-stale".to_owned())).count() == 2
        })
        .await;
        assert_eq!((node.hops(BIRDS[0]), node.hops(BIRDS[1])), (vec![v4(2)], vec![v6(2)]));
        bird.recover();
        node.wait("fresh", async |node| {
            let all = node.handle.routes().await.unwrap();
            let theirs = all.iter().find(|path| path.prefix == prefix(BIRDS[0])).unwrap();
            !theirs.stale && theirs.communities.is_empty()
        })
        .await;
        assert!(node.fib.lock().unwrap().withdrawn.is_empty());
    });
}

#[test]
fn bird_keeps_ours_for_long() {
    with_bird_and(OPTIONS, 65001, ours(false), async |bird, node| {
        let handle = node.handle.clone();
        handle.shutdown(bgpd::Stop::Restart).await;
        drop(node);
        // A node without peers, to wait with.
        let clock = Node::start(config(9, 64512, &[]), &[]);
        clock
            .wait("kept for long", async |_| {
                let routes = bird.routes();
                OWN.iter().all(|own| routes.contains(own)) && routes.contains("(65535,6)")
            })
            .await;
        let back = Node::start(ours(true), &OWN);
        back.wait("fresh", async |_| {
            assert!(bird.has_ours(), "{}", bird.routes());
            !bird.routes().contains("(65535,6)")
        })
        .await;
    });
}
