//! A network in memory: every message takes a millisecond, and nothing happens by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use bgp_wire::HoldTime;
use bytes::Bytes;
use viaduct_net::{
    Asn, IfIndex, OriginSource, Origination, Prefix, Route, RouteUpdate, RouterId, Underlay,
    UnderlayRoute,
};

use crate::{
    Action, Config, ConnId, Connected, DecisionRules, Direction, DownReason, FibEvent,
    LocalAddresses, PeerConfig, PeerStatus, RestartTime, SessionKey, Speaker, State, Stop,
    rng::Rng,
};

const LATENCY: Duration = Duration::from_millis(1);

pub(super) const HOLD_SECS: u16 = 9;

/// A node's number is its last octet everywhere: 192.0.2.N, 2001:db8::N, router id 192.0.2.N.
pub(super) fn v4(node: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, node).into()
}

pub(super) fn v6(node: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, node.into()).into()
}

pub(super) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(super) fn config(node: u8, asn: u32) -> Config {
    let (IpAddr::V4(four), IpAddr::V6(six)) = (v4(node), v6(node)) else { unreachable!() };
    Config {
        asn: Asn::new(asn),
        router_id: RouterId::try_from(four).unwrap(),
        cluster_id: four,
        addresses: LocalAddresses { v4: Some(four), v6: Some(six) },
        listen_port: 179,
        restart_time: RestartTime::try_from(30).unwrap(),
        deferral: Duration::from_secs(30),
        restarting: false,
        incomplete: false,
        coalesce: Duration::ZERO,
        confederation: None,
        decision: DecisionRules::DEFAULT,
        interfaces: BTreeMap::new(),
        peers: BTreeMap::new(),
        ranges: Default::default(),
    }
}

/// A configuration with peers of these numbers and ASes, over IPv4.
pub(super) fn with_peers(node: u8, asn: u32, peers: &[(u8, u32)]) -> Config {
    let mut config = config(node, asn);
    for &(peer, peer_asn) in peers {
        let hold_time = HoldTime::from_secs(HOLD_SECS).unwrap();
        let peer_config = PeerConfig::new(config.asn, Asn::new(peer_asn), hold_time);
        config.peers.insert(v4(peer), peer_config);
    }
    config
}

enum Event {
    ConnectDone { from: u8, to: IpAddr, attempt: u64 },
    Deliver { node: u8, conn: ConnId, bytes: Bytes },
    Written { node: u8, conn: ConnId, count: usize },
    Closed { node: u8, conn: ConnId },
}

pub(super) struct Node {
    pub(super) speaker: Speaker,
    pub(super) fib: BTreeMap<Prefix, Route>,
    pub(super) synced: bool,
    /// How often the FIB was told anything.
    pub(super) fib_updates: usize,
    attempts: BTreeMap<IpAddr, u64>,
}

#[derive(Default)]
pub(super) struct Network {
    pub(super) nodes: BTreeMap<u8, Node>,
    events: BTreeMap<(Instant, u64), Event>,
    /// Both ends of each wire know the other: (node, conn) to (node, conn).
    wires: BTreeMap<(u8, ConnId), (u8, ConnId)>,
    /// Between these nothing gets through, and nobody is told.
    cuts: BTreeSet<(u8, u8)>,
    /// What was sent over a cut: TCP sends it again once there is a way.
    held: Vec<(u8, ConnId, Bytes)>,
    /// Nodes that read nothing.
    pub(super) deaf: BTreeSet<u8>,
    /// Changes octets on the way, one in a few messages.
    pub(super) damage: Option<Rng>,
    start: Option<Instant>,
    now: Option<Instant>,
    next: u64,
    pub(super) trace: Vec<String>,
    /// What nodes announce beside their own blocks.
    pub(super) extra: BTreeMap<u8, BTreeSet<Origination>>,
}

/// The links of every node.
pub(super) fn underlay() -> Underlay {
    let on_link = |prefix: &str| UnderlayRoute {
        prefix: prefix.parse().unwrap(),
        gateway: None,
        interface: IfIndex(2),
        metric: 0,
    };
    Underlay::from([on_link("192.0.2.0/24"), on_link("2001:db8::/64")])
}

