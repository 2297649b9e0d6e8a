//! What the speaker tells collectors by BMP (RFC 7854).
//!
//! A collector that has connected is told of every session and then of the table, in steps that wait for
//! it to read: a walk over the places of the table, between which the table changes. What changes is told
//! at once, whether the walk has been there or not, as it is at that moment. So what a collector was told
//! last of a path is what holds, and nothing is kept for it but what it has yet to read.

mod collector;
mod feed;
mod tables;
mod updates;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

use bgp_bmp::{
    Information, Message, Moment, PeerDownReason, PeerHeader, PeerUp, Table, put_updates,
};
use bgp_rib::Changes;
use bgp_speaker::{Config, SessionEnd, SessionView, Speaker, Watch};
use bgp_wire::{Families, encode_end_of_rib};
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tracing::warn;

pub(crate) use self::collector::Event;
use self::{
    feed::Feed,
    tables::Tables,
    words::{loc_rib_numbers, loc_rib_up, moment, now, numbers, put, self_description},
};
use crate::{intake::Input, monitor::Counts, network::Network, status::plain};

/// A table that a collector wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Monitored {
    /// What peers tell, as they do.
    AdjRibInPre,
    /// What import has let pass of it.
    AdjRibInPost,
    /// The best paths (RFC 9069).
    LocRib,
    /// What peers are told (RFC 8671), after policy.
    AdjRibOut,
}

impl Monitored {
    const ALL: [Self; 4] = [Self::AdjRibInPre, Self::AdjRibInPost, Self::LocRib, Self::AdjRibOut];

    const fn table(self) -> Table {
        match self {
            Self::AdjRibInPre => Table::AdjRibIn { post_policy: false },
            Self::AdjRibInPost => Table::AdjRibIn { post_policy: true },
            Self::LocRib => Table::LocRib { filtered: false },
            Self::AdjRibOut => Table::AdjRibOut { post_policy: true },
        }
    }
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    pub address: SocketAddr,
    pub monitor: BTreeSet<Monitored>,
    /// How often numbers are reported; never where not given.
    pub statistics_every: Option<Duration>,
}

/// A collector, connected or not.
#[derive(Debug)]
struct Watcher {
    collector: Collector,
    task: tokio::task::JoinHandle<()>,
    feed: Option<Feed>,
    report_at: Option<Instant>,
}

/// A peer with whom there is a session, as messages speak of it.
#[derive(Clone, Debug)]
struct Known {
    session: SessionView,
    address: IpAddr,
}

impl Known {
    fn header(&self, table: Table) -> PeerHeader {
        PeerHeader::new(table, plain(self.address), self.session.asn, self.session.router_id.into())
    }

    /// Families in which the peer says path identifiers.
    fn ids(&self) -> Families {
        self.session.parameters.add_path_receive
    }
}

/// All collectors.
#[derive(Debug)]
pub(crate) struct Exporter {
    name: String,
    inputs: mpsc::Sender<Input>,
    watchers: BTreeMap<SocketAddr, Watcher>,
    /// Sessions that collectors know of, with what has been said when they came up.
    known: BTreeMap<IpAddr, (Known, Bytes)>,
    cut_off: u64,
}

impl Exporter {
    pub(crate) fn new(inputs: mpsc::Sender<Input>) -> Self {
        let (watchers, known) = (BTreeMap::new(), BTreeMap::new());
        Self { name: String::new(), inputs, watchers, known, cut_off: 0 }
    }

    /// Those who are to be told from now on.
    pub(crate) fn set(&mut self, name: String, collectors: Vec<Collector>) {
        self.name = name;
        let wanted: BTreeMap<_, _> =
            collectors.into_iter().map(|collector| (collector.address, collector)).collect();
        let stays =
            |watcher: &Watcher| wanted.get(&watcher.collector.address) == Some(&watcher.collector);
        let gone: Vec<_> = self.watchers.extract_if(.., |_, watcher| !stays(watcher)).collect();
        for (_, watcher) in gone {
            watcher.part();
        }
        for (address, collector) in wanted {
            let inputs = self.inputs.clone();
            self.watchers.entry(address).or_insert_with(|| Watcher {
                collector,
                task: tokio::spawn(collector::run(address, inputs)),
                feed: None,
                report_at: None,
            });
        }
        self.forget_all_unwatched();
    }

