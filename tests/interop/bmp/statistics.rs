//! The numbers of RFC 7854 §4.8 and RFC 8671 §6.2, of a peer that says each thing that is counted.

use std::{collections::BTreeMap, net::SocketAddr};

use bgp_bmp::StatisticKind as Kind;
use bgp_speaker::Policy;
use bgp_wire::AfiSafi;
use bgpd::Monitored;

use crate::lab::{
    exabgp::ExaBgp,
    node::{Node, config, prefix, v4},
    pcap::dissect,
    setup::{OTHERS, OWN, linked, with_bird},
    station::{ALL, LOC_RIB, PRE, Station, monitor},
};

/// By our import policy.
const REFUSED: &str = "10.66.0.0/16";

/// Everything but these.
fn all_but(text: &str) -> Policy {
    use bgp_rib::{Action, Matches, PrefixMatch, PrefixSet, Rule};
    let prefixes = PrefixSet::new([PrefixMatch::exact(prefix(text))]);
    let refused = Matches { prefixes, ..Matches::default() };
    let rest = Matches::default();
    Policy::new([Rule::new(refused, Action::Reject), Rule::new(rest, Action::Accept)])
}

type Numbers = BTreeMap<(Kind, Option<AfiSafi>), u64>;

/// Every number of the peer: a counter that is not named is zero.
fn expected(received: u64, counted: &[(Kind, u64)]) -> Numbers {
    let counters = (0..=6).chain(11..=13).map(|kind| ((Kind(kind), None), 0));
    let (v4, v6) = (Some(AfiSafi::IPV4_UNICAST), Some(AfiSafi::IPV6_UNICAST));
    let gauges = [
        ((Kind::ADJ_RIB_IN, None), received),
        ((Kind::ADJ_RIB_IN_OF_FAMILY, v4), received - 1),
        ((Kind::ADJ_RIB_IN_OF_FAMILY, v6), 1),
        ((Kind::ADJ_RIB_OUT_PRE_POLICY, None), 2),
        ((Kind::ADJ_RIB_OUT_PRE_POLICY_OF_FAMILY, v4), 1),
        ((Kind::ADJ_RIB_OUT_PRE_POLICY_OF_FAMILY, v6), 1),
        ((Kind::ADJ_RIB_OUT_POST_POLICY, None), 1),
        ((Kind::ADJ_RIB_OUT_POST_POLICY_OF_FAMILY, v4), 0),
        ((Kind::ADJ_RIB_OUT_POST_POLICY_OF_FAMILY, v6), 1),
    ];
    let counted = counted.iter().map(|&(kind, count)| ((kind, None), count));
    counters.chain(gauges).chain(counted).collect()
}

async fn wait_for(node: &Node, station: &Station, expected: &Numbers) {
    node.wait(&format!("{expected:?}"), async |_| station.numbers(PRE) == *expected).await;
}

