use bgp_speaker::{Config, LocalAs, RestartTime};
use viaduct_net::Asn;

use crate::{
    lab::{
        bird::Bird,
        node::{Node, config, prefix, v4},
        setup::{BIRDS, OWN, with_bird_as},
    },
    planned_restart::replace,
};

/// Node 1 of AS 64512, which is AS 64777 to its peer.
pub(super) fn with_local_as(prepend_received: bool, replace_sent: bool) -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    let asn = Asn::new(64777);
    config.peers.get_mut(&v4(2)).unwrap().local_as =
        Some(LocalAs { asn, prepend_received, replace_sent });
    config
}

/// Node 1 of AS 64512, to whose peer both are of one AS, which is another; it asks nobody to keep its
/// routes.
pub(super) fn internal(asn: u32) -> Config {
    let mut config = config(1, 64512, &[(v4(2), asn)]);
    config.restart_time = RestartTime::default();
    let asn = Asn::new(asn);
    config.peers.get_mut(&v4(2)).unwrap().local_as =
        Some(LocalAs { asn, prepend_received: true, replace_sent: false });
    config
}

/// As RFC 7705 §4 has it: no AS in front on either side, and a preference with every route.
#[test]
fn with_bird_in_the_other_as_the_session_is_internal_and_is_handed_over_as_such() {
    with_bird_as((64777, 64777), internal(64777), async move |bird, mut node| {
        let session = bird.ask("show protocols all viaduct");
        assert!(session.contains("Session:          internal"), "{session}");
        let holds = async |bird: &Bird, node: &Node| {
            let routes = bird.ask("show route 10.1.0.0/24 all");
            assert!(routes.contains("BGP.as_path: \n"), "{routes}");
            assert!(routes.contains("BGP.local_pref: 100\n"), "{routes}");
            let paths = node.handle.routes().await.unwrap();
            let path = paths.iter().find(|path| path.prefix == prefix(BIRDS[0])).unwrap();
            assert_eq!((path.as_path.as_str(), path.local_pref), ("", Some(100)));
        };
        holds(&bird, &node).await;
        let ages = bird.ask("show route protocol viaduct");
        for _ in 0..2 {
            node = replace(node, internal(64777), &OWN).await;
            node.wait("the same routes", async |node| {
                node.synced() && node.hops(BIRDS[0]) == [v4(2)]
            })
            .await;
        }
        holds(&bird, &node).await;
        assert_eq!(bird.ask("show route protocol viaduct"), ages, "nothing was told again");
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

#[test]
fn bird_sees_the_other_as_before_ours_or_in_its_place() {
    for (prepends, replaces, here, there) in
        [(true, false, "64777 65001", "64777 64512"), (false, true, "65001", "64777")]
    {
        let ours = with_local_as(prepends, replaces);
        with_bird_as((65001, 64777), ours, async move |bird, node| {
            let routes = bird.ask("show route 10.1.0.0/24 all");
            assert!(routes.contains(&format!("BGP.as_path: {there}\n")), "{routes}");
            let paths = node.handle.routes().await.unwrap();
            let path = paths.iter().find(|path| path.prefix == prefix(BIRDS[0])).unwrap();
            assert_eq!(path.as_path, here);
        });
    }
}