    /// Says goodbye to everybody.
    pub(crate) async fn part(&mut self) {
        let tasks = std::mem::take(&mut self.watchers).into_values().filter_map(Watcher::part);
        for task in tasks.collect::<Vec<_>>() {
            // Whoever does not read has missed it.
            let _late = tokio::time::timeout(Duration::from_secs(1), task).await;
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let connected = self.watchers.values().filter(|watcher| watcher.feed.is_some()).count();
        let (collectors, cut_off) = (self.watchers.len(), self.cut_off);
        Counts { collectors, connected, cut_off, ..Counts::default() }
    }

    /// What those who are connected need to be told.
    pub(crate) fn watch(&self) -> Watch {
        let connected = self.watchers.values().any(|watcher| watcher.feed.is_some());
        Watch {
            sessions: connected,
            received: false,
            sent: self.is_wanted(Monitored::AdjRibOut),
            changes: connected,
        }
    }

    fn is_wanted(&self, table: Monitored) -> bool {
        let mut connected = self.watchers.values().filter(|watcher| watcher.feed.is_some());
        connected.any(|watcher| watcher.collector.monitor.contains(&table))
    }

    /// What a collector's task says. Whether [`Self::watch`] is another may have changed.
    pub(crate) fn handle(
        &mut self,
        address: SocketAddr,
        event: Event,
        speaker: &mut Speaker,
        network: &Network,
    ) {
        match event {
            Event::Connected(queue) => self.connected(address, queue, speaker, network),
            Event::Drained => self.step(address, speaker),
            Event::Closed => {
                if let Some(watcher) = self.watchers.get_mut(&address) {
                    watcher.feed = None;
                }
                self.forget_all_unwatched();
            }
        }
    }

    fn forget_all_unwatched(&mut self) {
        if self.watchers.values().all(|watcher| watcher.feed.is_none()) {
            self.known.clear();
        }
    }

    fn connected(
        &mut self,
        address: SocketAddr,
        queue: collector::Queue,
        speaker: &mut Speaker,
        network: &Network,
    ) {
        if self.watchers.values().all(|watcher| watcher.feed.is_none()) {
            self.known.clear();
            let established: Vec<_> = speaker.established().collect();
            for peer in established {
                self.learn(peer, speaker, network);
            }
        }
        let Some(watcher) = self.watchers.get_mut(&address) else { return };
        let mut out = BytesMut::new();
        put(&Message::Initiation(self_description(&self.name)), &mut out);
        let wants = |table| watcher.collector.monitor.contains(&table);
        if wants(Monitored::LocRib) {
            put(&loc_rib_up(speaker.config()), &mut out);
        }
        for (_, up) in self.known.values() {
            out.extend_from_slice(up);
        }
        let peers = self.known.keys().copied().filter(|_| wants(Monitored::AdjRibOut));
        watcher.feed = Some(Feed::new(queue, peers.collect()));
        watcher.report_at = watcher.collector.statistics_every.map(|every| Instant::now() + every);
        self.push_to(address, out.freeze());
        self.step(address, speaker);
    }

    /// A session has come up.
    pub(crate) fn up(&mut self, peer: IpAddr, speaker: &Speaker, network: &Network) {
        self.learn(peer, speaker, network);
        let up = self.known.get(&peer).map(|(_, up)| up.clone());
        self.push(up.unwrap_or_default(), |_| true);
    }

    fn learn(&mut self, address: IpAddr, speaker: &Speaker, network: &Network) {
        let Some(session) = speaker.session(address) else { return };
        let unspecified: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let unknown = (SocketAddr::new(unspecified, 0), SocketAddr::new(unspecified, 0));
        let (local, remote) = network.ends(session.conn).unwrap_or(unknown);
        let up = PeerUp {
            local: local.ip(),
            local_port: local.port(),
            remote_port: remote.port(),
            sent: session.open_sent.clone(),
            received: session.open_received.clone(),
            information: Vec::new(),
        };
        let since = moment(SystemTime::now() - session.since.elapsed());
        let known = Known { session, address };
        let header = PeerHeader { at: since, ..known.header(Monitored::AdjRibInPre.table()) };
        let mut out = BytesMut::new();
        put(&Message::PeerUp(header, up), &mut out);
        self.known.insert(address, (known, out.freeze()));
    }

    /// A session has been lost. Collectors forget all of the peer by themselves (RFC 7854 §4.9).
    pub(crate) fn down(&mut self, peer: IpAddr, end: SessionEnd) {
        let Some((known, _)) = self.known.remove(&peer) else { return };
        let reason = match end {
            SessionEnd::Sent(octets) => PeerDownReason::LocalNotification(octets),
            SessionEnd::Received(octets) => PeerDownReason::RemoteNotification(octets),
            SessionEnd::Event(event) => PeerDownReason::LocalEvent(event),
            SessionEnd::Lost => PeerDownReason::RemoteSilence,
        };
        let header = PeerHeader { at: now(), ..known.header(Monitored::AdjRibInPre.table()) };
        let mut out = BytesMut::new();
        put(&Message::PeerDown(header, reason), &mut out);
        self.push(out.freeze(), |_| true);
    }

    /// A peer was sent these UPDATEs.
    pub(crate) fn sent(&mut self, peer: IpAddr, messages: &[u8]) {
        let Some((known, _)) = self.known.get(&peer) else { return };
        let header = PeerHeader { at: now(), ..known.header(Monitored::AdjRibOut.table()) };
        let mut out = BytesMut::new();
        put_updates(&header, messages, &mut out);
        self.push(out.freeze(), |collector| collector.monitor.contains(&Monitored::AdjRibOut));
    }

    /// The table says something else of these names.
    pub(crate) fn changes(&mut self, changes: &Changes, speaker: &Speaker) {
        let (rib, at) = (speaker.rib(), now());
        let mut tables = Tables::default();
        for &(id, nlri) in &changes.paths {
            let Some(peer) = rib.peer(id).map(|peer| peer.address) else { continue };
            if self.known.contains_key(&peer) {
                tables.path(peer, nlri, rib.path(id, nlri).as_ref());
            }
        }
        for &prefix in &changes.best {
            match rib.best(prefix) {
                Some(best) => {
                    tables.chosen(prefix, &best.attributes, best.next_hop, speaker.config());
                }
                None => tables.none_chosen(prefix),
            }
        }
        for table in Monitored::ALL {
            if !self.is_wanted(table) {
                continue;
            }
            let bytes = self.write(&tables, table, at, speaker.config());
            self.push(bytes, |collector| collector.monitor.contains(&table));
        }
    }

    fn write(&self, tables: &Tables, table: Monitored, at: Moment, config: &Config) -> Bytes {
        let mut out = BytesMut::new();
        let mut messages = BytesMut::new();
        let all = tables.0.range((table, None)..).take_while(|((of, _), _)| *of == table);
        for ((_, peer), updates) in all {
            let (header, ids) = match peer {
                None => (PeerHeader::loc_rib(config.asn, config.router_id.into()), Families::NONE),
                Some(peer) => match self.known.get(peer) {
                    Some((known, _)) => (known.header(table.table()), known.ids()),
                    None => continue,
                },
            };
            messages.clear();
            updates.write(ids, &mut messages);
            put_updates(&PeerHeader { at, ..header }, &messages, &mut out);
        }
        out.freeze()
    }

    /// One step more of what a collector is told at first, if it has read what it was told.
    fn step(&mut self, address: SocketAddr, speaker: &mut Speaker) {
        loop {
            let Some(watcher) = self.watchers.get_mut(&address) else { return };
            let Some(feed) = &mut watcher.feed else { return };
            if !feed.may_go_on() {
                return;
            }
            let Some(step) = feed.next(speaker) else { return };
            let monitor = watcher.collector.monitor.clone();
            let mut out = BytesMut::new();
            match step {
                feed::Step::Paths(tables) => {
                    for table in monitor {
                        let at = Moment::default();
                        out.extend_from_slice(&self.write(&tables, table, at, speaker.config()));
                    }
                }
                feed::Step::Told(peer, messages) => {
                    if let Some((known, _)) = self.known.get(&peer) {
                        let header = known.header(Monitored::AdjRibOut.table());
                        messages.iter().for_each(|bytes| {
                            put_updates(&header, bytes, &mut out);
                        });
                    }
                }
                feed::Step::Ended => self.write_ends(&monitor, speaker.config(), &mut out),
            }
            self.push_to(address, out.freeze());
        }
    }

    /// RFC 7854 §5: what a collector is told at first ends with End-of-RIB, for each table of each peer.
    fn write_ends(&self, monitor: &BTreeSet<Monitored>, config: &Config, out: &mut BytesMut) {
        let mut end = |header: &PeerHeader, families: Families| {
            for family in families.iter() {
                let mut message = BytesMut::new();
                encode_end_of_rib(family, &mut message);
                put_updates(header, &message, out);
            }
        };
        for table in monitor {
            if *table == Monitored::LocRib {
                end(&PeerHeader::loc_rib(config.asn, config.router_id.into()), Families::BOTH);
                continue;
            }
            for (known, _) in self.known.values() {
                end(&known.header(table.table()), known.session.parameters.families);
            }
        }
    }

    /// When [`Self::report`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let connected = self.watchers.values().filter(|watcher| watcher.feed.is_some());
        connected.filter_map(|watcher| watcher.report_at).min()
    }

