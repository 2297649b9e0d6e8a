//! What stands between a speaker and the world, and holds it to its word.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bgp_speaker::{
    Action, ConnId, Connected, Direction, FibEvent, MAX_UNWRITTEN_BYTES, Speaker, State, Stop,
};
use bgp_wire::{EXTENDED_MESSAGE_LEN, MessageType, first_frame};
use viaduct_net::{IfIndex, Origination, Prefix, Route, RouteUpdate, Underlay, UnderlayRoute};

use super::peers::{Features, PeerPlan, base_config, plans};

/// More than one input can ask for.
const MAX_ACTIONS: usize = 10_000;
/// Messages about the session itself are not held back by what waits to be written.
const MAX_SESSION_BYTES: usize = 64 << 10;

#[derive(Debug)]
struct Conn {
    id: ConnId,
    peer: IpAddr,
    unwritten: usize,
    /// Sent and not yet cut into messages.
    said: Vec<u8>,
    has_opened: bool,
    /// A NOTIFICATION is the last word.
    is_over: bool,
}

pub(super) struct Shell {
    pub(super) speaker: Speaker,
    pub(super) now: Instant,
    pub(super) features: Features,
    pub(super) underlay: Underlay,
    pub(super) originations: BTreeSet<Origination>,
    conns: Vec<Conn>,
    connecting: BTreeSet<IpAddr>,
    next_conn: u64,
    fib: BTreeMap<Prefix, Route>,
    synced: bool,
    stopped: bool,
}

impl Shell {
    pub(super) fn new(bits: u8) -> Self {
        let now = Instant::now();
        let features = Features(bits);
        let config = Arc::new(base_config(features));
        let mut shell = Self {
            speaker: Speaker::new(config, bits.into(), now),
            now,
            features,
            underlay: Underlay::from([]),
            originations: BTreeSet::new(),
            conns: Vec::new(),
            connecting: BTreeSet::new(),
            next_conn: 0,
            fib: BTreeMap::new(),
            synced: false,
            stopped: false,
        };
        shell.set_underlay(features.has_underlay());
        shell.settle();
        shell
    }

    /// Takes what the speaker wants done, and checks that it can want it.
    pub(super) fn settle(&mut self) {
        for count in 0.. {
            let Some(action) = self.speaker.poll_action() else { break };
            assert!(count < MAX_ACTIONS, "no end of actions");
            self.act(action);
        }
        while let Some(event) = self.speaker.poll_fib() {
            assert!(!self.stopped, "{event:?} after the end");
            self.install(event);
        }
        self.check_peers();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { peer, port, local, .. } => {
                assert!(!self.stopped, "connects after the end");
                let config = &self.speaker.config().peers[&peer];
                assert!(!config.passive && !config.shutdown && config.port == port);
                assert!(local.is_none_or(|local| local.is_ipv4() == peer.is_ipv4()));
                self.connecting.insert(peer);
            }
            Action::CancelConnect { peer } => {
                self.connecting.remove(&peer);
            }
            Action::Send { conn, bytes } => {
                let conn = self.conns.iter_mut().find(|one| one.id == conn).unwrap();
                assert!(!bytes.is_empty());
                conn.unwritten += bytes.len();
                assert!(conn.unwritten <= MAX_UNWRITTEN_BYTES + MAX_SESSION_BYTES);
                conn.say(&bytes);
            }
            Action::Close { conn } => {
                let at = self.conns.iter().position(|one| one.id == conn).unwrap();
                let conn = self.conns.swap_remove(at);
                assert!(conn.said.is_empty(), "half a message was said");
            }
        }
    }

    fn install(&mut self, event: FibEvent) {
        match event {
            FibEvent::Synced => assert!(!std::mem::replace(&mut self.synced, true)),
            FibEvent::Update(RouteUpdate { prefix, route: Some(route) }) => {
                assert!(route.is_discard() || !route.next_hops.is_empty());
                assert!(route.next_hops.is_sorted());
                let old = self.fib.insert(prefix, route.clone());
                assert_ne!(old, Some(route), "{prefix}: nothing new");
            }
            FibEvent::Update(RouteUpdate { prefix, route: None }) => {
                assert!(self.fib.remove(&prefix).is_some(), "{prefix}: nothing to remove");
            }
        }
    }

    fn check_peers(&self) {
        let statuses = self.speaker.peer_statuses(self.now);
        for status in &statuses {
            let conns = self.conns.iter().filter(|conn| conn.peer == status.address).count();
            assert!(conns <= 2, "{status:?}");
            if status.state == State::Established && !self.stopped {
                assert!(conns >= 1, "{status:?}");
            } else if !self.stopped {
                assert_eq!(status.prefixes_received, status.prefixes_stale, "{status:?}");
                assert_eq!(status.prefixes_sent, 0, "{status:?}");
            }
        }
        if self.stopped {
            return;
        }
        let received: usize = statuses.iter().map(|status| status.prefixes_received).sum();
        let counts = self.speaker.rib_counts();
        assert_eq!(counts.paths, received + self.originations.len());
        assert_eq!(counts.routes, self.fib.len());
    }

    pub(super) fn finish(mut self) {
        self.stop(&Stop::Administrative(String::new()));
        self.settle();
        assert!(self.conns.is_empty(), "{:?}", self.conns);
        assert_eq!(self.speaker.poll_timeout(), None);
    }
}

