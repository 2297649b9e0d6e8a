//! Against FRR in a namespace of its own, at the other end of a veth pair.

use crate::lab::{
    node::{config, v4, v6},
    setup::{OTHERS, OWN, with_frr},
};

#[test]
fn both_families_pass_both_ways_over_one_session() {
    with_frr("", "", config(1, 64512, &[(v4(2), 65001)]), async |frr, node| {
        let routes = frr.ask("show bgp ipv4 unicast json\nshow bgp ipv6 unicast json");
        assert!(routes.contains(r#""ip":"192.0.2.1""#), "{routes}");
        assert!(routes.contains(r#""ip":"2001:db8::1""#), "{routes}");
        node.originate(&OWN[..1]);
        node.wait("withdrawn", async |_| !frr.routes().contains(OWN[1])).await;
        assert!(frr.routes().contains(OWN[0]));
        frr.ask("configure terminal\nrouter bgp\nno network 198.51.100.0/24");
        node.wait("withdrawn by frr", async |node| node.hops(OTHERS[0]).is_empty()).await;
        assert_eq!(node.hops(OTHERS[1]), [v6(2)]);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

#[test]
fn a_daemon_that_dies_is_missed_at_once_and_found_again() {
    with_frr("", "", config(1, 64512, &[(v4(2), 65001)]), async |mut frr, node| {
        frr.kill("bgpd");
        node.wait("its routes are gone", async |node| node.hops(OTHERS[0]).is_empty()).await;
        frr.run("bgpd");
        node.wait("frr's routes", async |node| node.hops(OTHERS[0]) == [v4(2)]).await;
        node.wait("frr has ours", async |_| frr.has_ours()).await;
        assert_eq!(node.peer(v4(2)).await.flaps, 1);
    });
}