    /// Tells the numbers to those whose time has come.
    pub(crate) fn report(&mut self, speaker: &Speaker, now: Instant) {
        let due = |watcher: &&mut Watcher| {
            watcher.feed.is_some() && watcher.report_at.is_some_and(|at| at <= now)
        };
        let mut to = BTreeSet::new();
        for watcher in self.watchers.values_mut().filter(due) {
            watcher.report_at = watcher.collector.statistics_every.map(|every| now + every);
            to.insert(watcher.collector.address);
        }
        if to.is_empty() {
            return;
        }
        let at = self::now();
        for adj_rib_out in [false, true] {
            let wanted = |collector: &Collector| {
                to.contains(&collector.address)
                    && collector.monitor.contains(&Monitored::AdjRibOut) == adj_rib_out
            };
            if !self.watchers.values().any(|watcher| wanted(&watcher.collector)) {
                continue;
            }
            let mut peers = BytesMut::new();
            for (known, _) in self.known.values() {
                // RFC 8671 §6.2: never with the flag of Adj-RIB-Out, whatever is counted.
                let header = PeerHeader { at, ..known.header(Monitored::AdjRibInPre.table()) };
                let numbers = numbers(known, speaker, adj_rib_out);
                put(&Message::StatisticsReport(header, numbers), &mut peers);
            }
            self.push(peers.freeze(), wanted);
        }
        let loc_rib = PeerHeader::loc_rib(speaker.config().asn, speaker.config().router_id.into());
        let header = PeerHeader { at, ..loc_rib };
        let mut local = BytesMut::new();
        put(&Message::StatisticsReport(header, loc_rib_numbers(speaker)), &mut local);
        self.push(local.freeze(), |collector| {
            to.contains(&collector.address) && collector.monitor.contains(&Monitored::LocRib)
        });
    }

