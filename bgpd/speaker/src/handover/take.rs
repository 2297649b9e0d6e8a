//! A speaker that begins where another has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use bgp_rib::{Policy, out::Owed};
use bgp_wire::{
    Capability, EXTENDED_MESSAGE_LEN, HoldTime, Message, Notification, NotificationCode, Open,
    PeerKind, SessionParameters, first_frame,
};
use tracing::info;
use viaduct_net::{Asn, Family, IfIndex, Origination, Prefix, RouterId, Underlay};

use super::{
    Handover, HandoverError,
    frame::{self, Frame, OpensFrame, PeerFrame, SourceFrame, TablePeerFrame},
    print::{Prints, manner},
};
use crate::{
    Config, ConnId, Direction, PeerConfig, SourceConfig, SourceId,
    announce::profile,
    drive::Cause,
    fsm::{Event, State},
    open::{self, Agreed, Past},
    peer::{Connection, Peer},
    speaker::{Speaker, farewell_before},
    timer::{Owner, Timer},
};

/// A connection that was handed over with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub conn: ConnId,
    /// Octets handed out that TCP has not taken.
    pub unwritten: usize,
}

/// What the next speaker begins with, beside what it is handed.
#[derive(Debug)]
pub struct Successor<'a> {
    pub config: Arc<Config>,
    /// Whole: next hops that are not in it lead nowhere.
    pub underlay: &'a Underlay,
    /// Whole: what the other has announced and is not in it is withdrawn.
    pub originations: &'a BTreeSet<Origination>,
    /// Whole: one that the other has had by the same name goes on with its paths, which wait to be told
    /// again ([`Speaker::end_source`]), and any other is gone.
    pub sources: Vec<SourceConfig>,
    /// Whether anybody forwards by what is learned.
    pub forwards: bool,
    /// By peer. A session without one is lost.
    pub connections: BTreeMap<IpAddr, Adopted>,
    pub seed: u64,
}

/// A session that goes on, and what is to be known of it until it does.
struct Going {
    address: IpAddr,
    conn: Option<ConnId>,
    owed: Owed,
    print: u64,
    inbox: Vec<u8>,
    survives: bool,
}

impl Speaker {
    /// Goes on with what another speaker has handed over, under a configuration that may be another by
    /// now. After an error nothing has come of it.
    pub fn taken_over(
        handover: Handover,
        successor: Successor<'_>,
        now: Instant,
    ) -> Result<Self, HandoverError> {
        if !handover.is_whole() {
            return Err(HandoverError::Unfinished);
        }
        let Successor { config, underlay, originations, sources, forwards, connections, seed } =
            successor;
        let mut speaker = Self::empty(config.clone(), seed, now);
        if !forwards {
            speaker.without_fib();
        }
        speaker.startup.take_over();
        speaker.routing.set_underlay(underlay);
        let mut going = Vec::new();
        for (frame, owed) in handover.peers {
            let adopted = connections.get(&frame.address).copied();
            going.extend(speaker.adopt_peer(frame, owed, adopted)?);
        }
        let is_watched = |address: &IpAddr| {
            let config = speaker.peers.get(address).map(|peer| &peer.config);
            config.is_some_and(|config| config.bfd.is_some() && !config.is_held_down())
        };
        let losses = handover.losses.into_iter().filter(|(address, _)| is_watched(address));
        speaker.losses = losses.collect();
        speaker.cut_off = handover.cut_off;
        speaker.find_cut_off();
        let unwanted = speaker.adopt_sources(handover.sources, sources)?;
        let numbers = speaker.routing.numbers();
        let mut table = speaker.routing.rib.take_over(numbers);
        for octets in handover.table {
            match frame::read(&octets)? {
                Frame::Table(piece) => table.piece(piece)?,
                _ => return Err(HandoverError::Frame),
            }
        }
        table.finish();
        for source in speaker.sources.values() {
            speaker.routing.rib.mark_all_stale(source.peer);
        }
        speaker.rejoin(&mut going)?;
        unwanted.into_iter().for_each(|source| speaker.remove_source(source));
        speaker.handle_originations(originations, now);
        speaker.settle();
        info!(sessions = going.len(), "taken over");
        speaker.go_on(going);
        speaker.routing.synced();
        Ok(speaker)
    }

