//! What a speaker writes down of itself.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use bgp_wire::Open;
use bytes::BytesMut;
use viaduct_net::Family;

use super::{
    frame::{
        CountersFrame, Frame, OpensFrame, PeerFrame, SessionFrame, SourceFrame, TablePeerFrame,
        write, write_first,
    },
    print::{Prints, manner},
};
use crate::{
    ConnId, Direction,
    announce::profile,
    bfd::Loss,
    drive::Cause,
    fsm::Event,
    open::Agreed,
    peer::{Counters, Peer},
    speaker::Speaker,
    timer::{Owner, Timer},
};

/// Paths named in one frame.
const MISSED_IN_FRAME: usize = 4096;

impl Speaker {
    /// Whether [`Self::can_hand_over`] is to be asked again: later it may be otherwise.
    pub fn is_starting(&self) -> bool {
        !self.startup.is_complete()
    }

    /// Whether there is anything to be handed over: a speaker that is starting, or has ended, has not.
    pub const fn can_hand_over(&self) -> bool {
        !self.stopped && self.startup.is_complete()
    }

    /// Says on every session that we are here: what follows may take a while.
    pub fn handle_pause(&mut self, now: Instant) {
        self.now = now;
        let established = self.peers.iter().filter(|(_, peer)| {
            let hold = peer.connection.as_ref().and_then(|one| one.hold_time());
            peer.is_established() && hold.is_some()
        });
        let addresses: Vec<_> = established.map(|(&address, _)| address).collect();
        for address in addresses {
            self.step(address, Event::KeepaliveTimerExpires, Cause::none());
        }
    }

    /// It has stood still, and nothing was read: what peers have said meanwhile waits, so silence counts
    /// from here.
    pub fn handle_resume(&mut self, now: Instant) {
        self.now = now;
        for peer in self.peers.values_mut().filter(|peer| peer.is_established()) {
            let Some(connection) = &mut peer.connection else { continue };
            let Some(hold) = connection.hold_time() else { continue };
            connection.heard = Some(now);
            self.timers.start(Owner::Connection(connection.id), Timer::Hold, now + hold);
        }
    }

    /// The connections that go with their sessions, with the time after which the peer takes silence for
    /// the end.
    pub fn handed_over(&self) -> impl Iterator<Item = (IpAddr, ConnId, Option<Duration>)> {
        let established = self.peers.iter().filter(|(_, peer)| peer.is_established());
        established.filter_map(|(&peer, one)| {
            let connection = one.connection.as_ref()?;
            Some((peer, connection.id, connection.hold_time()))
        })
    }

    /// Writes down everything, in frames of up to [`super::MAX_FRAME_BYTES`]. It goes on as if nothing
    /// had happened, should nobody take it; but no input may come before that is known, and no action
    /// may be left.
    pub fn hand_over(&mut self, now: Instant, give: &mut impl FnMut(Vec<u8>)) {
        self.now = now;
        self.settle();
        give(write_first(&Frame::Begin));
        let rib = &self.routing.rib;
        let mut prints = Prints::new(rib.config(), rib.peers().map(|(_, peer)| peer));
        for (&address, peer) in &self.peers {
            let frame = self.peer_frame(address, peer, &mut prints);
            let has_session = frame.session.is_some();
            give(write(&Frame::Peer(Box::new(frame))));
            if let Some(&Loss { control_plane_independent }) = self.losses.get(&address) {
                give(write(&Frame::Lost { control_plane_independent }));
            }
            if self.cut_off.contains(&address) {
                give(write(&Frame::CutOff));
            }
            let Some(owed) = self.routing.owed(address).filter(|_| has_session) else { continue };
            for (octets, count) in owed.messages {
                give(write(&Frame::Messages { octets: octets.to_vec(), count }));
            }
            for missed in owed.missed.chunks(MISSED_IN_FRAME) {
                let missed = missed.iter().map(|nlri| (*nlri).into()).collect();
                give(write(&Frame::Missed(missed)));
            }
        }
        for (id, source) in &self.sources {
            let Some(peer) = self.routing.rib.peer(source.peer) else { continue };
            let (number, asn) = (source.peer.number(), peer.asn.to_u32());
            let frame = SourceFrame { id: id.0, number, asn, name: source.name.clone() };
            give(write(&Frame::Source(frame)));
        }
        self.routing.rib.hand_over(&mut |piece| give(write(&Frame::Table(piece))));
        give(write(&Frame::End));
    }

