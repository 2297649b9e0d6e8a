//! The latest of what has happened to the speaker, for operators. They read it here and not from the
//! speaker's task, so an answer waits for nobody.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bgp_speaker::{Config, SpeakerEvent};
use jiff::Timestamp;
use tokio::sync::watch;
use viaduct_api::admin::{BgpEvent, EventQuery};
use viaduct_net::LinkLocal;

use crate::status::{interface, plain};

/// How many events are kept; about a megabyte.
pub const EVENTS_KEPT: usize = 4096;
const _: () = assert!(EVENTS_KEPT >= bgp_speaker::MAX_WAITING_EVENTS);

#[derive(Debug)]
struct Entry {
    at: SystemTime,
    event: SpeakerEvent,
    /// That the peer is on, where its address is link-local.
    interface: Option<String>,
}

/// What the interfaces of peers are called, and were before the last change: what happens then is also
/// told of those who are gone by it.
#[derive(Debug, Default)]
pub(crate) struct LinkNames {
    now: Option<Arc<Config>>,
    before: Option<Arc<Config>>,
}

impl LinkNames {
    pub(crate) fn follow(&mut self, config: &Arc<Config>) {
        if self.now.as_ref().is_none_or(|now| !Arc::ptr_eq(now, config)) {
            self.before = self.now.replace(config.clone());
        }
    }

    /// By its number where the interface of a peer has no name any more.
    fn of(&self, peer: IpAddr) -> Option<String> {
        let link_local = LinkLocal::of(peer)?;
        let mut configs = self.now.iter().chain(&self.before);
        let name = configs.find_map(|config| interface(config, peer)).map(str::to_owned);
        Some(name.unwrap_or_else(|| link_local.interface().to_string()))
    }
}

/// What the speaker's task writes and everybody reads.
#[derive(Clone, Debug)]
pub(crate) struct EventLog {
    kept: Arc<Mutex<VecDeque<Arc<Entry>>>>,
    /// The number of the latest.
    latest: watch::Receiver<u64>,
}

/// The one hand that writes. With it gone, nothing happens any more.
#[derive(Debug)]
pub(crate) struct EventWriter {
    kept: Arc<Mutex<VecDeque<Arc<Entry>>>>,
    latest: watch::Sender<u64>,
}

pub(crate) fn log() -> (EventWriter, EventLog) {
    let kept = Arc::new(Mutex::new(VecDeque::new()));
    let (sender, latest) = watch::channel(0);
    (EventWriter { kept: kept.clone(), latest: sender }, EventLog { kept, latest })
}

impl EventWriter {
    pub(crate) fn write(
        &self,
        events: impl Iterator<Item = SpeakerEvent>,
        names: &LinkNames,
        at: SystemTime,
    ) {
        let mut events = events.peekable();
        if events.peek().is_none() {
            return;
        }
        let mut latest = 0;
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                latest = event.number;
                if kept.len() == EVENTS_KEPT {
                    kept.pop_front();
                }
                let interface = event.peer.and_then(|peer| names.of(peer));
                kept.push_back(Arc::new(Entry { at, event, interface }));
            }
        }
        self.latest.send_replace(latest);
    }
}

impl EventLog {
    pub(crate) fn read(&self, query: &EventQuery) -> Events {
        let since = query
            .since_secs
            .and_then(|secs| SystemTime::now().checked_sub(Duration::from_secs(secs)));
        let next = query.after.map(|after| after.saturating_add(1));
        Events { log: self.clone(), peer: query.peer, since, next, follow: query.follow }
    }

    fn from(&self, number: u64) -> Vec<Arc<Entry>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.partition_point(|entry| entry.event.number < number);
        kept.range(first..).cloned().collect()
    }
}

/// Events that were asked for.
#[derive(Debug)]
pub struct Events {
    log: EventLog,
    peer: Option<IpAddr>,
    since: Option<SystemTime>,
    /// The number of the next to be told; at the beginning whatever there is.
    next: Option<u64>,
    follow: bool,
}

impl Events {
    /// Those that are there by now and were not told yet, in order; one of the kind `missed` stands for
    /// those that were forgotten before they could be told. To be followed, it waits for more; `None`
    /// when there will be none.
    pub async fn next(&mut self) -> Option<Vec<BgpEvent>> {
        let is_first = self.next.is_none();
        loop {
            // Marked as seen before it is looked at: what comes between is not slept over.
            let ended = self.log.latest.has_changed().is_err();
            self.log.latest.borrow_and_update();
            let told = self.take();
            if !told.is_empty() || is_first && !self.follow {
                return Some(told);
            }
            if !self.follow || ended {
                return None;
            }
            // An error is the end: what was written before it is told in one more round.
            let _ended = self.log.latest.changed().await;
        }
    }