    /// A peer as it was, its session included.
    fn adopt_peer(
        &mut self,
        frame: PeerFrame,
        owed: Owed,
        adopted: Option<Adopted>,
    ) -> Result<Option<Going>, HandoverError> {
        let address = frame.address;
        let config = self.config.clone();
        let agree = |opens: &OpensFrame| opens.agree(address, &config);
        let session = frame.session.as_ref().map(|session| agree(&session.opens)).transpose()?;
        let wanted = self.wanted(address, frame.table.map(|table| Asn::new(table.asn)));
        let config = match (&wanted, frame.table) {
            (Some((_, config)), _) => config.clone(),
            // Nobody's by now: it is there to be parted from.
            (None, Some(table)) => {
                PeerConfig::new(self.config.asn, Asn::new(table.asn), HoldTime::INFINITE)
            }
            (None, None) => return Ok(None),
        };
        let mut peer = Peer::new(config.clone(), self.now);
        peer.range = wanted.as_ref().and_then(|(range, _)| *range);
        peer.failures = frame.failures;
        // What holds it down is news to those who watch this process.
        peer.last_error = frame.last_error.filter(|_| config.obstacle.is_none());
        peer.counters = frame.counters.into();
        peer.had_session = frame.had_session;
        peer.stale = frame.stale.into();
        peer.long_lived = frame.long_lived.into();
        peer.last_agreed = frame.last_opens.as_ref().map(agree).transpose()?;
        peer.near_limit = frame.near_limit.into();
        peer.over_limit = frame.over_limit.into();
        let timers = [(Timer::Restart, frame.restart), (Timer::Stale, frame.stale_left)];
        let long_lived = Family::ALL.map(Timer::LongLived).into_iter().zip(frame.long_lived_left);
        for (timer, left) in timers.into_iter().chain(long_lived) {
            if let Some(left) = left {
                self.timers.start(Owner::Peer(address), timer, self.now + left);
            }
        }
        if let Some(table) = frame.table {
            let opens = session.as_ref().or(peer.last_agreed.as_ref());
            let kind = opens.map(|agreed| agreed.parameters.peer_kind);
            self.adopt_into_table(address, table, kind, &config)?;
        }
        let (Some(session), Some(agreed)) = (frame.session, session) else {
            self.peers.insert(address, peer);
            return Ok(None);
        };
        let survives = wanted.is_some_and(|(_, wanted)| {
            agreed.received.asn == wanted.asn
                && session.transport.is(&wanted.transport)
                && session.manner == manner(&self.config, &wanted)
                && !wanted.is_held_down()
                && says_the_same(&agreed.sent, &self.config, &wanted)
        });
        peer.state = State::Established;
        peer.since = self.now.checked_sub(frame.since).unwrap_or(self.now);
        peer.end_of_rib = session.end_of_rib.into();
        let conn = adopted.map(|adopted| adopted.conn);
        if let Some(Adopted { conn, unwritten }) = adopted {
            let direction =
                if session.outgoing { Direction::Outgoing } else { Direction::Incoming };
            let mut connection = Connection::new(conn, direction);
            connection.unwritten = unwritten;
            connection.sent = Some(agreed.sent.clone());
            connection.received = Some(agreed.received.clone());
            connection.open_received = session.opens.received.into();
            connection.agreed = Some(agreed);
            let owner = Owner::Connection(conn);
            if let Some(hold) = connection.hold_time() {
                // What the peer has said meanwhile waits to be read.
                connection.heard = Some(self.now);
                self.timers.start(owner, Timer::Hold, self.now + hold);
            }
            if unwritten > 0 {
                let send_hold = config.times.send_hold(connection.hold_time());
                self.timers.start(owner, Timer::SendHold, self.now + send_hold);
            }
            if let Some(left) = session.keepalive {
                self.timers.start(owner, Timer::Keepalive, self.now + left);
            }
            peer.connection = Some(connection);
            self.connections.insert(conn, address);
        }
        self.peers.insert(address, peer);
        let (print, inbox) = (session.print, session.inbox);
        Ok(Some(Going { address, conn, owed, print, inbox, survives }))
    }

    /// What is configured of a peer, with its range where it is not named; `asn` is where it was found.
    fn wanted(&self, address: IpAddr, asn: Option<Asn>) -> Option<(Option<Prefix>, PeerConfig)> {
        if let Some(named) = self.config.peers.get(&address) {
            return Some((None, named.clone()));
        }
        let (range, config) = self.config.within_range(address, asn?)?;
        Some((Some(range), config))
    }

    fn adopt_into_table(
        &mut self,
        address: IpAddr,
        table: TablePeerFrame,
        kind: Option<PeerKind>,
        config: &PeerConfig,
    ) -> Result<(), HandoverError> {
        let router_id = RouterId::from_u32(table.router_id).ok_or(HandoverError::Peer(address))?;
        let asn = Asn::new(table.asn);
        // By what was agreed on, as long as that is known.
        let by_config = || PeerConfig { asn, ..config.clone() }.kind(&self.config);
        let kind = kind.unwrap_or_else(by_config);
        let peer = bgp_rib::Peer {
            asn,
            interface: table.interface.map(IfIndex),
            ..self.routing.table_peer(address, router_id, kind, config)
        };
        self.routing.adopt(table.number, peer);
        Ok(())
    }

