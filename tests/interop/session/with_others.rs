//! Against the makers beside BIRD and FRR.

use crate::lab::{
    node::{config, v4, v6},
    other::{Maker, Theirs, with_other},
    setup::OWN,
};

#[test]
fn both_families_pass_both_ways_over_one_session() {
    for maker in [Maker::GoBgp, Maker::OpenBgpd, Maker::ExaBgp] {
        let ours = config(1, 64512, &[(v4(2), 65001)]);
        with_other(Theirs::new(maker, ""), ours, async move |other, node| {
            for (own, hop) in OWN.into_iter().zip([v4(1), v6(1)]) {
                let seen = other.seen(own);
                assert_eq!(seen.len(), 1, "{maker:?}: {seen:#?}");
                assert_eq!(
                    (seen[0].as_path.as_str(), &seen[0].next_hop),
                    ("64512", &hop.to_string())
                );
            }
            node.originate(&OWN[..1]);
            node.wait("withdrawn", async |_| other.seen(OWN[1]).is_empty()).await;
            assert_eq!(other.seen(OWN[0]).len(), 1);
            other.withdraw();
            let own = other.own();
            node.wait("withdrawn by it", async |node| node.hops(own[0]).is_empty()).await;
            assert_eq!(node.hops(own[1]), [v6(2)]);
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}

/// An internal session with AS numbers that take four octets.
#[test]
fn internal_sessions_of_a_large_as() {
    for maker in [Maker::Frr, Maker::GoBgp, Maker::OpenBgpd, Maker::ExaBgp] {
        let asn = 4_200_000_001;
        let theirs = Theirs { asn, ..Theirs::new(maker, "") };
        with_other(theirs, config(1, asn, &[(v4(2), asn)]), async move |other, node| {
            let paths = node.handle.routes().await.unwrap();
            for path in paths.iter().filter(|path| path.peer.is_some()) {
                assert_eq!((path.as_path.as_str(), path.local_pref), ("", Some(100)), "{maker:?}");
            }
            assert_eq!(other.seen(OWN[0])[0].as_path.replace("Local", ""), "");
        });
    }
}
