use std::sync::Arc;

use crate::lab::{
    bird::Bird,
    netns::{Netns, isolated},
    node::{Node, PORT, config, v4, v6},
    setup::{BIRDS, OWN},
};

/// A BIRD that speaks over IPv6 alone.
fn bird_config() -> String {
    let [v4_route, v6_route] = BIRDS;
    format!(
        "router id 192.0.2.2;
         log stderr all;
         protocol device {{ scan time 1; }}
         protocol static static4 {{ ipv4; route {v4_route} blackhole; }}
         protocol static static6 {{ ipv6; route {v6_route} blackhole; }}
         protocol bgp viaduct {{
             local 2001:db8::2 port {PORT} as 65001;
             neighbor 2001:db8::1 port {PORT} as 64512;
             hold time 9;
             connect retry time 1;
             connect delay time 1;
             error wait time 1, 2;
             ipv4 {{ import all; export where source = RTS_STATIC; extended next hop on; }};
             ipv6 {{ import all; export where source = RTS_STATIC; }};
         }}"
    )
}

#[test]
fn ipv4_over_ipv6_both_ways() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        netns.link(1, 2);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bird = Bird::start(netns, &bird_config());
            let mut ours = config(1, 64512, &[(v6(2), 65001)]);
            ours.peers.get_mut(&v6(2)).unwrap().extended_next_hop = true;
            let node = Node::start(ours.clone(), &OWN);
            node.wait("bird's IPv4 over IPv6", async |node| node.hops(BIRDS[0]) == [v6(2)]).await;
            bird.wait_for_ours(&node).await;
            let routes = bird.route(OWN[0]);
            assert!(routes.contains("BGP.next_hop: 2001:db8::1"), "{routes}");
            let state = bird.ask("show protocols all viaduct");
            assert!(state.matches("Extended next hop").count() >= 2, "{state}");

            // Without it each keeps to the next hops it is used to.
            ours.peers.get_mut(&v6(2)).unwrap().extended_next_hop = false;
            node.config.send_replace(Arc::new(ours));
            node.wait("IPv4 as ever", async |_| {
                let routes = bird.route(OWN[0]);
                routes.contains(&format!("BGP.next_hop: {}", v4(1)))
            })
            .await;
        });
    });
}
