use bgp_wire::Role;

use super::with_bird::with_role;
use crate::lab::setup::with_frr;

#[test]
fn each_side_shows_the_other() {
    for (ours, theirs) in [
        (Role::Provider, "customer"),
        (Role::Customer, "provider"),
        (Role::Peer, "peer"),
        (Role::RouteServer, "rs-client"),
        (Role::RouteServerClient, "rs-server"),
    ] {
        let options: &'static str = match theirs {
            "customer" => "local-role customer strict-mode",
            "provider" => "local-role provider strict-mode",
            "peer" => "local-role peer strict-mode",
            "rs-client" => "local-role rs-client strict-mode",
            _ => "local-role rs-server strict-mode",
        };
        with_frr(options, "", with_role(ours, true), async move |frr, _| {
            let state = frr.ask("show bgp neighbors 192.0.2.1");
            assert!(state.contains(&format!("Local Role: {theirs}")), "{state}");
            let marked = frr.ask("show bgp ipv4 unicast 10.1.0.0/24");
            // The AS that has marked it: ours, or FRR on receipt.
            assert_eq!(marked.contains("OTC 64512") || marked.contains("otc"), {
                !matches!(ours, Role::Customer | Role::RouteServerClient)
            });
        });
    }
}
