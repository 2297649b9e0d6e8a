use std::time::Duration;

use bgp_speaker::{Config, RestartTime};
use bgpd::Stop;
use tokio::time::sleep;

use super::{churn, graceless, replace};
use crate::{
    dynamic::with_bird::open,
    lab::{
        bird::Bird,
        node::{Node, config, prefix, v4},
        setup::{BIRDS, OWN, with_bird, with_bird_and},
    },
};

/// Since when BIRD has its session, and how it stands.
pub(crate) fn session(bird: &Bird) -> String {
    let all = bird.ask("show protocols viaduct");
    let line = all.lines().find(|line| line.starts_with("viaduct")).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Routes with the time at which BIRD has learned them.
fn ages(bird: &Bird) -> String {
    bird.ask("show route protocol viaduct")
}

/// What BIRD counts of us: updates and withdraws received.
pub(super) fn received(bird: &Bird) -> Vec<String> {
    let all = bird.ask("show protocols all viaduct");
    let lines = all
        .lines()
        .filter(|line| line.contains("Import updates:") || line.contains("Import withdraws:"));
    lines.map(str::to_owned).collect()
}

#[test]
fn bird_without_graceful_restart_sees_nothing() {
    with_bird_and("graceful restart off;", 65001, graceless(65001), async |bird, mut node| {
        // BIRD shows seconds: something that begins anew shall be seen.
        sleep(Duration::from_millis(2100)).await;
        let (before, routes, counts) = (session(&bird), ages(&bird), received(&bird));
        for _ in 0..3 {
            node = replace(node, graceless(65001), &OWN).await;
            assert!(node.established(v4(2)).await);
            node.wait("the same routes", async |node| {
                node.synced() && node.hops(BIRDS[0]) == [v4(2)]
            })
            .await;
        }
        // Longer than the hold time: keepalives go both ways.
        sleep(Duration::from_secs(11)).await;
        assert_eq!(session(&bird), before);
        assert_eq!(ages(&bird), routes);
        assert_eq!(received(&bird), counts, "nothing was told");
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

#[test]
fn three_times_in_a_row_while_routes_come_and_go() {
    with_bird_and("graceful restart off;", 65001, graceless(65001), async |bird, mut node| {
        sleep(Duration::from_millis(2100)).await;
        let before = session(&bird);
        let age = |bird: &Bird| bird.ask(&format!("show route {}", OWN[0]));
        let old = age(&bird);
        let mut all = Vec::new();
        for round in 0..12 {
            all = churn(round);
            all.extend(OWN.map(str::to_owned));
            let set: Vec<&str> = all.iter().map(String::as_str).collect();
            node.originate(&set);
            if round % 4 == 2 {
                node = replace(node, graceless(65001), &set).await;
            }
        }
        node.wait("all is told", async |_| {
            let routes = bird.ask("show route protocol viaduct");
            let told = routes.lines().filter(|line| line.contains("10.9.")).count();
            told == all.len() - OWN.len() && all.iter().all(|prefix| routes.contains(prefix))
        })
        .await;
        assert_eq!(session(&bird), before);
        assert_eq!(age(&bird), old);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

/// The peer is in no configuration, and the listener's keys and the connection's own go with the sockets.
#[test]
fn a_peer_of_a_range_with_a_password_sees_nothing() {
    fn ours() -> Config {
        Config { restart_time: RestartTime::default(), ..open(Some("s3cret")) }
    }
    let options = "graceful restart off; password \"s3cret\";";
    with_bird_and(options, 65001, ours(), async |bird, mut node| {
        sleep(Duration::from_millis(2100)).await;
        let (before, routes) = (session(&bird), ages(&bird));
        for _ in 0..2 {
            node = replace(node, ours(), &OWN).await;
        }
        sleep(Duration::from_secs(11)).await;
        assert_eq!((session(&bird), ages(&bird)), (before, routes));
        let peer = node.peer(v4(2)).await;
        assert_eq!((peer.flaps, peer.range), (0, Some(prefix("192.0.2.0/24"))));
        // Adopted listeners let peers in.
        bird.ask("disable viaduct");
        node.wait("gone", async |node| node.handle.peers().await.unwrap().is_empty()).await;
        bird.ask("enable viaduct");
        node.wait("back", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
    });
}

#[test]
fn a_crash_falls_back_to_graceful_restart() {
    with_bird(65001, 64512, async |bird, node| {
        let ours = || {
            let mut ours = config(1, 64512, &[(v4(2), 65001)]);
            ours.restarting = true;
            ours
        };
        let node = replace(node, ours(), &OWN).await;
        // As by a crash: no word to anybody, and nothing handed over.
        drop(node);
        for _ in 0..20 {
            assert!(bird.has_ours(), "{}", bird.ask("show protocols all viaduct"));
            sleep(Duration::from_millis(10)).await;
        }
        let node = Node::start(ours(), &OWN);
        node.wait("in sync", async |node| {
            assert!(bird.has_ours(), "{}", bird.ask("show protocols all viaduct"));
            node.synced()
        })
        .await;
        node.handle.shutdown(Stop::Restart).await;
        assert!(bird.has_ours());
    });
}
