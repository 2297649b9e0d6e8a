//! A collector of ours, for what a speaker tells by BMP.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bgp_bmp::{Information, Message, Statistic, StatisticKind, Table};
use bgp_wire::{AfiSafi, Families, MessageType, PeerKind, SessionParameters, first_frame};
use bgpd::{Collector, Monitored, Monitoring};
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinHandle};

use super::node::Node;

pub(crate) const ALL: [Monitored; 4] =
    [Monitored::AdjRibInPre, Monitored::AdjRibInPost, Monitored::LocRib, Monitored::AdjRibOut];

/// A collector that takes one connection after the other and keeps what it is told on the last.
pub(crate) struct Station {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    pub(crate) task: JoinHandle<()>,
}

impl Station {
    pub(crate) async fn start(address: SocketAddr) -> Self {
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

    pub(crate) fn octets(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }

    /// All whole messages, each of which must be sound.
    pub(crate) fn messages(&self) -> Vec<Message> {
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
    pub(crate) fn pieces(&self) -> Vec<Vec<u8>> {
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

    /// The latest numbers of the one peer, or of Loc-RIB; nothing before the first report.
    pub(crate) fn numbers(&self, of: Table) -> BTreeMap<(StatisticKind, Option<AfiSafi>), u64> {
        let reports = self.messages().into_iter().rev();
        let mut reports = reports.filter_map(|message| match message {
            Message::StatisticsReport(header, numbers) if header.table == of => Some(numbers),
            _ => None,
        });
        let number = |one: Statistic| ((one.kind, one.family), one.value);
        reports.next().unwrap_or_default().into_iter().map(number).collect()
    }

    pub(crate) async fn wait(&self, node: &Node, table: Table, expected: &[&str]) {
        let expected: BTreeSet<_> = expected.iter().map(|text| (*text).to_owned()).collect();
        node.wait("the collector's table", async |_| self.prefixes(table) == expected).await;
    }
}

pub(crate) async fn monitor(node: &Node, address: SocketAddr, tables: &[Monitored]) {
    let collector = Collector {
        address,
        monitor: tables.iter().copied().collect(),
        statistics_every: Some(Duration::from_millis(100)),
    };
    let monitoring =
        Monitoring { name: "r1".to_owned(), collectors: vec![collector], recording: None };
    node.handle.monitor(monitoring).await.unwrap();
}

pub(crate) const PRE: Table = Table::AdjRibIn { post_policy: false };
pub(crate) const POST: Table = Table::AdjRibIn { post_policy: true };
pub(crate) const OUT: Table = Table::AdjRibOut { post_policy: true };
pub(crate) const LOC_RIB: Table = Table::LocRib { filtered: false };
