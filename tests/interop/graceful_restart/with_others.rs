use std::time::Duration;

use bgpd::Stop;
use tokio::time::sleep;

use crate::lab::{
    node::{Node, config, v4},
    other::{Maker, Other, Theirs, in_sync, with_other},
    setup::OWN,
};

const GOBGP: &str = "[neighbors.graceful-restart.config]
enabled = true
restart-time = 30
|[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true";

#[test]
fn they_keep_our_routes_while_we_restart() {
    for (maker, globals) in [(Maker::Frr, ""), (Maker::GoBgp, GOBGP), (Maker::OpenBgpd, "")] {
        let theirs = Theirs { globals, ..Theirs::new(maker, "") };
        with_other(theirs, config(1, 64512, &[(v4(2), 65001)]), async move |other, node| {
            node.handle.shutdown(Stop::Restart).await;
            drop(node);
            for _ in 0..20 {
                assert!(other.has_ours(), "{maker:?}");
                sleep(Duration::from_millis(10)).await;
            }
            let mut again = config(1, 64512, &[(v4(2), 65001)]);
            again.restarting = true;
            // One of them is not announced any more: it goes when the others have come.
            let node = Node::start(again, &OWN[..1]);
            other.retry();
            node.wait(&format!("{maker:?} has swept"), async |node| {
                assert!(!other.seen(OWN[0]).is_empty(), "{maker:?}");
                node.synced() && other.seen(OWN[1]).is_empty()
            })
            .await;
            // FRR says that it has restarted too, so it is not waited for (RFC 4724 §4.1).
            node.wait("theirs", async |node| node.hops(other.own()[0]) == [v4(2)]).await;
        });
    }
}

#[test]
fn we_keep_their_routes_while_they_restart() {
    const FRR: &str = "router bgp 65001
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
exit";
    for (maker, globals) in [(Maker::Frr, FRR), (Maker::GoBgp, GOBGP)] {
        let theirs = Theirs { globals, ..Theirs::new(maker, "") };
        let ours = config(1, 64512, &[(v4(2), 65001)]);
        with_other(theirs, ours, async move |mut other, node| {
            match &mut other {
                Other::Frr(frr) => frr.kill("bgpd"),
                Other::GoBgp(gobgp) => gobgp.kill(),
                _ => unreachable!(),
            }
            // FRR tells us our own, too.
            node.wait("stale", async |node| node.peer(v4(2)).await.prefixes_stale >= 2).await;
            match &mut other {
                Other::Frr(frr) => frr.run("bgpd"),
                Other::GoBgp(gobgp) => gobgp.recover(),
                _ => unreachable!(),
            }
            node.wait(&format!("{maker:?} is fresh"), async |node| {
                node.established(v4(2)).await && node.peer(v4(2)).await.prefixes_stale == 0
            })
            .await;
            in_sync(&other, &node).await;
            assert!(node.fib.lock().unwrap().withdrawn.is_empty(), "{maker:?}");
            assert_eq!(node.peer(v4(2)).await.flaps, 1);
        });
    }
}