#[test]
fn what_a_peer_says_is_counted_and_stays_counted() {
    linked(async |netns| {
        let ends = ["192.0.2.2", "192.0.2.1"];
        let exabgp = ExaBgp::start(netns, 64512, (ends, 64512, ""), "");
        let mut ours = config(1, 64512, &[(v4(2), 64512)]);
        let peer = ours.peers.get_mut(&v4(2)).unwrap();
        peer.reflector_client = true;
        (peer.import, peer.export) = (all_but(REFUSED), all_but(OWN[0]));
        let node = Node::start(ours, &OWN);
        node.wait("exabgp's routes", async |node| {
            OTHERS.iter().all(|text| !node.hops(text).is_empty())
        })
        .await;
        let station = Station::start(SocketAddr::new(v4(1), 11019)).await;
        monitor(&node, station.address, &ALL).await;
        let mut counted = Vec::new();
        wait_for(&node, &station, &expected(2, &counted)).await;

        // Said once more, each family in an UPDATE of its own.
        exabgp.order("flush adj-rib out");
        counted.extend([(Kind::DUPLICATE_PREFIXES, 2), (Kind::DUPLICATE_UPDATES, 2)]);
        wait_for(&node, &station, &expected(2, &counted)).await;

        // An UPDATE each; what goes round stays in the table, and what is malformed does not.
        for (order, kinds, received) in [
            (
                "announce route 10.90.1.0/24 next-hop 192.0.2.2 as-path [ 65001 64512 ]",
                &[(Kind::AS_PATH_LOOPS, 1)][..],
                3,
            ),
            (
                "announce route 10.90.2.0/24 next-hop 192.0.2.2 originator-id 192.0.2.1",
                &[(Kind::ORIGINATOR_LOOPS, 1)],
                4,
            ),
            (
                "announce route 10.90.3.0/24 next-hop 192.0.2.2 cluster-list [ 192.0.2.1 ]",
                &[(Kind::CLUSTER_LOOPS, 1)],
                5,
            ),
            // A MULTI_EXIT_DISC of three octets.
            (
                "announce attributes next-hop 192.0.2.2 attribute [ 0x04 0x80 0x000001 ] \
              nlri 10.90.4.0/24 10.90.5.0/24",
                &[(Kind::UPDATES_TREATED_AS_WITHDRAW, 1), (Kind::PREFIXES_TREATED_AS_WITHDRAW, 2)],
                5,
            ),
            ("announce route 10.66.0.0/16 next-hop 192.0.2.2", &[(Kind::REJECTED_BY_POLICY, 1)], 6),
            // The count stays where the route goes.
            ("withdraw route 10.66.0.0/16 next-hop 192.0.2.2", &[], 5),
        ] {
            exabgp.order(order);
            counted.extend_from_slice(kinds);
            wait_for(&node, &station, &expected(received, &counted)).await;
        }

        let best = |family| (Kind::LOC_RIB_OF_FAMILY, Some(family));
        let chosen: Numbers = [
            ((Kind::LOC_RIB, None), 4),
            (best(AfiSafi::IPV4_UNICAST), 2),
            (best(AfiSafi::IPV6_UNICAST), 2),
        ]
        .into();
        assert_eq!(station.numbers(LOC_RIB), chosen);

        let text = dissect(&station.pieces(), station.address.port(), "bmp");
        assert!(!text.contains("Malformed"), "{text}");
        for (line, value) in [
            ("prefixes rejected by inbound policy", 1),
            ("(known) duplicate prefix advertisements", 2),
            ("updates invalidated due to CLUSTER_LIST loop", 1),
            ("updates invalidated due to AS_PATH loop", 1),
            ("updates invalidated due to ORIGINATOR_ID", 1),
            ("updates subjected to treat-as-withdraw", 1),
            ("prefixes subjected to treat-as-withdraw", 2),
            ("duplicate update messages received", 2),
            ("routes in Adj-RIBs-In", 6),
            ("routes in Loc-RIB", 4),
            ("routes in pre-policy Adj-RIBs-Out", 2),
            ("routes in post-policy Adj-RIBs-Out", 1),
        ] {
            let line = format!("Number of {line}: {value}");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        station.task.abort();
    });
}

/// Whoever does not look at what peers are told is not told how much it is.
#[test]
fn adj_rib_out_is_counted_for_those_who_watch_it() {
    with_bird(65001, 64512, async |_bird, node| {
        let station = Station::start(SocketAddr::new(v4(1), 11019)).await;
        monitor(&node, station.address, &[Monitored::AdjRibInPre]).await;
        node.wait("numbers", async |_| !station.numbers(PRE).is_empty()).await;
        let kinds: Vec<_> = station.numbers(PRE).into_keys().map(|(kind, _)| kind.0).collect();
        assert_eq!(kinds, [0, 1, 2, 3, 4, 5, 6, 7, 9, 9, 11, 12, 13]);
        assert!(station.numbers(LOC_RIB).is_empty());
        station.task.abort();
    });
}
