use bgp_speaker::Config;

use crate::lab::{
    node::{Node, config, prefix, v4},
    other::{Maker, Other, Theirs, also_at, beside},
};

const AS: u32 = 64512;
const SHARED: [&str; 2] = ["10.9.0.0/24", "fd00:9::/64"];

fn external(number: u8, asn: u32, peer: u8) -> Node {
    Node::start(config(number, asn, &[(v4(peer), AS)]), &SHARED)
}

/// Us, between two external nodes that tell the same prefixes and one of the others, of our own AS.
fn between() -> Config {
    let mut ours = config(1, AS, &[(v4(2), AS), (v4(3), 65003), (v4(4), 65004)]);
    ours.peers.get_mut(&v4(2)).unwrap().add_path_send = 8;
    ours
}

#[test]
fn all_makers_are_told_of_every_path() {
    for (maker, neighbour, globals) in [
        (Maker::Frr, "", ""),
        (Maker::GoBgp, "", "|[neighbors.afi-safis.add-paths.config]\nreceive = true"),
        (Maker::OpenBgpd, "announce add-path recv yes", ""),
        (Maker::ExaBgp, "capability { add-path receive; }", ""),
    ] {
        let theirs = Theirs { asn: AS, globals, ..Theirs::new(maker, neighbour) };
        beside(theirs, between(), async move |other, node| {
            also_at(&[3, 4]);
            let third = external(3, 65003, 1);
            let fourth = external(4, 65004, 1);
            let has = |paths: &[&str]| {
                SHARED.iter().all(|prefix| {
                    let mut seen: Vec<_> =
                        other.seen(prefix).into_iter().map(|seen| seen.as_path).collect();
                    seen.sort();
                    seen == paths
                })
            };
            node.wait(&format!("{maker:?}: both"), async |_| has(&["65003", "65004"])).await;
            // One goes and comes back: the other stands all the while.
            fourth.originate(&[]);
            node.wait("one", async |_| has(&["65003"])).await;
            fourth.originate(&SHARED);
            node.wait("both again", async |_| has(&["65003", "65004"])).await;
            third.originate(&[]);
            node.wait("the other", async |_| has(&["65004"])).await;
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}

/// How many paths we have of a prefix from the other.
async fn paths(node: &Node, text: &str) -> usize {
    let all = node.handle.routes().await.unwrap();
    all.iter().filter(|path| path.prefix == prefix(text) && path.peer == Some(v4(2))).count()
}

/// Us, taking several from 192.0.2.2.
fn taker() -> Config {
    let mut ours = config(1, AS, &[(v4(2), AS)]);
    ours.peers.get_mut(&v4(2)).unwrap().add_path_receive = true;
    ours
}

/// One of the others sends what two nodes of ours tell it.
#[test]
fn we_take_all_that_they_send() {
    for (maker, neighbour, globals) in [
        (
            Maker::Frr,
            "",
            "router bgp 64512
 address-family ipv4 unicast
  neighbor 192.0.2.1 addpath-tx-all-paths
 exit-address-family
 address-family ipv6 unicast
  neighbor 192.0.2.1 addpath-tx-all-paths
 exit-address-family
exit",
        ),
        (Maker::GoBgp, "", "|[neighbors.afi-safis.add-paths.config]\nsend-max = 8"),
        (Maker::OpenBgpd, "announce add-path send all", ""),
    ] {
        let also = &[(3, 65003, ""), (4, 65004, "")];
        let theirs = Theirs { asn: AS, globals, also, ..Theirs::new(maker, neighbour) };
        beside(theirs, taker(), async move |_other, node| {
            also_at(&[3, 4]);
            let third = external(3, 65003, 2);
            let _fourth = external(4, 65004, 2);
            let both = async |node: &Node| {
                paths(node, SHARED[0]).await == 2 && paths(node, SHARED[1]).await == 2
            };
            node.wait(&format!("{maker:?}: both paths of both families"), both).await;
            third.originate(&SHARED[1..]);
            node.wait("one is withdrawn", async |node| paths(node, SHARED[0]).await == 1).await;
            assert_eq!(node.hops(SHARED[0]), [v4(4)]);
            assert_eq!(paths(&node, SHARED[1]).await, 2);
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}

#[test]
fn we_take_all_that_exabgp_makes_up() {
    let theirs = Theirs {
        asn: AS,
        globals: "route 10.9.0.0/24 next-hop 192.0.2.2 path-information 0.0.0.7;
                  route 10.9.0.0/24 next-hop 192.0.2.9 path-information 255.255.255.255;
                  route fd00:9::/64 next-hop 2001:db8::2 path-information 0.0.0.7;",
        ..Theirs::new(Maker::ExaBgp, "capability { add-path send; }")
    };
    beside(theirs, taker(), async |other, node| {
        node.wait("both", async |node| paths(node, SHARED[0]).await == 2).await;
        node.wait("of the other family", async |node| paths(node, SHARED[1]).await == 1).await;
        let Other::ExaBgp(exabgp) = &other else { unreachable!() };
        exabgp.order("withdraw route 10.9.0.0/24 next-hop 192.0.2.2 path-information 0.0.0.7");
        node.wait("one", async |node| paths(node, SHARED[0]).await == 1).await;
        assert_eq!(node.hops(SHARED[0]), [v4(9)]);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}
