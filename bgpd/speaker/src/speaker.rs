use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bgp_wire::{Notification, NotificationCode};
use bytes::Bytes;
use tracing::debug;
use viaduct_net::{Origination, RouteUpdate, Underlay};

use crate::{
    Direction,
    bfd::Loss,
    config::{Config, PeerConfig},
    drive::Cause,
    events::{Events, Happening},
    fsm::{Event, State},
    peer::{Connection, Peer},
    restart::Startup,
    rng::Rng,
    routing::Routing,
    source::{Source, SourceId},
    timer::{Owner, Timer, Timers},
    transport::Transport,
    watch::{Observed, Watch},
};

/// How long a peer may leave us waiting for its OPEN (RFC 4271 §8.2.2: "a large value", four
/// minutes).
pub(crate) const OPEN_HOLD_TIME: Duration = Duration::from_secs(240);

/// The name of a TCP connection, chosen by the shell and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What the shell is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin a connection and answer with `handle_connected` or `handle_connect_failed`. An
    /// attempt for the same peer that is still under way is given up.
    Connect {
        peer: IpAddr,
        port: u16,
        local: Option<IpAddr>,
        transport: Transport,
    },
    /// Give up the attempt that is under way. If it has succeeded meanwhile no harm is done.
    CancelConnect {
        peer: IpAddr,
    },
    Send {
        conn: ConnId,
        bytes: Bytes,
    },
    /// Close behind what was sent. Nothing of the connection is wanted any more.
    Close {
        conn: ConnId,
    },
}

/// What the FIB is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FibEvent {
    Update(RouteUpdate),
    /// The first picture is complete: what was not in it can be purged. Said once.
    Synced,
}

/// When the speaker wants `handle_timeout`, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub at: Instant,
    pub timer: Timer,
    pub peer: Option<IpAddr>,
}

/// A connection that stands, from the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    pub conn: ConnId,
    pub peer: IpAddr,
    pub direction: Direction,
}

/// How the speaker goes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// For good: peers are told, with these words for their operator, and drop our routes.
    Administrative(String),
    /// To come back: connections end without a word, and peers that know graceful restart keep
    /// our routes for the restart time.
    Restart,
}

/// A BGP speaker with all its peers. Nothing happens in it but by its `handle_` functions; after
/// each of them, or after several, take what `poll_action`, `poll_fib` and `poll_timeout` give.
#[derive(Debug)]
pub struct Speaker {
    pub(crate) config: Arc<Config>,
    pub(crate) peers: BTreeMap<IpAddr, Peer>,
    /// Whose each connection is; at most two for each peer.
    pub(crate) connections: BTreeMap<ConnId, IpAddr>,
    pub(crate) timers: Timers,
    pub(crate) rng: Rng,
    /// Bounded by what one input can cause; updates are made only when the shell polls.
    pub(crate) actions: VecDeque<Action>,
    pub(crate) routing: Routing,
    pub(crate) startup: Startup,
    /// When was last decided what had changed.
    pub(crate) settled: Instant,
    /// Peers that may have updates to be sent.
    pub(crate) ready: BTreeSet<IpAddr>,
    /// Peers of ranges that may be forgotten.
    pub(crate) departed: BTreeSet<IpAddr>,
    pub(crate) stopped: bool,
    pub(crate) events: Events,
    /// What [`Speaker::poll_bfd`] has not told yet.
    pub(crate) bfd_changed: bool,
    /// Peers that BFD has lost and not found again.
    pub(crate) losses: BTreeMap<IpAddr, Loss>,
    /// Peers that the underlay leads to, and those that it has led to before and does not any more.
    pub(crate) underlaid: BTreeSet<IpAddr>,
    pub(crate) cut_off: BTreeSet<IpAddr>,
    pub(crate) watch: Watch,
    /// What those who watch have not been told: bounded as the actions are.
    pub(crate) observed: VecDeque<Observed>,
    pub(crate) sources: BTreeMap<SourceId, Source>,
    pub(crate) last_source: u64,
    /// Of the latest input: for what is made while polling.
    pub(crate) now: Instant,
}