    fn take(&mut self) -> Vec<BgpEvent> {
        let entries = self.log.from(self.next.unwrap_or_default());
        let mut told = Vec::new();
        for entry in entries {
            let number = entry.event.number;
            let expected = self.next.replace(number + 1).unwrap_or(number);
            let too_old = self.since.is_some_and(|since| entry.at < since);
            if number > expected && !too_old {
                told.push(missed(&entry, number - expected));
            }
            let is_peers = self.peer.is_none_or(|peer| entry.event.peer.map(plain) == Some(peer));
            if is_peers && !too_old {
                told.push(shown(&entry));
            }
        }
        self.next.get_or_insert(1);
        told
    }
}

fn shown(entry: &Entry) -> BgpEvent {
    let SpeakerEvent { number, peer, what } = &entry.event;
    BgpEvent {
        number: *number,
        time: time(entry.at),
        peer: peer.map(plain),
        interface: entry.interface.clone(),
        kind: what.name().to_owned(),
        text: what.to_string(),
    }
}

fn missed(before: &Entry, count: u64) -> BgpEvent {
    BgpEvent {
        number: before.event.number - 1,
        time: time(before.at),
        peer: None,
        interface: None,
        kind: BgpEvent::MISSED.to_owned(),
        text: format!("{count} events came faster than they were read"),
    }
}

fn time(at: SystemTime) -> String {
    // Beyond the year 9999 there is nothing to be shown.
    Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bgp_speaker::Happening;
    use tokio::runtime::Runtime;
    use viaduct_net::IfIndex;

    use super::*;

    fn event(number: u64) -> SpeakerEvent {
        let last = (number % 2) as u8;
        SpeakerEvent { number, peer: Some([192, 0, 2, last].into()), what: Happening::PeerAdded }
    }

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        Runtime::new().unwrap().block_on(future)
    }

    fn numbers(events: Option<Vec<BgpEvent>>) -> Vec<u64> {
        events.unwrap().iter().map(|event| event.number).collect()
    }

    #[test]
    fn what_is_there_is_told_once_and_then_it_ends() {
        let (writer, log) = log();
        block_on(async {
            let mut none = log.read(&EventQuery::default());
            assert_eq!((none.next().await, none.next().await), (Some(Vec::new()), None));
            writer.write((1..=3).map(event), &LinkNames::default(), at(0));
            let mut all = log.read(&EventQuery::default());
            assert_eq!(numbers(all.next().await), [1, 2, 3]);
            assert_eq!(all.next().await, None);
            let peer = Some([192, 0, 2, 0].into());
            let mut one = log.read(&EventQuery { peer, ..Default::default() });
            let told = one.next().await.unwrap();
            assert_eq!(told[0].time, "1970-01-01T00:00:00.000Z");
            assert_eq!((told.len(), told[0].number, told[0].kind.as_str()), (1, 2, "peer-added"));
            let mut new = log.read(&EventQuery { since_secs: Some(60), ..Default::default() });
            assert_eq!(numbers(new.next().await), [0; 0]);
        });
    }

    #[test]
    fn a_peer_on_a_link_is_called_by_its_address_and_interface() {
        let (writer, log) = log();
        let link_local = LinkLocal::new("fe80::2".parse().unwrap(), IfIndex(3)).unwrap();
        let event = SpeakerEvent { peer: Some(link_local.embedded()), ..event(1) };
        writer.write([event].into_iter(), &LinkNames::default(), at(0));
        block_on(async {
            let peer = Some(link_local.address().into());
            let query = EventQuery { peer, ..Default::default() };
            let told = log.read(&query).next().await.unwrap();
            assert_eq!(told[0].peer_name().as_deref(), Some("fe80::2%3"), "without a name");
        });
    }

    #[test]
    fn whoever_follows_misses_nothing_without_being_told() {
        let (writer, log) = log();
        block_on(async {
            writer.write((1..=2).map(event), &LinkNames::default(), at(0));
            let mut all = log.read(&EventQuery { follow: true, ..Default::default() });
            assert_eq!(numbers(all.next().await), [1, 2]);
            writer.write((3..=EVENTS_KEPT as u64 + 5).map(event), &LinkNames::default(), at(1));
            let told = all.next().await.unwrap();
            assert_eq!((told[0].kind.as_str(), told[0].number), (BgpEvent::MISSED, 5));
            assert!(told[0].text.starts_with("3 events"), "{}", told[0].text);
            assert_eq!((told[1].number, told.len()), (6, EVENTS_KEPT + 1));
            // A gap that was there before it was written.
            let mut again = log.read(&EventQuery { after: Some(2), ..Default::default() });
            assert_eq!(again.next().await.unwrap()[0].kind, BgpEvent::MISSED);
            drop(writer);
            assert_eq!(all.next().await, None);
        });
    }
}
