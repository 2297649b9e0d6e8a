//! RFC 1997, 4360, 8092: communities of all three kinds, both ways, with every other maker.

use std::sync::Arc;

use bgp_speaker::Config;

use crate::{
    lab::{
        node::{Node, config, prefix, v4},
        other::{Maker, Theirs, with_other},
        setup::OWN,
    },
    policy::{ACCEPT, with_policies},
};

/// What we mark our routes with, and what they know of it.
const EXPORT: &str = r#"
- sources: [Local]
  set:
    communities: {add: ["64512:1", "64512:65535"]}
    largeCommunities: {add: ["64512:1:2", "4200000001:4294967295:0"]}
    extendedCommunities: {add: ["rt:64512:3", "soo:192.0.2.1:4"]}
  action: Accept"#;
const OURS: [&str; 6] = [
    "64512:1",
    "64512:65535",
    "64512:1:2",
    "4200000001:4294967295:0",
    "rt:64512:3",
    "soo:192.0.2.1:4",
];

/// What the others mark their IPv4 route with.
const THEIRS: [&str; 3] = ["65001:7", "65001:1:2", "rt:65001:9"];

/// How each is told to mark it, or, for GoBGP, is asked to.
const MARKED: [Theirs; 5] = [
    Theirs {
        globals: "",
        ..Theirs::new(
            Maker::Bird,
            "ipv4 { import all; export filter {
             if source != RTS_STATIC then reject;
             bgp_community.add((65001, 7));
             bgp_large_community.add((65001, 1, 2));
             bgp_ext_community.add((rt, 65001, 9));
             accept;
         }; };",
        )
    },
    Theirs {
        globals: "route-map marks permit 10
 set community 65001:7
 set large-community 65001:1:2
 set extcommunity rt 65001:9
exit",
        ..Theirs::new(Maker::Frr, "route-map marks out")
    },
    Theirs::new(Maker::GoBgp, ""),
    Theirs {
        globals: "match to any prefix 198.51.100.0/24 set { community 65001:7 \
                  large-community 65001:1:2 ext-community rt 65001:9 }",
        ..Theirs::new(Maker::OpenBgpd, "")
    },
    Theirs {
        globals: "route 2001:db8:ff00::/40 next-hop 2001:db8::2;
             route 198.51.100.0/24 { next-hop 192.0.2.2; community [ 65001:7 ];
                 large-community [ 65001:1:2 ]; extended-community [ target:65001:9 ]; }",
        ..Theirs::new(Maker::ExaBgp, "")
    },
];

fn ours() -> Config {
    with_policies(&config(1, 64512, &[(v4(2), 65001)]), ACCEPT, EXPORT)
}

#[test]
fn of_all_kinds_pass_both_ways() {
    for theirs in MARKED {
        with_other(theirs, ours(), async move |other, node| {
            for own in OWN {
                let seen = other.seen(own);
                assert!(seen.len() == 1 && seen[0].has(&OURS), "{theirs:?}: {seen:#?}");
            }
            let told = other.own()[0];
            if let crate::lab::other::Other::GoBgp(gobgp) = &other {
                gobgp.ask(&format!(
                    "global rib add {told} nexthop 192.0.2.2 community 65001:7 \
                     large-community 65001:1:2 rt 65001:9"
                ));
            }
            node.wait(&format!("{:?} marks", theirs.maker), async |node: &Node| {
                let paths = node.handle.routes().await.unwrap();
                let path = paths.iter().find(|path| path.prefix == prefix(told)).unwrap();
                THEIRS.iter().all(|one| path.communities.iter().any(|has| has == one))
            })
            .await;
            // Taken away again, in the same session.
            node.config.send_replace(Arc::new(with_policies(&ours(), ACCEPT, ACCEPT)));
            node.wait("none", async |_| {
                OWN.iter().all(|own| other.seen(own)[0].communities.is_empty())
            })
            .await;
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}
