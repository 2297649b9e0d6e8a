//! RFC 5065: one of the others and we as two members of a confederation, with a neighbour outside.

use bgp_speaker::{Confederation, Config};
use viaduct_net::Asn;

use crate::lab::{
    node::{Node, config, prefix, v4, v6},
    other::{Maker, Theirs, also_at, beside, in_sync},
    setup::OWN,
};

/// What all of it is to the outside, where 192.0.2.3 is.
const ID: u32 = 64999;
const OUTSIDE: u32 = 65003;
const THIRDS: [&str; 2] = ["10.3.0.0/24", "fd00:3::/64"];

/// Member 64512, beside the member 65001.
fn ours() -> Config {
    let mut ours = config(1, 64512, &[(v4(2), 65001), (v4(3), OUTSIDE)]);
    let members = [Asn::new(65001)].into();
    ours.confederation = Some(Confederation { id: Asn::new(ID), members });
    ours
}

#[test]
fn paths_pass_between_members_and_out() {
    for (maker, neighbour, globals) in [
        (Maker::Bird, "confederation 64999; confederation member yes;", ""),
        (
            Maker::Frr,
            "",
            "router bgp 65001
 bgp confederation identifier 64999
 bgp confederation peers 64512
exit",
        ),
        (
            Maker::GoBgp,
            "",
            "[global.confederation.config]
enabled = true
identifier = 64999
member-as-list = [ 64512 ]",
        ),
    ] {
        let theirs = Theirs { globals, ..Theirs::new(maker, neighbour) };
        beside(theirs, ours(), async move |other, node| {
            also_at(&[3]);
            let third = Node::start(config(3, OUTSIDE, &[(v4(1), ID)]), &THIRDS);
            in_sync(&other, &node).await;
            let bare = |text: &str| text.replace(['(', ')', '[', ']'], "");
            assert_eq!(bare(&other.seen(OWN[0])[0].as_path), "64512", "{maker:?}");
            let own = other.own();
            let paths = node.handle.routes().await.unwrap();
            let path = paths.iter().find(|path| path.prefix == prefix(own[0])).unwrap();
            assert_eq!(path.as_path, "(65001)", "{maker:?}");
            // What is outside sees one AS, and is seen behind the members.
            third
                .wait("told of theirs", async |third| {
                    third.hops(own[0]) == [v4(1)] && third.hops(own[1]) == [v6(1)]
                })
                .await;
            let paths = third.handle.routes().await.unwrap();
            let path = paths.iter().find(|path| path.prefix == prefix(own[0])).unwrap();
            assert_eq!(path.as_path, "64999");
            let told = async |_: &Node| THIRDS.iter().all(|one| other.seen(one).len() == 1);
            node.wait(&format!("{maker:?} is told"), told).await;
            assert_eq!(bare(&other.seen(THIRDS[0])[0].as_path), "64512 65003", "{maker:?}");
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}
