//! Reflection (RFC 4456) between us and BIRD 2, each in both parts.

use std::sync::Arc;

use crate::lab::{
    bird::Bird,
    netns::{Netns, ip, isolated},
    node::{Node, PORT, config, prefix, v4, v6},
};

const AS: u32 = 64512;
const BIRDS: [&str; 2] = ["198.51.100.0/24", "2001:db8:ff00::/40"];

/// Runs a test on one thread of a namespace that is joined to that of some BIRDs, with a second
/// address at both ends.
fn joined(configs: &[String], test: impl AsyncFnOnce(Vec<Bird>) + Send + 'static) {
    let configs = configs.to_vec();
    isolated(move || {
        let netns = Arc::new(Netns::new());
        netns.link(1, 2);
        ip("addr add 192.0.2.3/24 dev viaduct0");
        ip("addr add 2001:db8::3/64 dev viaduct0 nodad");
        netns.run(|| {
            ip("addr add 192.0.2.4/24 dev viaduct1");
            ip("addr add 2001:db8::4/64 dev viaduct1 nodad");
        });
        let birds = configs.iter().map(|config| Bird::start(netns.clone(), config)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(birds).await });
    });
}

/// What every BIRD here begins with.
fn common(number: u8) -> String {
    format!(
        "router id 192.0.2.{number};
         log stderr all;
         protocol device {{ scan time 1; }}
         protocol direct {{ ipv4; ipv6; }}
         template bgp common {{
             local 192.0.2.{number} port {PORT} as {AS};
             strict bind on;
             hold time 9;
             connect retry time 1;
             connect delay time 1;
             error wait time 1, 2;
             graceful restart on;
             ipv4 {{ import all; export where source = RTS_BGP; }};
             ipv6 {{ import all; export where source = RTS_BGP; }};
         }}"
    )
}

/// A client of ours that has a route of each family to tell.
fn teller() -> String {
    let [v4_route, v6_route] = BIRDS;
    common(2)
        + &format!(
            "protocol static static4 {{ ipv4; route {v4_route} blackhole; }}
             protocol static static6 {{ ipv6; route {v6_route} blackhole; }}
             protocol bgp viaduct from common {{
                 neighbor 192.0.2.1 port {PORT} as {AS};
                 ipv4 {{ import all;
                         export filter {{ bgp_next_hop = 192.0.2.77; bgp_local_pref = 70;
                                          if source = RTS_STATIC then accept; reject; }}; }};
                 ipv6 {{ import all;
                         export filter {{ bgp_next_hop = 2001:db8::77; bgp_local_pref = 70;
                                          if source = RTS_STATIC then accept; reject; }}; }};
             }}"
        )
}

/// A client of ours that only listens.
fn told() -> String {
    let neighbor = format!("neighbor 192.0.2.1 port {PORT} as {AS};");
    common(4) + &format!("protocol bgp viaduct from common {{ {neighbor} }}")
}

#[test]
fn we_reflect_between_two_birds() {
    joined(&[teller(), told()], async |birds| {
        let told = &birds[1];
        let mut ours = config(1, AS, &[(v4(2), AS), (v4(4), AS)]);
        ours.cluster_id = [192, 0, 2, 99].into();
        ours.peers.values_mut().for_each(|peer| peer.reflector_client = true);
        let node = Node::start(ours.clone(), &[]);
        let is_told = || BIRDS.iter().all(|prefix| told.routes().contains(prefix));
        node.wait("the second bird is told", async |_| is_told()).await;
        let routes = told.routes();
        for (line, times) in [
            ("BGP.next_hop: 192.0.2.77", 1),
            ("BGP.next_hop: 2001:db8::77", 1),
            ("BGP.local_pref: 70", 2),
            ("BGP.originator_id: 192.0.2.2", 2),
            ("BGP.cluster_list: 192.0.2.99", 2),
        ] {
            assert_eq!(routes.matches(line).count(), times, "{line} in {routes}");
        }
        // No client any more, and again: what is told changes and the sessions stay.
        let mut alone = ours.clone();
        alone.peers.values_mut().for_each(|peer| peer.reflector_client = false);
        node.config.send_replace(Arc::new(alone));
        node.wait("withdrawn", async |_| !told.routes().contains(BIRDS[0])).await;
        node.config.send_replace(Arc::new(ours));
        node.wait("told again", async |_| is_told()).await;
        assert_eq!(node.peer(v4(2)).await.flaps + node.peer(v4(4)).await.flaps, 0);
    });
}

fn reflector() -> String {
    let client = |number: u8| {
        format!(
            "protocol bgp c{number} from common {{
                 rr client;
                 rr cluster id 192.0.2.98;
                 neighbor 192.0.2.{number} port {PORT} as {AS};
             }}"
        )
    };
    common(2) + &client(1) + &client(3)
}

#[test]
fn bird_reflects_between_two_of_us() {
    joined(&[reflector()], async |_birds| {
        let peers = [(v4(2), AS)];
        let one = Node::start(config(1, AS, &peers), &["10.1.0.0/24", "fd00:1::/64"]);
        let other = Node::start(config(3, AS, &peers), &["10.3.0.0/24", "fd00:3::/64"]);
        one.wait("reflected", async |one| {
            one.hops("10.3.0.0/24") == [v4(3)] && one.hops("fd00:3::/64") == [v6(3)]
        })
        .await;
        other
            .wait("reflected", async |other| {
                other.hops("10.1.0.0/24") == [v4(1)] && other.hops("fd00:1::/64") == [v6(1)]
            })
            .await;
        let paths = one.handle.routes().await.unwrap();
        let path = paths.iter().find(|path| path.prefix == prefix("10.3.0.0/24")).unwrap();
        assert_eq!(path.originator_id.as_deref(), Some("192.0.2.3"));
        assert_eq!(path.cluster_list, ["192.0.2.98"]);
        // BIRD sends a client its own routes back; that the ORIGINATOR_ID is ours is the reason.
        for path in paths.iter().filter(|path| path.prefix == prefix("10.1.0.0/24")) {
            let reason = path.reason.clone().unwrap_or_default();
            assert!(path.peer.is_none() || reason.contains("ORIGINATOR_ID"), "{path:?}");
        }
    });
}
