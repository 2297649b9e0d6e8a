use std::time::Duration;

use super::with_bird::ours;
use crate::lab::{
    node::{Node, config, prefix, v4, v6},
    other::{Maker, Other, Theirs, in_sync, with_other},
    setup::OWN,
};

const GOBGP: &str = "[neighbors.graceful-restart.config]
enabled = true
restart-time = 1
long-lived-enabled = true
|[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true
[neighbors.afi-safis.long-lived-graceful-restart.config]
enabled = true
restart-time = 60";
const FRR: &str = "router bgp 65001
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 bgp graceful-restart restart-time 1
 bgp long-lived-graceful-restart stale-time 60
exit";

#[test]
fn we_keep_their_routes_for_long() {
    for (maker, globals) in [(Maker::Frr, FRR), (Maker::GoBgp, GOBGP)] {
        let theirs = Theirs { globals, ..Theirs::new(maker, "") };
        with_other(theirs, ours(false), async move |mut other, node| {
            match &mut other {
                Other::Frr(frr) => frr.kill("bgpd"),
                Other::GoBgp(gobgp) => gobgp.kill(),
                _ => unreachable!(),
            }
            node.wait(&format!("{maker:?}'s kept for long"), async |node| {
                let all = node.handle.routes().await.unwrap();
                let own = other.own().map(prefix);
                let theirs = all.iter().filter(|path| own.contains(&path.prefix));
                theirs.filter(|path| path.communities.contains(&"llgr-stale".to_owned())).count()
                    == 2
            })
            .await;
            let own = other.own();
            assert_eq!((node.hops(own[0]), node.hops(own[1])), (vec![v4(2)], vec![v6(2)]));
            match &mut other {
                Other::Frr(frr) => frr.run("bgpd"),
                Other::GoBgp(gobgp) => gobgp.recover(),
                _ => unreachable!(),
            }
            node.wait("fresh", async |node| {
                let all = node.handle.routes().await.unwrap();
                let path = all.iter().find(|path| path.prefix == prefix(own[0])).unwrap();
                !path.stale && path.communities.is_empty()
            })
            .await;
            in_sync(&other, &node).await;
            assert!(node.fib.lock().unwrap().withdrawn.is_empty(), "{maker:?}");
        });
    }
}

#[test]
fn they_keep_ours_for_long() {
    for (maker, globals) in [(Maker::Frr, FRR), (Maker::GoBgp, GOBGP)] {
        let theirs = Theirs { globals, ..Theirs::new(maker, "") };
        with_other(theirs, ours(false), async move |other, node| {
            node.handle.shutdown(bgpd::Stop::Restart).await;
            drop(node);
            // A node without peers, to wait with.
            let clock = Node::start(config(9, 64512, &[]), &[]);
            clock
                .wait(&format!("{maker:?} keeps ours for long"), async |_| {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    OWN.iter().all(|own| {
                        let seen = other.seen(own);
                        assert!(!seen.is_empty(), "{maker:?}");
                        seen[0].has(&["llgr-stale"])
                    })
                })
                .await;
            let back = Node::start(ours(true), &OWN);
            back.wait("fresh", async |_| {
                assert!(other.has_ours(), "{maker:?}");
                OWN.iter().all(|own| !other.seen(own)[0].has(&["llgr-stale"]))
            })
            .await;
        });
    }
}