impl Conn {
    /// Whole messages, OPEN first, and none after a NOTIFICATION.
    fn say(&mut self, bytes: &[u8]) {
        assert!(!self.is_over, "more after a NOTIFICATION");
        self.said.extend(bytes);
        let mut used = 0;
        while let Some(frame) = first_frame(&self.said[used..], EXTENDED_MESSAGE_LEN).unwrap() {
            used += frame.whole_len();
            let is_open = frame.kind == MessageType::Open;
            let is_over = frame.kind == MessageType::Notification;
            assert!(is_over || is_open != self.has_opened, "{:?}", frame.kind);
            self.has_opened |= is_open;
            self.is_over |= is_over;
        }
        self.said.drain(..used);
    }
}

/// What can happen.
impl Shell {
    fn connect(&mut self, peer: IpAddr, direction: Direction) {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.conns.push(Conn {
            id: conn,
            peer,
            unwritten: 0,
            said: Vec::new(),
            has_opened: false,
            is_over: false,
        });
        self.speaker.handle_connected(Connected { conn, peer, direction }, self.now);
    }

    pub(super) fn connect_done(&mut self, which: u8) {
        let peer = plans()[usize::from(which) % 4].address;
        if self.connecting.remove(&peer) {
            self.connect(peer, Direction::Outgoing);
        }
    }

    pub(super) fn connect_failed(&mut self, which: u8) {
        let peer = plans()[usize::from(which) % 4].address;
        if self.connecting.remove(&peer) {
            self.speaker.handle_connect_failed(peer, "refused", self.now);
        }
    }

    pub(super) fn incoming(&mut self, which: u8) {
        let stranger = IpAddr::from([203, 0, 113, which]);
        let plan = plans().get(usize::from(which) % 5).copied();
        self.connect(plan.map_or(stranger, |plan| plan.address), Direction::Incoming);
    }

    fn place_of(&self, which: u8) -> Option<usize> {
        (!self.conns.is_empty()).then(|| usize::from(which) % self.conns.len())
    }

    /// Whose connection that is.
    pub(super) fn peer_of(&self, which: u8) -> PeerPlan {
        let peer = self.place_of(which).map(|at| self.conns[at].peer);
        let plan = plans().into_iter().find(|plan| Some(plan.address) == peer);
        plan.unwrap_or(plans()[0])
    }

    pub(super) fn lose(&mut self, which: u8) {
        let Some(at) = self.place_of(which) else { return };
        let conn = self.conns.swap_remove(at);
        self.speaker.handle_closed(conn.id, "lost", self.now);
    }

    pub(super) fn receive(&mut self, which: u8, bytes: &[u8]) {
        let Some(at) = self.place_of(which) else { return };
        self.speaker.handle_bytes(self.conns[at].id, bytes, self.now);
    }

    /// A share of what waits, in 255ths.
    pub(super) fn written(&mut self, which: u8, share: u8) {
        let Some(at) = self.place_of(which) else { return };
        let conn = &mut self.conns[at];
        let count = conn.unwritten * usize::from(share) / 255;
        conn.unwritten -= count;
        self.speaker.handle_written(conn.id, count, self.now);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.speaker.handle_timeout(self.now);
        let next = self.speaker.poll_timeout();
        assert!(next.is_none_or(|next| next.at > self.now), "{next:?} is overdue");
    }

    pub(super) fn pass_to_deadline(&mut self) {
        if let Some(deadline) = self.speaker.poll_timeout() {
            self.pass(deadline.at.saturating_duration_since(self.now));
            self.settle();
        }
    }

    pub(super) fn originate(&mut self, originations: &BTreeSet<Origination>) {
        self.originations = originations.clone();
        self.speaker.handle_originations(originations, self.now);
    }

    pub(super) fn set_underlay(&mut self, up: bool) {
        let route = |prefix: &str, gateway: Option<&str>, metric| UnderlayRoute {
            prefix: prefix.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            interface: IfIndex(2),
            metric,
        };
        let mut all = vec![
            route("192.0.2.0/25", None, 0),
            route("192.0.2.128/25", Some("192.0.2.1"), 10),
            route("2001:db8::/64", None, 0),
        ];
        all.truncate(if up { 3 } else { 1 });
        self.underlay = Underlay::from(all);
        self.speaker.handle_underlay(&self.underlay, self.now);
    }

    pub(super) fn unwritten(&self, conn: ConnId) -> usize {
        self.conns.iter().find(|one| one.id == conn).unwrap().unwritten
    }

    /// The next speaker has these connections, and a FIB that it fills anew.
    pub(super) fn go_on(&mut self, next: Speaker, adopted: &[ConnId]) {
        self.speaker = next;
        self.conns.retain(|conn| adopted.contains(&conn.id));
        self.connecting.clear();
        self.fib.clear();
        self.synced = false;
    }

    pub(super) fn stop(&mut self, stop: &Stop) {
        self.speaker.shutdown(stop, self.now);
        self.stopped = true;
    }
}
