//! What a collector is told while a BIRD comes and goes, as Wireshark's dissector reads it.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bgp_bmp::{Information, Message, PeerDownReason, StatisticKind, Table};
use bgp_wire::{Families, MessageType, PeerKind, SessionParameters, first_frame};
use bgpd::{Collector, Monitored, Monitoring};
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinHandle};

use crate::lab::{
    node::{Node, v4},
    pcap::dissect,
    setup::{BIRDS, OWN, with_bird},
};

const ALL: [Monitored; 4] =
    [Monitored::AdjRibInPre, Monitored::AdjRibInPost, Monitored::LocRib, Monitored::AdjRibOut];

/// A collector that takes one connection after the other and keeps what it is told on the last.
struct Station {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Station {
    async fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shared = heard.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().clear();
                let mut buffer = vec![0; 64 << 10];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    shared.lock().unwrap().extend_from_slice(&buffer[..count]);
                }
            }
        });
        Self { address, heard, task }
    }

    fn octets(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }

    /// All whole messages, each of which must be sound.
    fn messages(&self) -> Vec<Message> {
        let octets = self.octets();
        let (mut rest, mut all) = (&octets[..], Vec::new());
        while let Some((message, len)) = Message::first(rest).unwrap() {
            rest = &rest[len..];
            all.push(message.unwrap());
        }
        all
    }

    /// The octets of each message, for Wireshark 4.0: it takes what stands behind the OPENs of a Peer
    /// Up (RFC 9069 §5.2) for a third message of BGP, so that is looked at here and left out.
    fn pieces(&self) -> Vec<Vec<u8>> {
        let octets = self.octets();
        let (mut rest, mut pieces) = (&octets[..], Vec::new());
        while let Some((message, len)) = Message::first(rest).unwrap() {
            let (piece, behind) = rest.split_at(len);
            rest = behind;
            let mut whole = bytes::BytesMut::from(piece);
            if let Ok(Message::PeerUp(header, mut up)) = message
                && header.table == LOC_RIB
            {
                assert_eq!(up.information, [Information::new(Information::TABLE_NAME, "global")]);
                up.information.clear();
                whole.clear();
                Message::PeerUp(header, up).encode(&mut whole).unwrap();
            }
            pieces.push(whole.to_vec());
        }
        pieces
    }

    /// The prefixes of a table as they stand after all that was said of it, by their texts.
    fn prefixes(&self, wanted: Table) -> BTreeSet<String> {
        let session = SessionParameters {
            four_octet_as: true,
            families: Families::BOTH,
            extended_next_hop: true,
            ..SessionParameters::before_open(PeerKind::Internal)
        };
        let mut prefixes = BTreeSet::new();
        for message in self.messages() {
            match message {
                Message::PeerDown(..) if !matches!(wanted, Table::LocRib { .. }) => {
                    prefixes.clear()
                }
                Message::RouteMonitoring(header, update) if header.table == wanted => {
                    let frame = first_frame(&update, 4096).unwrap().unwrap();
                    assert_eq!(frame.kind, MessageType::Update);
                    let message =
                        bgp_wire::Message::decode_body(frame.kind, frame.body, &session).unwrap();
                    let bgp_wire::Message::Update(update) = message else { unreachable!() };
                    for nlri in update.withdrawn {
                        prefixes.remove(&nlri.prefix.to_string());
                    }
                    let announced = update.announced.iter().flat_map(|one| &one.prefixes);
                    prefixes.extend(announced.map(|nlri| nlri.prefix.to_string()));
                }
                _ => {}
            }
        }
        prefixes
    }

    async fn wait(&self, node: &Node, table: Table, expected: &[&str]) {
        let expected: BTreeSet<_> = expected.iter().map(|text| (*text).to_owned()).collect();
        node.wait("the collector's table", async |_| self.prefixes(table) == expected).await;
    }
}

async fn monitor(node: &Node, address: SocketAddr, tables: &[Monitored]) {
    let collector = Collector {
        address,
        monitor: tables.iter().copied().collect(),
        statistics_every: Some(Duration::from_millis(100)),
    };
    let monitoring =
        Monitoring { name: "r1".to_owned(), collectors: vec![collector], recording: None };
    node.handle.monitor(monitoring).await.unwrap();
}

const PRE: Table = Table::AdjRibIn { post_policy: false };
const POST: Table = Table::AdjRibIn { post_policy: true };
const OUT: Table = Table::AdjRibOut { post_policy: true };
const LOC_RIB: Table = Table::LocRib { filtered: false };

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