impl Speaker {
    /// A speaker with these peers, all in their first attempt. The seed makes its jitter: give each
    /// speaker another.
    pub fn new(config: Arc<Config>, seed: u64, now: Instant) -> Self {
        let mut speaker = Self::empty(config.clone(), seed, now);
        let deferral = now + config.deferral;
        speaker.timers.start(Owner::Speaker, Timer::SelectionDeferral, deferral);
        for (&address, peer) in &config.peers {
            speaker.add_peer(address, peer.clone());
        }
        speaker.tell_held_ranges(None);
        speaker.check_startup();
        speaker
    }

    /// Without peers.
    pub(crate) fn empty(config: Arc<Config>, seed: u64, now: Instant) -> Self {
        Self {
            peers: BTreeMap::new(),
            connections: BTreeMap::new(),
            timers: Timers::default(),
            rng: Rng::new(seed),
            actions: VecDeque::new(),
            routing: Routing::new(&config),
            startup: Startup::new(config.restarting),
            settled: now,
            ready: BTreeSet::new(),
            departed: BTreeSet::new(),
            stopped: false,
            events: Events::default(),
            bfd_changed: true,
            losses: BTreeMap::new(),
            underlaid: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            watch: Watch::default(),
            observed: VecDeque::new(),
            sources: BTreeMap::new(),
            last_source: 0,
            now,
            config,
        }
    }

