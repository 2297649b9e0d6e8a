use bgp_wire::Role;

use super::with_bird::with_role;
use crate::lab::{
    node::v4,
    other::{Maker, Other, Theirs, with_other},
};

#[test]
fn each_side_shows_the_other() {
    for (ours, name, neighbour) in [
        (Role::Provider, "provider", "announce policy customer enforce"),
        (Role::Customer, "customer", "announce policy provider enforce"),
        (Role::Peer, "peer", "announce policy peer enforce"),
        (Role::RouteServer, "rs", "announce policy rs-client enforce"),
        (Role::RouteServerClient, "rs-client", "announce policy rs enforce"),
    ] {
        let theirs = Theirs::new(Maker::OpenBgpd, neighbour);
        with_other(theirs, with_role(ours, true), async move |other, node| {
            let Other::OpenBgpd(bgpd) = &other else { unreachable!() };
            let told = &bgpd.neighbour()["neighbors"][0]["session"]["remote"]["capabilities"];
            assert_eq!(told["open_policy_role"], name);
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}
