use crate::lab::{
    node::{config, v6},
    other::{Maker, Other, Theirs, beside},
    setup::OWN,
};

#[test]
fn ipv4_over_ipv6_both_ways() {
    for (maker, neighbour, globals) in [
        (Maker::GoBgp, "", ""),
        (
            Maker::ExaBgp,
            "capability { nexthop enable; } nexthop { ipv4 unicast ipv6; }",
            "route 198.51.100.0/24 next-hop 2001:db8::2;
             route 2001:db8:ff00::/40 next-hop 2001:db8::2;",
        ),
    ] {
        let mut ours = config(1, 64512, &[(v6(2), 65001)]);
        ours.peers.get_mut(&v6(2)).unwrap().extended_next_hop = true;
        let theirs = Theirs { globals, over_v6: true, ..Theirs::new(maker, neighbour) };
        beside(theirs, ours, async move |other, node| {
            let own = other.own();
            if let Other::GoBgp(gobgp) = &other {
                gobgp.ask(&format!("global rib add {} nexthop 2001:db8::2", own[0]));
            }
            node.wait(&format!("{maker:?}'s IPv4 over IPv6"), async |node| {
                node.hops(own[0]) == [v6(2)] && node.hops(own[1]) == [v6(2)]
            })
            .await;
            node.wait(&format!("{maker:?} has ours"), async |_| other.has_ours()).await;
            for own in OWN {
                assert_eq!(other.seen(own)[0].next_hop, "2001:db8::1", "{maker:?}");
            }
            assert_eq!(node.peer(v6(2)).await.flaps, 0);
        });
    }
}
