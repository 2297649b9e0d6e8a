//! Against BIRD 2 in a namespace of its own, at the other end of a veth pair.

use std::time::Duration;

use bgpd::Stop;
use tokio::time::sleep;

use crate::lab::{
    bird::Bird,
    node::{prefix, v4, v6},
    setup::{BIRDS, OWN, with_bird},
};

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
