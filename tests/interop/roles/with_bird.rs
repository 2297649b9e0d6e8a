use std::{net::IpAddr, sync::Arc};

use bgp_speaker::{Config, RoleConfig};
use bgp_wire::Role;

use crate::lab::{
    node::{Node, config, prefix, v4},
    setup::{BIRDS, with_bird_and},
};

pub(super) fn with_role(role: Role, strict: bool) -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    config.peers.get_mut(&v4(2)).unwrap().role = Some(RoleConfig { role, strict });
    config
}

#[test]
fn a_customer_is_told_what_goes_to_customers_only() {
    let options = "local role customer; require roles yes;";
    with_bird_and(options, 65001, with_role(Role::Provider, true), async |bird, node| {
        let routes = bird.routes();
        assert!(routes.contains("BGP.otc: 64512"), "{routes}");
        node.config.send_replace(Arc::new(with_role(Role::Peer, true)));
        let refused = async |node: &Node| {
            let error = node.peer(v4(2)).await.last_error.unwrap_or_default();
            error.contains("role mismatch (2/11)")
        };
        node.wait("refused", refused).await;
        node.config.send_replace(Arc::new(with_role(Role::Provider, true)));
        node.wait("back", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
    });
}

/// A BIRD that knows nothing of roles, and one that has marked a route.
#[test]
fn a_mark_from_below_is_a_leak() {
    let options = "ipv4 { import all; export filter { if source = RTS_STATIC then { bgp_otc = 65111; \
                   accept; } reject; }; };";
    let unaware = config(1, 64512, &[(v4(2), 65001)]);
    with_bird_and(options, 65001, unaware, async |_, node| {
        node.config.send_replace(Arc::new(with_role(Role::Provider, false)));
        node.wait("rejected", async |node| node.hops(BIRDS[0]) == [] as [IpAddr; 0]).await;
        node.wait("back without", async |node| !node.hops(BIRDS[1]).is_empty()).await;
        let routes = node.handle.routes().await.unwrap();
        let path = routes.iter().find(|path| path.prefix == prefix(BIRDS[0])).unwrap();
        assert!(path.reason.as_ref().unwrap().contains("RFC 9234"), "{path:?}");
    });
}
