//! RFC 2918 and 7313: who asks is told everything again, between a beginning and an end.

use crate::lab::{
    node::{Node, config, v4},
    other::{Maker, Other, Theirs, with_other},
};

/// GoBGP has no way to ask: it keeps what it was told, and looks at that again.
const ASKING: [(Maker, &str); 4] = [
    (Maker::Bird, "debug { packets };"),
    (Maker::Frr, ""),
    (Maker::OpenBgpd, "announce enhanced refresh yes"),
    (Maker::ExaBgp, "capability { route-refresh enable; }"),
];

async fn updates(node: &Node) -> u64 {
    node.handle.peer(v4(2)).await.unwrap().unwrap().updates_sent
}

/// Whether it has read a beginning and an end for each family.
fn demarcated(other: &Other) -> bool {
    match other {
        Other::Bird(bird) => {
            let log = bird.log();
            log.matches("Got BEGIN-OF-RR").count() == 2 && log.matches("Got END-OF-RR").count() == 2
        }
        Other::Frr(frr) => {
            let state = frr.ask("show bgp neighbors 192.0.2.1");
            let counts = state.lines().find(|line| line.trim().starts_with("Route Refresh:"));
            counts.unwrap().split_whitespace().last() == Some("4")
        }
        Other::OpenBgpd(bgpd) => {
            let received = &bgpd.neighbour()["neighbors"][0]["stats"]["route-refresh"]["received"];
            received["borr"] == 2 && received["eorr"] == 2
        }
        Other::ExaBgp(exabgp) => {
            let log = exabgp.log();
            ["begin", "end"]
                .iter()
                .all(|what| log.matches(&format!(r#""subtype": ""{what}"""#)).count() == 2)
        }
        Other::GoBgp(_) => unreachable!(),
    }
}

#[test]
fn who_asks_is_told_again() {
    for (maker, neighbour) in ASKING {
        let ours = config(1, 64512, &[(v4(2), 65001)]);
        with_other(Theirs::new(maker, neighbour), ours, async move |other, node| {
            let detail = node.handle.peer(v4(2)).await.unwrap().unwrap();
            let both = "enhanced route refresh".to_owned();
            assert!(detail.capabilities_received.contains(&both), "{maker:?}: {detail:#?}");
            let before = updates(&node).await;
            other.refresh();
            node.wait("told again", async |node| updates(node).await >= before + 2).await;
            node.wait("with beginning and end", async |_| demarcated(&other)).await;
            assert!(other.has_ours(), "{maker:?}");
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}

/// A peer that knows only the older of the two gets no more than it asked for.
#[test]
fn who_knows_no_beginning_gets_none() {
    let ours = config(1, 64512, &[(v4(2), 65001)]);
    let theirs = Theirs::new(Maker::OpenBgpd, "");
    with_other(theirs, ours, async |other, node| {
        let before = updates(&node).await;
        other.refresh();
        node.wait("told again", async |node| updates(node).await >= before + 2).await;
        let Other::OpenBgpd(bgpd) = &other else { unreachable!() };
        let received = &bgpd.neighbour()["neighbors"][0]["stats"]["route-refresh"]["received"];
        assert_eq!((&received["borr"], &received["eorr"]), (&0.into(), &0.into()));
        assert!(other.has_ours());
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}
