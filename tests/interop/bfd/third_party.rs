//! A neighbour that BFD has lost is no next hop, whoever tells of it (RFC 5882 §5).

use std::sync::Arc;

use bgp_bfd::Path;
use bgp_speaker::Config;
use viaduct_api::admin::{BgpPath, EventQuery};

use super::{FASTEST, TEN_TIMES, WATCHING_FRR, cut, every};
use crate::lab::{
    bird::Bird,
    frr::{Frr, FrrConfig},
    netns::{Netns, ip, isolated},
    node::{Node, config, v4},
    setup::{BIRDS, OTHERS, OWN, bird_config, frr_config},
};

/// A BIRD at 192.0.2.2 that tells its routes as those of 192.0.2.3, as a route server does; and there an
/// FRR that tells the same ones itself and is watched.
fn with_a_route_server(test: impl AsyncFnOnce(Frr, Node) + Send + 'static) {
    const SERVED: &str = "ipv4 {
        import all;
        export filter { if source != RTS_STATIC then reject; bgp_next_hop = 192.0.2.3; accept; };
    };";
    isolated(move || {
        let (server, neighbour) = (Arc::new(Netns::new()), Arc::new(Netns::new()));
        server.link(1, 2);
        neighbour.wire("viaduct2", "viaduct1");
        ip("link set viaduct2 up");
        ip("route add 192.0.2.3/32 dev viaduct2 src 192.0.2.1");
        neighbour.run(|| {
            ip("addr add 192.0.2.3/24 dev viaduct1");
            ip("link set viaduct1 up");
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _bird = Bird::start(server, &bird_config(65001, 64512, SERVED, ""));
            let bgpd = frr_config(65002, 64512, WATCHING_FRR, "");
            let frr = Frr::start(neighbour, FrrConfig { bgpd: &bgpd, bfdd: "" });
            let node = Node::start(ours(), &OWN);
            node.wait("both tell them", async |node| node.paths_to(OTHERS[0]).await.len() == 2)
                .await;
            test(frr, node).await;
        });
    });
}

fn ours() -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001), (v4(3), 65002)]);
    config.peers.get_mut(&v4(3)).unwrap().bfd = Some(every(FASTEST, Path::SingleHop));
    config
}

impl Node {
    async fn paths_to(&self, prefix: &str) -> Vec<BgpPath> {
        let mut routes = self.handle.routes().await.unwrap();
        routes.retain(|path| path.prefix.to_string() == prefix);
        routes
    }
}

#[test]
fn what_a_route_server_tells_of_a_lost_neighbour_is_not_used() {
    assert_eq!(BIRDS, OTHERS);
    with_a_route_server(async |frr, node| {
        node.bfd_up(v4(3)).await;
        assert_eq!(node.hops(OTHERS[0]), [v4(3)]);
        let cut_there = || frr.netns().run(cut);
        let lost = node.lost_after("a third party's next hop", OTHERS[0], cut_there).await;
        assert!(lost < TEN_TIMES, "{lost:?}");

        // The route server has not heard of it.
        assert!(node.established(v4(2)).await);
        let paths = node.paths_to(OTHERS[0]).await;
        let [path] = &paths[..] else { panic!("{paths:?}") };
        assert_eq!((path.peer, path.next_hop), (Some(v4(2)), Some(v4(3))));
        let reason = path.reason.as_deref();
        assert_eq!(reason, Some("unusable: BFD has lost the next hop (RFC 5882 5)"));
        let events = async |kind: &str| {
            let mut events = node.handle.events(&EventQuery::default()).next().await.unwrap();
            events.retain(|event| event.kind == kind && event.peer == Some(v4(3)));
            events.pop().map(|event| event.text)
        };
        assert!(events("bfd-down").await.unwrap().ends_with("; no next hop"));

        frr.netns().run(|| ip("link set viaduct1 up"));
        node.wait("a next hop again", async |node| node.hops(OTHERS[0]) == [v4(3)]).await;
        node.wait("both tell them", async |node| node.paths_to(OTHERS[0]).await.len() == 2).await;
        node.bfd_up(v4(3)).await;
        assert!(events("bfd-up").await.is_some());
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}
