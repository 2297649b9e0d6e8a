//! What a collector is told while a BIRD comes and goes, as Wireshark's dissector reads it.

use std::net::SocketAddr;

use bgp_bmp::{Message, PeerDownReason, StatisticKind};
use bgpd::Monitoring;

use crate::lab::{
    node::{Node, v4},
    pcap::dissect,
    setup::{BIRDS, OWN, with_bird},
    station::{ALL, LOC_RIB, OUT, POST, PRE, Station, monitor},
};

#[test]
fn every_table_and_every_session_is_told_and_understood() {
    with_bird(65001, 64512, async |bird, node| {
        let station = Station::start(SocketAddr::new(v4(1), 11019)).await;
        monitor(&node, station.address, &ALL).await;
        let all = [OWN[0], BIRDS[0], OWN[1], BIRDS[1]];
        station.wait(&node, PRE, &BIRDS).await;
        station.wait(&node, POST, &BIRDS).await;
        station.wait(&node, OUT, &OWN).await;
        station.wait(&node, LOC_RIB, &all).await;

        // What changes is told as it changes.
        node.originate(&OWN[..1]);
        bird.ask("disable static4");
        station.wait(&node, PRE, &BIRDS[1..]).await;
        station.wait(&node, POST, &BIRDS[1..]).await;
        station.wait(&node, OUT, &OWN[..1]).await;
        station.wait(&node, LOC_RIB, &[OWN[0], BIRDS[1]]).await;
        bird.ask("enable static4");
        station.wait(&node, PRE, &BIRDS).await;

        let reported = |kind: StatisticKind, value: u64| {
            station.messages().iter().any(|message| match message {
                Message::StatisticsReport(_, all) => {
                    all.iter().any(|one| one.kind == kind && one.value == value)
                }
                _ => false,
            })
        };
        node.wait("numbers", async |_| {
            reported(StatisticKind::ADJ_RIB_IN, 2)
                && reported(StatisticKind::ADJ_RIB_IN_OF_FAMILY, 1)
                && reported(StatisticKind::ADJ_RIB_OUT_POST_POLICY, 1)
                && reported(StatisticKind::LOC_RIB, 3)
        })
        .await;

        // So are the end of a session, and its return.
        bird.ask("disable viaduct");
        let downs = || {
            let messages = station.messages().into_iter();
            let down = messages.filter_map(|message| match message {
                Message::PeerDown(_, reason) => Some(reason),
                _ => None,
            });
            down.collect::<Vec<_>>()
        };
        node.wait("the end of the session", async |_| !downs().is_empty()).await;
        assert!(matches!(&downs()[..], [PeerDownReason::RemoteNotification(_)]), "{:?}", downs());
        bird.ask("enable viaduct");
        station.wait(&node, PRE, &BIRDS).await;
        station.wait(&node, OUT, &OWN[..1]).await;

        // A goodbye is said to whoever is no more to be told.
        node.handle.monitor(Monitoring::default()).await.unwrap();
        let parted =
            async |_: &Node| matches!(station.messages().last(), Some(Message::Termination(_)));
        node.wait("the last word", parted).await;

        let text = dissect(&station.pieces(), station.address.port(), "bmp");
        assert!(!text.contains("Malformed") && !text.contains("Unreassembled"), "{text}");
        for expected in [
            "Type: Initiation Message (4)",
            "Type: Peer Up Notification (3)",
            "Type: Peer Down Notification (2)",
            "Type: Route Monitoring (0)",
            "Type: Statistics Report (1)",
            "Type: Termination Message (5)",
            "Loc-RIB Instance Peer",
        ]
        .into_iter()
        .chain(all)
        {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        station.task.abort();
    });
}

#[test]
fn a_collector_that_comes_back_is_told_everything_again() {
    with_bird(65001, 64512, async |bird, node| {
        let address = SocketAddr::new(v4(1), 11019);
        let station = Station::start(address).await;
        monitor(&node, address, &ALL).await;
        station.wait(&node, PRE, &BIRDS).await;
        // It dies, and with it goes what it knows; meanwhile something changes.
        station.task.abort();
        let _cancelled = station.task.await;
        bird.ask("disable static6");
        node.wait("bird's change", async |node| node.hops(BIRDS[1]).is_empty()).await;
        let station = Station::start(address).await;
        station.wait(&node, PRE, &BIRDS[..1]).await;
        station.wait(&node, OUT, &OWN).await;
        assert!(matches!(station.messages()[0], Message::Initiation(_)));
        station.task.abort();
    });
}