    /// For all who are connected and `wanted`.
    fn push(&mut self, bytes: Bytes, wanted: impl Fn(&Collector) -> bool) {
        let all = self.watchers.values().map(|watcher| &watcher.collector);
        let wanted: Vec<_> = all.filter(|one| wanted(one)).map(|one| one.address).collect();
        for address in wanted {
            self.push_to(address, bytes.clone());
        }
    }

    fn push_to(&mut self, address: SocketAddr, bytes: Bytes) {
        let Some(watcher) = self.watchers.get_mut(&address) else { return };
        let Some(feed) = &watcher.feed else { return };
        if !bytes.is_empty() && !feed.queue.push(bytes) {
            warn!(collector = %address, "does not read and is cut off");
            watcher.feed = None;
            self.cut_off += 1;
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.watchers.values().for_each(|watcher| watcher.task.abort());
    }
}

impl Watcher {
    /// With a last word where there is somebody to hear it; the task is done when that is said.
    fn part(self) -> Option<tokio::task::JoinHandle<()>> {
        let Some(feed) = self.feed else {
            self.task.abort();
            return None;
        };
        let reason = Information { kind: Information::REASON, value: Bytes::from_static(&[0, 0]) };
        let mut out = BytesMut::new();
        put(&Message::Termination(vec![reason]), &mut out);
        let _full = feed.queue.push(out.freeze());
        feed.queue.end();
        Some(self.task)
    }
}
