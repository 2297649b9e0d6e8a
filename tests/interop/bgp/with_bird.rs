//! Against BIRD 2 in a namespace of its own, at the other end of a veth pair.

use std::{sync::Arc, time::Duration};

use bgpd::Stop;
use tokio::time::sleep;

use crate::{
    bird::Bird,
    netns::{Netns, isolated},
    node::{Node, PORT, config, prefix, v4, v6},
};

const OWN: [&str; 2] = ["10.1.0.0/24", "fd00:1::/64"];
const BIRDS: [&str; 2] = ["198.51.100.0/24", "2001:db8:ff00::/40"];

/// BIRD as 192.0.2.2 in `asn`, with one static route of each family to tell.
fn bird_config(asn: u32, peer_asn: u32) -> String {
    format!(
        "router id 192.0.2.2;
         log stderr all;
         protocol device {{ scan time 1; }}
         protocol static static4 {{ ipv4; route {v4_route} blackhole; }}
         protocol static static6 {{ ipv6; route {v6_route} blackhole; }}
         template bgp common {{
             local 192.0.2.2 port {PORT} as {asn};
             hold time 9;
             connect retry time 1;
             connect delay time 1;
             error wait time 1, 2;
             graceful restart on;
             graceful restart time 30;
             ipv4 {{ import all; export where source = RTS_STATIC; }};
             ipv6 {{ import all; export where source = RTS_STATIC; }};
         }}
         protocol bgp viaduct from common {{ neighbor 192.0.2.1 port {PORT} as {peer_asn}; }}",
        v4_route = BIRDS[0],
        v6_route = BIRDS[1],
    )
}

fn with_bird(asn: u32, peer_asn: u32, test: impl AsyncFnOnce(Bird, Node) + Send + 'static) {
    isolated(move || {
        let netns = Arc::new(Netns::new());
        netns.link(1, 2);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bird = Bird::start(netns, &bird_config(asn, peer_asn));
            let node = Node::start(config(1, peer_asn, &[(v4(2), asn)]), &OWN);
            node.wait("bird's routes", async |node| {
                node.hops(BIRDS[0]) == [v4(2)] && node.hops(BIRDS[1]) == [v6(2)]
            })
            .await;
            bird.wait_for_ours(&node).await;
            test(bird, node).await;
        });
    });
}

impl Bird {
    fn has_ours(&self) -> bool {
        let routes = self.routes();
        OWN.iter().all(|own| routes.contains(own))
    }

    async fn wait_for_ours(&self, node: &Node) {
        node.wait("bird has ours", async |_| self.has_ours()).await;
    }
}

#[test]
fn both_families_pass_both_ways_over_one_session() {
    with_bird(65001, 64512, async |bird, node| {
        let routes = bird.routes();
        assert!(routes.contains("BGP.next_hop: 192.0.2.1"), "{routes}");
        assert!(routes.contains("BGP.next_hop: 2001:db8::1"), "{routes}");
        assert!(routes.contains("BGP.as_path: 64512"), "{routes}");
        let paths = node.handle.routes().await.unwrap();
        let path = paths.iter().find(|path| path.prefix == prefix(BIRDS[0])).unwrap();
        assert_eq!(path.as_path, "65001");

        node.originate(&OWN[..1]);
        node.wait("withdrawn", async |_| !bird.routes().contains(OWN[1])).await;
        assert!(bird.routes().contains(OWN[0]));
        bird.ask("disable static4");
        node.wait("withdrawn by bird", async |node| node.hops(BIRDS[0]).is_empty()).await;
        assert_eq!(node.hops(BIRDS[1]), [v6(2)]);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

#[test]
fn four_octet_as_and_ibgp_and_route_refresh() {
    with_bird(4_200_000_001, 4_200_000_001, async |bird, node| {
        let paths = node.handle.routes().await.unwrap();
        let path = paths.iter().find(|path| path.prefix == prefix(BIRDS[0])).unwrap();
        assert_eq!((path.as_path.as_str(), path.local_pref), ("", Some(100)));
        let sent = node.peer(v4(2)).await.messages_sent;
        bird.ask("reload in viaduct");
        node.wait("told again", async |node| node.peer(v4(2)).await.messages_sent >= sent + 2)
            .await;
        assert!(bird.has_ours());
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

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

#[test]
fn an_administrative_end_is_told_both_ways() {
    with_bird(65001, 64512, async |bird, node| {
        bird.ask("disable viaduct \"night shift\"");
        node.wait("session down", async |node| !node.established(v4(2)).await).await;
        let error = node.peer(v4(2)).await.last_error.unwrap();
        assert!(error.contains("administrative shutdown"), "{error}");
        bird.ask("enable viaduct");
        bird.wait_for_ours(&node).await;
        node.handle.shutdown(Stop::Administrative("day shift".to_owned())).await;
        node_gone(&bird).await;
        let state = bird.ask("show protocols all viaduct");
        assert!(state.contains("Received: ") && state.contains("day shift"), "{state}");
    });
}

async fn node_gone(bird: &Bird) {
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while bird.routes().contains(OWN[0]) {
        assert!(std::time::Instant::now() < end, "{}", bird.ask("show protocols all viaduct"));
        sleep(Duration::from_millis(10)).await;
    }
}