    /// Nobody forwards by what this speaker learns: [`Speaker::poll_fib`] gives no routes. To be said at
    /// the start.
    pub const fn without_fib(&mut self) {
        self.routing.rib.without_fib();
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Takes over a configuration. Sessions go on unless what they have agreed on has changed;
    /// changed policies are applied to what was learned and told before.
    pub fn handle_config(&mut self, config: Arc<Config>, now: Instant) {
        self.now = now;
        if self.stopped || config == self.config {
            return;
        }
        let old = std::mem::replace(&mut self.config, config.clone());
        self.bfd_changed |= old.addresses != config.addresses;
        let changed = old.changes(&config);
        if !changed.is_empty() {
            self.events.push(None, Happening::SpeakerChanged(changed));
        }
        self.routing.set_config(&config);
        let all_anew = old.asn != config.asn
            || old.router_id != config.router_id
            || old.confederation != config.confederation;
        let gone: Vec<_> =
            self.peers.keys().filter(|peer| !config.peers.contains_key(peer)).copied().collect();
        for address in gone {
            match self.still_within(address) {
                Some(wanted) if !all_anew => self.change_dynamic(address, wanted),
                _ => {
                    let farewell = Notification::new(NotificationCode::PeerDeconfigured);
                    self.remove_peer(address, farewell);
                    self.events.push(address, Happening::PeerRemoved);
                }
            }
        }
        for (&address, wanted) in &config.peers {
            match self.peers.get(&address) {
                None => {
                    self.events.push(address, Happening::PeerAdded);
                    self.add_peer(address, wanted.clone());
                }
                // Named from now on.
                Some(peer) if peer.range.is_some() => {
                    self.remove_peer(address, farewell_before(wanted));
                    self.add_peer(address, wanted.clone());
                }
                Some(peer)
                    if all_anew
                        || peer.config != *wanted && !peer.config.session_survives(wanted) =>
                {
                    let changed = peer.config.changes(wanted);
                    self.events.push(address, Happening::PeerChanged(changed));
                    self.remove_peer(address, farewell_before(wanted));
                    self.add_peer(address, wanted.clone());
                }
                Some(_) => self.change_peer(address, wanted.clone()),
            }
        }
        self.find_cut_off();
        self.tell_held_ranges(Some(&old));
        self.tell_by_config();
        self.check_startup();
    }

    /// The whole underlay, over which next hops are resolved.
    pub fn handle_underlay(&mut self, underlay: &Underlay, now: Instant) {
        self.now = now;
        self.routing.set_underlay(underlay);
        self.find_cut_off();
        self.check_startup();
    }

    /// The whole set of what this speaker announces of its own.
    pub fn handle_originations(&mut self, originations: &BTreeSet<Origination>, now: Instant) {
        self.now = now;
        self.routing.set_originations(originations);
    }

    /// A connection stands: one that was asked for, or one that a peer has opened.
    pub fn handle_connected(&mut self, connected: Connected, now: Instant) {
        self.now = now;
        let Connected { conn, peer: address, direction } = connected;
        let known = self.peers.contains_key(&address)
            || direction == Direction::Incoming && !self.stopped && self.admit(address, conn);
        let Some(peer) = self.peers.get_mut(&address).filter(|_| known && !self.stopped) else {
            return self.actions.push_back(Action::Close { conn });
        };
        if direction == Direction::Outgoing {
            peer.connecting = false;
        }
        self.connections.insert(conn, address);
        let connection = Connection::new(conn, direction);
        match peer.state {
            State::Idle => {
                // After a loss that was nobody's error the peer may be quicker than our timer.
                let may_come = peer.failures == 0
                    && self.timers.is_running(Owner::Peer(address), Timer::IdleHold);
                peer.connection = Some(connection);
                if may_come {
                    self.timers.stop(Owner::Peer(address), Timer::IdleHold);
                    self.step(address, Event::StartPassive, Cause::none());
                }
                self.step(address, Event::TcpConnected, Cause::none());
            }
            State::Connect | State::Active => {
                peer.connection = Some(connection);
                self.step(address, Event::TcpConnected, Cause::none());
            }
            State::OpenSent | State::OpenConfirm | State::Established => {
                self.second_connected(address, connection);
            }
        }
    }

    /// The attempt asked for by [`Action::Connect`] has failed.
    pub fn handle_connect_failed(&mut self, address: IpAddr, error: &str, now: Instant) {
        self.now = now;
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.connecting = false;
        if peer.state == State::Connect && !self.stopped {
            self.step(address, Event::TcpConnectionFails, Cause::text(error));
        }
    }

    /// The connection is gone, by the peer or by an error.
    pub fn handle_closed(&mut self, conn: ConnId, reason: &str, now: Instant) {
        self.now = now;
        let Some(address) = self.connections.remove(&conn) else { return };
        self.timers.stop_all(Owner::Connection(conn));
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if peer.second.as_ref().is_some_and(|second| second.id == conn) {
            peer.second = None;
        } else if peer.connection.as_ref().is_some_and(|main| main.id == conn) {
            // The session may still have to be asked what it had agreed on.
            self.step(address, Event::TcpConnectionFails, Cause::text(reason));
        }
    }

    /// TCP has taken so many octets of what was sent.
    pub fn handle_written(&mut self, conn: ConnId, count: usize, now: Instant) {
        self.now = now;
        let Some(&address) = self.connections.get(&conn) else { return };
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let Some(slot) = peer.slot_of(conn) else { return };
        let times = peer.config.times;
        let Some(connection) = peer.slot(slot) else { return };
        connection.unwritten = connection.unwritten.saturating_sub(count);
        if connection.unwritten == 0 {
            self.timers.stop(Owner::Connection(conn), Timer::SendHold);
        } else {
            let at = now + times.send_hold(connection.hold_time());
            self.timers.start(Owner::Connection(conn), Timer::SendHold, at);
        }
        self.ready.insert(address);
    }

    /// Time has passed: does what was due until `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout_after(now, now);
    }

    /// The same where what peers have said was handed over up to `heard` only: what their silence makes
    /// due is due by then.
    pub fn handle_timeout_after(&mut self, heard: Instant, now: Instant) {
        self.now = now;
        while let Some((owner, timer)) = self.timers.pop_due(heard, now) {
            self.expire(owner, timer);
        }
    }

