//! The same with every other maker that has a table, in both parts; ExaBGP as a client.

use crate::lab::{
    node::{Node, config, prefix, v4, v6},
    other::{Maker, Theirs, also_at, beside},
};

const AS: u32 = 64512;
const THIRDS: [&str; 2] = ["10.3.0.0/24", "fd00:3::/64"];

#[test]
fn we_reflect_between_one_of_them_and_another_of_us() {
    for maker in [Maker::Frr, Maker::GoBgp, Maker::OpenBgpd, Maker::ExaBgp] {
        let mut ours = config(1, AS, &[(v4(2), AS), (v4(3), AS)]);
        ours.cluster_id = [192, 0, 2, 99].into();
        ours.peers.values_mut().for_each(|peer| peer.reflector_client = true);
        let theirs = Theirs { asn: AS, ..Theirs::new(maker, "") };
        beside(theirs, ours, async move |other, node| {
            also_at(&[3]);
            let third = Node::start(config(3, AS, &[(v4(1), AS)]), &THIRDS);
            let is_told = async |_: &Node| THIRDS.iter().all(|one| other.seen(one).len() == 1);
            node.wait(&format!("{maker:?} is told"), is_told).await;
            for (told, hop) in THIRDS.into_iter().zip([v4(3), v6(3)]) {
                let seen = &other.seen(told)[0];
                assert_eq!(seen.next_hop, hop.to_string(), "{maker:?}");
                assert_eq!(seen.originator.as_deref(), Some("192.0.2.3"), "{maker:?}");
                assert_eq!(seen.clusters, ["192.0.2.99"], "{maker:?}");
            }
            let own = other.own();
            third
                .wait("told of theirs", async |third| {
                    third.hops(own[0]) == [v4(2)] && third.hops(own[1]) == [v6(2)]
                })
                .await;
            let paths = third.handle.routes().await.unwrap();
            let path = paths.iter().find(|path| path.prefix == prefix(own[1])).unwrap();
            assert_eq!(path.originator_id.as_deref(), Some("192.0.2.2"));
            assert_eq!(path.cluster_list, ["192.0.2.99"]);
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}

#[test]
fn one_of_them_reflects_between_two_of_us() {
    const FRR: &str = "router bgp 64512
 bgp cluster-id 192.0.2.98
 address-family ipv4 unicast
  neighbor 192.0.2.1 route-reflector-client
 exit-address-family
 address-family ipv6 unicast
  neighbor 192.0.2.1 route-reflector-client
 exit-address-family
exit";
    const GOBGP: &str = "[neighbors.route-reflector.config]
route-reflector-client = true
route-reflector-cluster-id = \"192.0.2.98\"";
    for theirs in [
        Theirs {
            globals: FRR,
            also: &[(3, AS, "route-reflector-client")],
            ..Theirs::new(Maker::Frr, "")
        },
        Theirs {
            globals: GOBGP,
            also: &[(
                3,
                AS,
                "|[neighbors.route-reflector.config]
route-reflector-client = true
route-reflector-cluster-id = \"192.0.2.98\"",
            )],
            ..Theirs::new(Maker::GoBgp, "")
        },
        Theirs {
            also: &[(3, AS, "route-reflector 192.0.2.98")],
            ..Theirs::new(Maker::OpenBgpd, "route-reflector 192.0.2.98")
        },
    ] {
        let maker = theirs.maker;
        let ours = config(1, AS, &[(v4(2), AS)]);
        beside(Theirs { asn: AS, ..theirs }, ours, async move |_other, node| {
            also_at(&[3]);
            let third = Node::start(config(3, AS, &[(v4(2), AS)]), &THIRDS);
            node.wait(&format!("{maker:?} reflects"), async |node| {
                node.hops(THIRDS[0]) == [v4(3)] && node.hops(THIRDS[1]) == [v6(3)]
            })
            .await;
            third
                .wait("both ways", async |third| {
                    third.hops("10.1.0.0/24") == [v4(1)] && third.hops("fd00:1::/64") == [v6(1)]
                })
                .await;
            let paths = node.handle.routes().await.unwrap();
            for path in paths.iter().filter(|path| THIRDS.map(prefix).contains(&path.prefix)) {
                assert_eq!(path.originator_id.as_deref(), Some("192.0.2.3"), "{maker:?}");
                assert_eq!(path.cluster_list, ["192.0.2.98"], "{maker:?}");
            }
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}
