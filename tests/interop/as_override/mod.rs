//! Two sites of one AS, each of which would take the other's routes for loops (RFC 4271 §9.1.2): we are
//! between them and tell each of the other with our own AS in its place.

use std::sync::Arc;

use bgp_speaker::Config;

use crate::lab::{
    node::{Node, config, prefix, v4},
    other::{Maker, Theirs, also_at, with_other},
    setup::OWN,
};

const SITE: u32 = 65001;
const ROUTE: &str = "10.3.0.0/24";

fn between(as_override: bool) -> Config {
    let mut config = config(1, 64512, &[(v4(2), SITE), (v4(3), SITE)]);
    for peer in config.peers.values_mut() {
        peer.as_override = as_override;
    }
    config
}

#[test]
fn each_site_hears_of_the_other() {
    for maker in [Maker::Bird, Maker::Frr, Maker::GoBgp] {
        with_other(Theirs::new(maker, ""), between(false), async move |other, node| {
            also_at(&[3]);
            let site = Node::start(config(3, SITE, &[(v4(1), 64512)]), &[ROUTE]);
            let theirs = other.own()[0];
            site.wait("a session", async |site| site.established(v4(1)).await).await;
            node.wait("the site's", async |node| node.hops(ROUTE) == [v4(3)]).await;
            // What we have said before of the route has been read once this has.
            node.originate(&[OWN[0], OWN[1], "10.9.0.0/24"]);
            node.wait("told of ours", async |_| !other.seen("10.9.0.0/24").is_empty()).await;
            assert_eq!(other.seen(ROUTE), [], "a loop");
            // GoBGP keeps what it had where it refuses what comes in its place.
            let rounds = if maker == Maker::GoBgp { &[true][..] } else { &[true, false, true] };
            for &wanted in rounds {
                node.config.send_replace(Arc::new(between(wanted)));
                node.wait("told of the site's", async |_| {
                    let seen = other.seen(ROUTE);
                    seen.iter()
                        .map(|path| path.as_path.as_str())
                        .eq(wanted.then_some("64512 64512"))
                })
                .await;
                site.wait("told of the other's", async |site| {
                    site.hops(theirs).is_empty() != wanted
                })
                .await;
            }
            let paths = site.handle.routes().await.unwrap();
            let path = paths.iter().find(|path| path.prefix == prefix(theirs)).unwrap();
            assert_eq!(path.as_path, "64512 64512");
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}