    /// Octets of updates that more than half of all peers have yet to take, shared or not.
    pub fn unread(&self) -> usize {
        self.routing.unread()
    }

    /// Ends every session and answers nothing any more.
    pub fn shutdown(&mut self, stop: &Stop, now: Instant) {
        self.now = now;
        self.stopped = true;
        let all: Vec<_> = self.peers.keys().copied().collect();
        for address in all {
            match stop {
                Stop::Administrative(words) => {
                    let code = NotificationCode::AdministrativeShutdown;
                    let farewell = Notification::with_shutdown_message(code, words);
                    self.stop_peer(address, Some(farewell));
                }
                Stop::Restart => self.stop_peer(address, None),
            }
        }
        self.ready.clear();
        self.timers = Timers::default();
    }

    /// The next thing to do; `None` until another input. Updates to peers are made here, so that
    /// what several inputs have changed is told at once.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.forget_departed();
        self.settle_in_time();
        while self.actions.is_empty() {
            let address = self.ready.pop_first()?;
            self.advertise(address);
        }
        self.actions.pop_front()
    }

    /// The next thing for the FIB. After [`Speaker::shutdown`] there is none: what stands in the
    /// kernel is the business of whoever comes next.
    pub fn poll_fib(&mut self) -> Option<FibEvent> {
        self.settle_in_time();
        self.routing.pop_fib()
    }

    /// The next time at which `handle_timeout` is wanted, with the reason.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let (at, owner, timer) = self.timers.next()?;
        let peer = match owner {
            Owner::Speaker => None,
            Owner::Peer(address) => Some(address),
            Owner::Connection(conn) => self.connections.get(&conn).copied(),
        };
        Some(Deadline { at, timer, peer })
    }

    fn expire(&mut self, owner: Owner, timer: Timer) {
        let address = match owner {
            Owner::Speaker => None,
            Owner::Peer(address) => Some(address),
            Owner::Connection(conn) => self.connections.get(&conn).copied(),
        };
        debug!(?address, ?timer, "expired");
        let Some(address) = address else {
            // What has waited is decided when it is asked what follows.
            if timer == Timer::SelectionDeferral {
                self.defer_no_longer();
            }
            return;
        };
        match timer {
            // A connection of the peer's own has come to nothing: we wait for the next.
            Timer::ConnectRetry if self.waits_for(address) => {}
            Timer::ConnectRetry => {
                let peer = self.peers.get(&address);
                // What was wrong with a session says more than this.
                let silent = peer.is_some_and(|peer| {
                    let says_less = peer.last_error.is_none() || peer.attempt_failed;
                    peer.state == State::Connect && says_less
                });
                let cause = if silent { Cause::text("no answer to SYN") } else { Cause::none() };
                self.step(address, Event::ConnectRetryTimerExpires, cause);
            }
            Timer::IdleHold => self.start_peer(address),
            Timer::Hold | Timer::Keepalive | Timer::SendHold | Timer::Advertisement => {
                if let Owner::Connection(conn) = owner {
                    self.expire_on_connection(address, conn, timer);
                }
            }
            Timer::Restart => self.restart_time_over(address),
            Timer::Stale => self.drop_stale(address),
            Timer::LongLived(family) => self.drop_long_lived(address, family),
            Timer::SelectionDeferral | Timer::Coalesce => {}
        }
        self.note_departed(address);
    }
}

/// What a peer is told before it is another by configuration (RFC 4486 §4, RFC 9003 §2).
pub(crate) fn farewell_before(wanted: &PeerConfig) -> Notification {
    if wanted.shutdown {
        let words = wanted.shutdown_message.as_deref().unwrap_or_default();
        Notification::with_shutdown_message(NotificationCode::AdministrativeShutdown, words)
    } else {
        Notification::new(NotificationCode::OtherConfigurationChange)
    }
}