    fn peer_frame(&self, address: IpAddr, peer: &Peer, prints: &mut Prints) -> PeerFrame {
        let left = |timer| self.left(Owner::Peer(address), timer);
        PeerFrame {
            address,
            table: self.table_peer(address),
            session: self.session_frame(address, peer, prints),
            since: self.now.saturating_duration_since(peer.since),
            failures: peer.failures,
            last_error: peer.last_error.clone(),
            counters: (&peer.counters).into(),
            had_session: peer.had_session,
            stale: peer.stale.into(),
            long_lived: peer.long_lived.into(),
            last_opens: peer.last_agreed.as_ref().map(OpensFrame::from),
            restart: left(Timer::Restart),
            stale_left: left(Timer::Stale),
            long_lived_left: Family::ALL.map(|family| left(Timer::LongLived(family))),
            near_limit: peer.near_limit.into(),
            over_limit: peer.over_limit.into(),
        }
    }

    fn table_peer(&self, address: IpAddr) -> Option<TablePeerFrame> {
        let id = self.routing.id(address)?;
        let peer = self.routing.rib.peer(id)?;
        Some(TablePeerFrame {
            number: id.number(),
            asn: peer.asn.to_u32(),
            router_id: peer.router_id.to_u32(),
            interface: peer.interface.map(|interface| interface.0),
        })
    }

    fn session_frame(
        &self,
        address: IpAddr,
        peer: &Peer,
        prints: &mut Prints,
    ) -> Option<SessionFrame> {
        let connection = peer.connection.as_ref().filter(|_| peer.is_established())?;
        let agreed = connection.agreed.as_ref()?;
        let owed = self.routing.owed(address)?;
        Some(SessionFrame {
            outgoing: connection.direction == Direction::Outgoing,
            opens: agreed.into(),
            transport: (&peer.config.transport).into(),
            manner: manner(&self.config, &peer.config),
            inbox: connection.inbox.to_vec(),
            keepalive: self.left(Owner::Connection(connection.id), Timer::Keepalive),
            end_of_rib: peer.end_of_rib.into(),
            print: prints.of(&profile(&self.config, address, peer)?),
            dump: owed.dump.into(),
            dump_demarcated: owed.dump_demarcated.into(),
            end_of_rib_owed: owed.end_of_rib.into(),
            refresh: owed.refresh.into(),
            demarcated: owed.demarcated.into(),
        })
    }

    fn left(&self, owner: Owner, timer: Timer) -> Option<Duration> {
        let at = self.timers.deadline(owner, timer)?;
        Some(at.saturating_duration_since(self.now))
    }
}

impl From<&Agreed> for OpensFrame {
    fn from(agreed: &Agreed) -> Self {
        Self { sent: message(&agreed.sent), received: message(&agreed.received) }
    }
}

fn message(open: &Open) -> Vec<u8> {
    let mut octets = BytesMut::new();
    open.encode(&mut octets);
    octets.to_vec()
}

impl From<&Counters> for CountersFrame {
    fn from(counters: &Counters) -> Self {
        let Counters {
            messages_received,
            messages_sent,
            updates_received,
            updates_sent,
            flaps,
            limit_warnings,
        } = *counters;
        Self {
            messages_received,
            messages_sent,
            updates_received,
            updates_sent,
            flaps,
            limit_warnings,
        }
    }
}

impl From<CountersFrame> for Counters {
    fn from(counters: CountersFrame) -> Self {
        let CountersFrame {
            messages_received,
            messages_sent,
            updates_received,
            updates_sent,
            flaps,
            limit_warnings,
        } = counters;
        Self {
            messages_received,
            messages_sent,
            updates_received,
            updates_sent,
            flaps,
            limit_warnings,
        }
    }
}
