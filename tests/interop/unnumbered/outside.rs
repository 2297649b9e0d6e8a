//! Nobody outside sees the form in which the speaker knows a neighbour on a link.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use bgp_bmp::Message;
use bgp_mrt::{Body, Record, SessionMessage, StateChange};
use bgp_speaker::Config;
use bgpd::{Collector, Monitoring, Recording};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};
use viaduct_api::admin::{EventQuery, PeerPolicy};
use viaduct_net::{IfIndex, LinkLocal};

use super::{NEAR, between_us::with_pair_within, link_local};
use crate::lab::{
    netns::output,
    node::Node,
    setup::PAIR,
    station::{ALL, LOC_RIB, OUT, PRE, Station},
};

/// All that is logged, kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// As the speaker knows the neighbour.
fn within() -> (LinkLocal, String) {
    let link = output(Command::new("ip").args(["-o", "link", "show", NEAR]));
    let index = link.split(':').next().unwrap().parse().unwrap();
    let IpAddr::V6(address) = link_local(2) else { unreachable!() };
    let within = LinkLocal::new(address, IfIndex(index)).unwrap();
    (within, within.embedded().to_string())
}

fn has(octets: &[u8], address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else { unreachable!() };
    octets.windows(16).any(|window| window == Ipv6Addr::octets(&address))
}

#[test]
fn a_neighbour_on_a_link_is_told_of_by_its_own_address() {
    let log = Log::default();
    let writer = log.clone();
    let logged = || {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("debug"))
            .with_writer(writer)
            .with_ansi(false)
            .finish();
        tracing::subscriber::set_default(subscriber)
    };
    with_pair_within(logged, async move |_, near, _| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("updates.mrt");
        let station = Station::start("127.0.0.1:11019".parse().unwrap()).await;
        watch(near, &station, file.clone()).await;
        station.wait(near, PRE, PAIR[1]).await;
        station.wait(near, OUT, PAIR[0]).await;
        // It goes, with its interface, and comes back.
        let config = near.config.borrow().clone();
        let without = Config { interfaces: Default::default(), ..(*config).clone() };
        near.config.send_replace(Arc::new(without));
        near.wait("no neighbour", async |near| near.hops(PAIR[1][0]).is_empty()).await;
        near.config.send_replace(config);
        station.wait(near, PRE, PAIR[1]).await;
        station.wait(near, OUT, PAIR[0]).await;
        near.wait("numbers", async |_| !station.numbers(PRE).is_empty()).await;
        near.wait("records", async |_| std::fs::read(&file).is_ok_and(|file| !file.is_empty()))
            .await;

        let (within, embedded) = within();
        of_bmp(&station, within);
        of_mrt(near, &std::fs::read(file).unwrap(), within).await;
        of_answers(near, &embedded).await;
        let log = log.text();
        let readable = format!("peer={within}");
        assert!(log.contains(&readable), "{readable} is not in\n{log}");
        assert!(!log.contains(&embedded), "{embedded} is in\n{log}");
        station.task.abort();
    });
}

async fn watch(node: &Node, station: &Station, file: PathBuf) {
    let collector = Collector {
        address: station.address,
        monitor: ALL.into(),
        statistics_every: Some(Duration::from_millis(100)),
    };
    let recording = Some(Recording { file, rotate_after: None, rotate_bytes: None });
    let monitoring = Monitoring { name: "near".to_owned(), collectors: vec![collector], recording };
    node.handle.monitor(monitoring).await.unwrap();
}

fn of_bmp(station: &Station, within: LinkLocal) {
    let mut kinds = BTreeSet::new();
    for message in station.messages() {
        let (header, kind) = match &message {
            Message::RouteMonitoring(header, _) => (header, "routes"),
            Message::StatisticsReport(header, _) => (header, "statistics"),
            Message::PeerDown(header, _) => (header, "down"),
            Message::PeerUp(header, up) => {
                if header.table != LOC_RIB {
                    assert_eq!(up.local, link_local(1));
                }
                (header, "up")
            }
            Message::Initiation(_) | Message::Termination(_) | Message::Other(_) => continue,
        };
        if header.table != LOC_RIB {
            assert_eq!(header.address, link_local(2), "{message:?}");
            kinds.insert(kind);
        }
    }
    assert_eq!(kinds, ["down", "routes", "statistics", "up"].into());
    assert!(!has(&station.octets(), within.embedded()));
}

/// Of a table and of messages.
async fn of_mrt(node: &Node, recorded: &[u8], within: LinkLocal) {
    let mut dump = node.handle.dump();
    let mut table = Vec::new();
    while let Some(records) = dump.next().await.unwrap() {
        table.extend_from_slice(&records);
    }
    for octets in [&table, recorded] {
        assert!(!has(octets, within.embedded()));
        let mut peers = Vec::new();
        let mut rest = octets;
        while let Some((record, len)) = Record::first(rest).unwrap() {
            rest = &rest[len..];
            match record.unwrap().body {
                Body::PeerIndexTable(table) => {
                    peers.extend(table.peers[1..].iter().map(|one| one.address))
                }
                Body::Message(SessionMessage { session, .. })
                | Body::StateChange(StateChange { session, .. }) => {
                    assert_eq!(u32::from(session.interface), within.interface().0);
                    peers.push(session.peer);
                }
                Body::Rib(_) | Body::Other { .. } => {}
            }
        }
        assert!(!peers.is_empty() && peers.iter().all(|peer| *peer == link_local(2)), "{peers:?}");
    }
}

/// What an operator is told.
async fn of_answers(node: &Node, embedded: &str) {
    let Node { handle, .. } = node;
    let name = "fe80::2%viaduct0";
    let events = handle.events(&EventQuery::default()).next().await.unwrap();
    let of_peer: Vec<_> = events.iter().filter(|event| event.peer.is_some()).collect();
    for kind in ["session-up", "session-down", "peer-removed"] {
        assert!(of_peer.iter().any(|event| event.kind == kind), "no {kind} in {events:#?}");
    }
    assert!(of_peer.iter().all(|event| event.peer_name().as_deref() == Some(name)), "{events:#?}");
    let only = EventQuery { peer: Some(link_local(2)), ..EventQuery::default() };
    assert_eq!(handle.events(&only).next().await.unwrap().len(), of_peer.len());

    let policies = handle.policies(Some(link_local(2))).await.unwrap();
    assert_eq!(policies.iter().map(PeerPolicy::name).collect::<Vec<_>>(), [name]);
    let routes = handle.routes().await.unwrap();
    let theirs: Vec<_> = routes.iter().filter_map(|path| path.peer_name()).collect();
    assert!(!theirs.is_empty() && theirs.iter().all(|peer| peer == name), "{routes:#?}");
    let detail = handle.peer(link_local(2)).await.unwrap().unwrap();
    let peers = handle.peers().await.unwrap();
    let metrics = handle.metrics().await.unwrap();
    let all = format!("{events:?} {policies:?} {routes:?} {detail:?} {peers:?} {metrics}");
    assert!(!all.contains(embedded), "{embedded} is in\n{all}");
}
