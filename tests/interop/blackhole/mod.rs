//! RFC 7999: what another maker's daemon marks with BLACKHOLE is discarded where that was agreed on.

use std::{collections::BTreeSet, sync::Arc};

use bgp_speaker::Config;

use crate::lab::{
    node::{Node, config, prefix, v4},
    other::{Maker, Other, Theirs, with_other},
};

/// The host under attack. Its network is announced beside it, and goes on to be reached.
const HOST: &str = "198.51.100.7/32";

const MAKERS: [Theirs; 5] = [
    Theirs {
        globals: "protocol static hole { ipv4; route 198.51.100.7/32 blackhole; }",
        ..Theirs::new(
            Maker::Bird,
            "ipv4 { import all; export filter {
             if source != RTS_STATIC then reject;
             if net = 198.51.100.7/32 then bgp_community.add((65535, 666));
             accept;
         }; };",
        )
    },
    Theirs {
        globals: "router bgp 65001
 address-family ipv4 unicast
  network 198.51.100.7/32 route-map hole
 exit-address-family
exit
route-map hole permit 10
 set community blackhole
exit",
        ..Theirs::new(Maker::Frr, "")
    },
    Theirs::new(Maker::GoBgp, ""),
    Theirs {
        globals: "network 198.51.100.7/32 set community BLACKHOLE",
        ..Theirs::new(Maker::OpenBgpd, "")
    },
    Theirs {
        globals: "route 2001:db8:ff00::/40 next-hop 2001:db8::2;
             route 198.51.100.0/24 next-hop 192.0.2.2;
             route 198.51.100.7/32 { next-hop 192.0.2.2; community [ 65535:666 ]; }",
        ..Theirs::new(Maker::ExaBgp, "")
    },
];

fn ours(accept_blackhole: bool) -> Arc<Config> {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    config.peers.get_mut(&v4(2)).unwrap().accept_blackhole = accept_blackhole;
    Arc::new(config)
}

/// The communities with which the host's route stands in our table.
async fn marks(node: &Node) -> Option<BTreeSet<String>> {
    let paths = node.handle.routes().await.unwrap();
    let path = paths.into_iter().find(|path| path.prefix == prefix(HOST))?;
    Some(path.communities.into_iter().collect())
}

#[test]
fn what_all_makers_mark_is_discarded_where_that_was_agreed_on() {
    for theirs in MAKERS {
        with_other(theirs, (*ours(false)).clone(), async move |other, node| {
            let maker = theirs.maker;
            if let Other::GoBgp(gobgp) = &other {
                gobgp.ask(&format!("global rib add {HOST} nexthop 192.0.2.2 community 65535:666"));
            }
            // Not by itself (RFC 7999 §3.3).
            node.wait(&format!("{maker:?}'s host"), async |node| node.hops(HOST) == [v4(2)]).await;
            assert_eq!(marks(&node).await, Some(["blackhole".to_owned()].into()), "{maker:?}");
            node.config.send_replace(ours(true));
            node.wait("it is discarded", async |node| node.discards(HOST)).await;
            let kept: BTreeSet<_> = ["blackhole", "no-export"].map(str::to_owned).into();
            assert_eq!(marks(&node).await, Some(kept), "{maker:?}");
            for own in other.own() {
                assert_eq!(node.hops(own).len(), 1, "{maker:?}: {own} is as it was");
            }
            node.config.send_replace(ours(false));
            node.wait("no more", async |node| node.hops(HOST) == [v4(2)]).await;
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}