impl Network {
    pub(super) fn now(&mut self) -> Instant {
        let now = *self.now.get_or_insert_with(Instant::now);
        self.start.get_or_insert(now);
        now
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Starts a node; the kernel's links are there and a block of its own is to be announced.
    pub(super) fn start(&mut self, number: u8, config: Config) {
        let now = self.now();
        let mut speaker = Speaker::new(Arc::new(config), number.into(), now);
        speaker.handle_underlay(&underlay(), now);
        speaker.handle_originations(&own(number), now);
        let node = Node {
            speaker,
            fib: BTreeMap::new(),
            synced: false,
            fib_updates: 0,
            attempts: BTreeMap::new(),
        };
        self.nodes.insert(number, node);
        self.poll();
    }

    /// Puts another speaker in a node's place.
    pub(super) fn put(&mut self, number: u8, speaker: Speaker) {
        let node = self.nodes.get_mut(&number).unwrap();
        node.speaker = speaker;
        node.attempts.clear();
        node.fib.clear();
        node.synced = false;
    }

    /// Ends a process without a word of BGP; the kernel closes its connections.
    pub(super) fn kill(&mut self, number: u8) {
        self.nodes.remove(&number);
        let ends: Vec<_> = self.wires.keys().filter(|(node, _)| *node == number).copied().collect();
        for (node, conn) in ends {
            self.close(node, conn);
        }
    }

    pub(super) fn cut(&mut self, a: u8, b: u8) {
        self.cuts.extend([(a, b), (b, a)]);
    }

    pub(super) fn mend(&mut self, a: u8, b: u8) {
        self.cuts.remove(&(a, b));
        self.cuts.remove(&(b, a));
        // In the order in which it was sent; what still has no way is held again.
        for (number, conn, bytes) in std::mem::take(&mut self.held) {
            self.act(number, Action::Send { conn, bytes });
        }
    }

    pub(super) fn speaker(&mut self, number: u8) -> &mut Speaker {
        &mut self.nodes.get_mut(&number).unwrap().speaker
    }

    pub(super) fn shutdown(&mut self, number: u8, stop: &Stop) {
        let now = self.now();
        self.speaker(number).shutdown(stop, now);
        self.poll();
    }

    pub(super) fn configure(&mut self, number: u8, config: Config) {
        let now = self.now();
        self.speaker(number).handle_config(Arc::new(config), now);
        self.poll();
    }

    pub(super) fn bfd_down(
        &mut self,
        number: u8,
        session: SessionKey,
        reason: DownReason,
        control_plane_independent: bool,
    ) {
        let now = self.now();
        let speaker = self.speaker(number);
        speaker.handle_bfd_down(session, reason, control_plane_independent, now);
        self.poll();
    }

    pub(super) fn bfd_up(&mut self, number: u8, session: SessionKey) {
        let now = self.now();
        self.speaker(number).handle_bfd_up(session, now);
        self.poll();
    }

    pub(super) fn originate(&mut self, number: u8, prefixes: &[&str]) {
        let now = self.now();
        let set = prefixes
            .iter()
            .map(|text| Origination { prefix: prefix(text), source: OriginSource::Block })
            .collect();
        self.speaker(number).handle_originations(&set, now);
        self.poll();
    }

    pub(super) fn status(&mut self, number: u8, peer: IpAddr) -> PeerStatus {
        let now = self.now();
        let all = self.speaker(number).peer_statuses(now);
        all.into_iter().find(|status| status.address == peer).unwrap()
    }

    pub(super) fn state(&mut self, number: u8, peer: u8) -> State {
        self.status(number, v4(peer)).state
    }

    pub(super) fn fib(&self, number: u8) -> Vec<String> {
        self.nodes[&number].fib.keys().map(Prefix::to_string).collect()
    }

    /// Where a node sends packets for a prefix.
    pub(super) fn hops(&self, number: u8, prefix_text: &str) -> Vec<IpAddr> {
        let route = self.nodes[&number].fib.get(&prefix(prefix_text));
        route.map_or_else(Vec::new, |route| route.next_hops.iter().map(|hop| hop.address).collect())
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now() + duration;
        self.run_until(end, |_| false);
        self.now = Some(end);
    }

    /// Lets time pass until the condition holds; panics when it does not within a simulated hour.
    pub(super) fn wait(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let end = self.now() + Duration::from_secs(3600);
        assert!(self.run_until(end, &mut condition), "never: {what}\n{}", self.trace.join("\n"));
    }

    pub(super) fn wait_established(&mut self, a: u8, b: u8) {
        self.wait(&format!("{a} and {b} established"), |network| {
            network.state(a, b) == State::Established && network.state(b, a) == State::Established
        });
    }

    fn run_until(&mut self, end: Instant, mut stop: impl FnMut(&mut Self) -> bool) -> bool {
        loop {
            if stop(self) {
                return true;
            }
            let timers = self.nodes.values().filter_map(|node| node.speaker.poll_timeout());
            let timer = timers.map(|deadline| deadline.at).min();
            let event = self.events.keys().next().copied();
            let at = [timer, event.map(|key| key.0)].into_iter().flatten().min();
            let Some(at) = at.filter(|at| *at <= end) else { return false };
            let now = self.now().max(at);
            self.now = Some(now);
            match event.filter(|key| key.0 <= now) {
                Some(key) => {
                    let event = self.events.remove(&key).unwrap();
                    self.happen(event);
                }
                None => {
                    for node in self.nodes.values_mut() {
                        node.speaker.handle_timeout(now);
                    }
                }
            }
            self.poll();
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::ConnectDone { from, to, attempt } => self.connect_done(from, to, attempt),
            Event::Deliver { node, conn, bytes } => {
                let bytes = self.damaged(bytes);
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.speaker.handle_bytes(conn, &bytes, now);
                }
            }
            Event::Written { node, conn, count } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.speaker.handle_written(conn, count, now);
                }
            }
            Event::Closed { node, conn } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.speaker.handle_closed(conn, "closed", now);
                }
            }
        }
    }

    fn damaged(&mut self, bytes: Bytes) -> Bytes {
        let Some(rng) = &mut self.damage else { return bytes };
        if rng.below(4) != 0 {
            return bytes;
        }
        let mut bytes = bytes.to_vec();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.below(256) as u8;
        }
        bytes.into()
    }

    fn connect_done(&mut self, from: u8, to: IpAddr, attempt: u64) {
        let now = self.now();
        let wanted = self.nodes.get(&from).and_then(|node| node.attempts.get(&to));
        if wanted != Some(&attempt) {
            return;
        }
        self.nodes.get_mut(&from).unwrap().attempts.remove(&to);
        let target =
            *self.nodes.keys().find(|node| v4(**node) == to || v6(**node) == to).unwrap_or(&0);
        let source = if to.is_ipv4() { v4(from) } else { v6(from) };
        let welcome = self
            .nodes
            .get(&target)
            .is_some_and(|node| node.speaker.config().peer_at(source).is_some());
        if !welcome {
            let node = self.nodes.get_mut(&from).unwrap();
            return node.speaker.handle_connect_failed(to, "connection refused", now);
        }
        let (ours, theirs) = (ConnId(self.number()), ConnId(self.number()));
        self.wires.insert((from, ours), (target, theirs));
        self.wires.insert((target, theirs), (from, ours));
        for (node, conn, peer, direction) in
            [(target, theirs, source, Direction::Incoming), (from, ours, to, Direction::Outgoing)]
        {
            let connected = Connected { conn, peer, direction };
            self.speaker(node).handle_connected(connected, now);
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        let key = (self.now() + delay, self.number());
        self.events.insert(key, event);
    }

    pub(super) fn close(&mut self, node: u8, conn: ConnId) {
        let Some(other) = self.wires.remove(&(node, conn)) else { return };
        self.wires.remove(&other);
        if !self.cuts.contains(&(node, other.0)) {
            self.after(LATENCY, Event::Closed { node: other.0, conn: other.1 });
        }
    }

    pub(super) fn poll(&mut self) {
        let numbers: Vec<u8> = self.nodes.keys().copied().collect();
        for number in numbers {
            while let Some(action) = self.speaker(number).poll_action() {
                let elapsed = self.now() - self.start.unwrap();
                self.trace.push(format!("{elapsed:?} {number}: {action:?}"));
                self.act(number, action);
            }
            let node = self.nodes.get_mut(&number).unwrap();
            while let Some(event) = node.speaker.poll_fib() {
                match event {
                    FibEvent::Synced => node.synced = true,
                    FibEvent::Update(RouteUpdate { prefix, route }) => {
                        node.fib_updates += 1;
                        match route {
                            Some(route) => node.fib.insert(prefix, route),
                            None => node.fib.remove(&prefix),
                        };
                    }
                }
            }
        }
    }

    fn act(&mut self, number: u8, action: Action) {
        match action {
            Action::Connect { peer, .. } => {
                let attempt = self.number();
                self.nodes.get_mut(&number).unwrap().attempts.insert(peer, attempt);
                let cut = self
                    .cuts
                    .iter()
                    .any(|(a, b)| *a == number && (v4(*b) == peer || v6(*b) == peer));
                if !cut {
                    self.after(LATENCY, Event::ConnectDone { from: number, to: peer, attempt });
                }
            }
            Action::CancelConnect { peer } => {
                self.nodes.get_mut(&number).unwrap().attempts.remove(&peer);
            }
            Action::Send { conn, bytes } => {
                let Some(&(node, other)) = self.wires.get(&(number, conn)) else { return };
                if self.cuts.contains(&(number, node)) {
                    return self.held.push((number, conn, bytes));
                }
                if self.deaf.contains(&node) {
                    return;
                }
                let count = bytes.len();
                self.after(LATENCY, Event::Written { node: number, conn, count });
                self.after(LATENCY, Event::Deliver { node, conn: other, bytes });
            }
            Action::Close { conn } => self.close(number, conn),
        }
    }
}

/// The blocks of a node: 10.N.0.0/24 and fd00:N::/64.
pub(super) fn own(node: u8) -> BTreeSet<Origination> {
    [format!("10.{node}.0.0/24"), format!("fd00:{node}::/64")]
        .iter()
        .map(|text| Origination { prefix: prefix(text), source: OriginSource::Block })
        .collect()
}