    /// Sources as they were; gives those that are no more wanted, which are there to be parted from.
    fn adopt_sources(
        &mut self,
        frames: Vec<SourceFrame>,
        mut wanted: Vec<SourceConfig>,
    ) -> Result<Vec<SourceId>, HandoverError> {
        let mut unwanted = Vec::new();
        for SourceFrame { id, number, asn, name } in frames {
            let id = SourceId(id);
            let config = match wanted.iter().position(|config| config.name == name) {
                Some(index) => wanted.swap_remove(index),
                None => {
                    unwanted.push(id);
                    SourceConfig { name, asn: Asn::new(asn), import: Policy::accept_all() }
                }
            };
            // Behind it there is to be room for more.
            if id.0 == u64::MAX || self.sources.contains_key(&id) {
                return Err(HandoverError::Source);
            }
            let peer = self.insert_source(id, config);
            self.routing.adopt_source(number, peer);
        }
        Ok(unwanted)
    }

    /// Peers know what they know; what differs by now they are told.
    fn rejoin(&mut self, going: &mut [Going]) -> Result<(), HandoverError> {
        let rib = &self.routing.rib;
        let mut prints = Prints::new(rib.config(), rib.peers().map(|(_, peer)| peer));
        for going in going.iter_mut().filter(|going| going.conn.is_some()) {
            let address = going.address;
            let peer = self.peers.get(&address).ok_or(HandoverError::Peer(address))?;
            let profile =
                profile(&self.config, address, peer).ok_or(HandoverError::Peer(address))?;
            let same = prints.of(&profile) == going.print;
            self.routing.rejoin(address, profile, std::mem::take(&mut going.owed), same);
            self.ready.insert(address);
        }
        self.routing.decide_all();
        Ok(())
    }

    /// Everything that another configuration, or a connection that is missing, has as its consequence;
    /// then peers without a session begin theirs.
    fn go_on(&mut self, going: Vec<Going>) {
        let now = self.now;
        let is_gone = |address: &IpAddr, peer: &Peer| {
            peer.range.is_none() && !self.config.peers.contains_key(address)
        };
        let all = self.peers.iter();
        let gone: Vec<_> =
            all.filter(|(peer, one)| is_gone(peer, one)).map(|(&peer, _)| peer).collect();
        for address in gone {
            self.remove_peer(address, Notification::new(NotificationCode::PeerDeconfigured));
        }
        let rests = |address: &IpAddr, peer: &Peer| {
            peer.state == State::Idle
                && !self.timers.is_running(Owner::Peer(*address), Timer::IdleHold)
        };
        let all = self.peers.iter();
        let resting: Vec<_> =
            all.filter(|(peer, one)| rests(peer, one)).map(|(&peer, _)| peer).collect();
        for Going { address, conn, inbox, survives, .. } in going {
            let Some(conn) = conn else {
                let cause = Cause::text("the connection was not handed over");
                self.step(address, Event::TcpConnectionFails, cause);
                continue;
            };
            if survives {
                self.enforce_limits(address);
                self.handle_bytes(conn, &inbox, now);
                continue;
            }
            let Some(peer) = self.peers.get(&address) else { continue };
            let (wanted, is_named) = (peer.config.clone(), peer.range.is_none());
            self.remove_peer(address, farewell_before(&wanted));
            if is_named {
                self.add_peer(address, wanted);
            }
        }
        for (address, config) in self.config.clone().peers.iter() {
            if !self.peers.contains_key(address) {
                self.add_peer(*address, config.clone());
            }
        }
        for address in resting {
            self.start_peer(address);
            self.note_departed(address);
        }
        self.tell_held_ranges(None);
    }
}

impl OpensFrame {
    fn agree(&self, address: IpAddr, config: &Config) -> Result<Agreed, HandoverError> {
        let wrong = || HandoverError::Open(address);
        let sent = open_of(&self.sent).ok_or_else(wrong)?;
        let received = open_of(&self.received).ok_or_else(wrong)?;
        open::agree(&sent, &received, received.asn, config).map_err(|_refused| wrong())
    }
}

fn open_of(octets: &[u8]) -> Option<Open> {
    let frame = first_frame(octets, EXTENDED_MESSAGE_LEN).ok()??;
    let before = SessionParameters::before_open(PeerKind::External);
    match Message::decode_body(frame.kind, frame.body, &before).ok()? {
        Message::Open(open) => Some(open),
        _ => None,
    }
}

/// Whether what decides about a running session is what we would say today; the rest waits for the
/// next OPEN, see [`PeerConfig::session_survives`].
fn says_the_same(sent: &Open, config: &Config, wanted: &PeerConfig) -> bool {
    let today = open::ours(config, wanted, Past { restarting: false, forwarding: true });
    let decides = |open: &Open| -> Vec<Capability> {
        let capabilities = open.capabilities.iter().filter(|capability| {
            matches!(
                capability,
                Capability::Multiprotocol(_)
                    | Capability::AddPath(_)
                    | Capability::ExtendedNextHop(_)
            )
        });
        capabilities.cloned().collect()
    };
    sent.asn == today.asn && sent.router_id == today.router_id && decides(sent) == decides(&today)
}
