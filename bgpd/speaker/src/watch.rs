//! What is told to those who watch a speaker: recorders and the like. It costs nothing while nobody
//! does.

use std::{net::IpAddr, time::Instant};

use bgp_rib::{Changes, Rib, out::AdjRibOutCounts};
use bgp_wire::{Notification, SessionParameters};
use bytes::{Bytes, BytesMut};
use viaduct_net::{Asn, RouterId};

use crate::{ConnId, State, fsm::Event, speaker::Speaker};

/// What is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// States of peers, and sessions that come and go.
    pub sessions: bool,
    /// Messages that peers send.
    pub received: bool,
    /// UPDATEs that peers are sent.
    pub sent: bool,
    /// The table.
    pub changes: bool,
}

impl Watch {
    /// Whether it is nothing.
    pub fn is_idle(self) -> bool {
        self == Self::default()
    }
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A peer's machine has gone from one state to another.
    State {
        peer: IpAddr,
        old: State,
        new: State,
    },
    /// See [`Speaker::session`].
    Up {
        peer: IpAddr,
    },
    Down {
        peer: IpAddr,
        end: SessionEnd,
    },
    /// A whole message. `parameters` are those under which it was read.
    Received {
        peer: IpAddr,
        conn: ConnId,
        parameters: SessionParameters,
        message: Bytes,
    },
    /// Whole UPDATEs. TCP has yet to take them.
    Sent {
        peer: IpAddr,
        messages: Bytes,
    },
    /// What is in [`Speaker::rib`] now is otherwise than it was.
    Changes(Changes),
}

/// How a session was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// We have sent this NOTIFICATION, with its header.
    Sent(Bytes),
    /// The peer has.
    Received(Bytes),
    /// We have ended it without a word, by this event of RFC 4271 §8.1; zero is none of those.
    Event(u16),
    /// The connection is gone.
    Lost,
}

/// A session that is established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    pub conn: ConnId,
    pub asn: Asn,
    pub router_id: RouterId,
    pub parameters: SessionParameters,
    pub since: Instant,
    /// Both OPENs as they were sent.
    pub open_sent: Bytes,
    pub open_received: Bytes,
}

impl Speaker {
    /// What [`Speaker::poll_observed`] tells from now on. What it tells must then be taken after every
    /// input, as all that the speaker has to say.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = watch;
        self.routing.rib.watch(watch.changes);
        if watch.is_idle() {
            self.observed.clear();
        }
    }

    /// The next thing that has happened. What the table says is told last, once it is decided; until
    /// then there may be nothing of it.
    pub fn poll_observed(&mut self) -> Option<Observed> {
        if self.watch.is_idle() {
            return None;
        }
        self.settle_in_time();
        self.observed.pop_front().or_else(|| {
            let changes = self.routing.rib.take_changes();
            (!changes.is_empty()).then_some(Observed::Changes(changes))
        })
    }

    /// Decides what waits for more of its kind: for whoever is to look at the table. Gives whether
    /// anything did, and so may have to be told first.
    pub fn decide(&mut self, now: Instant) -> bool {
        let waits = self.coalesces_until().is_some();
        if waits {
            self.now = now;
            self.settle();
        }
        waits
    }

    /// The table with all decided that can be.
    pub fn settled_rib(&mut self) -> &Rib {
        self.settle();
        &self.routing.rib
    }

    /// How much of the table a peer is told, and would be told without its policy.
    pub fn adj_rib_out_counts(&self, address: IpAddr) -> AdjRibOutCounts {
        self.routing.adj_rib_out_counts(address)
    }

    /// The peers with whom there is a session.
    pub fn established(&self) -> impl Iterator<Item = IpAddr> {
        let established = self.peers.iter().filter(|(_, peer)| peer.is_established());
        established.map(|(&address, _)| address)
    }

    pub fn session(&self, address: IpAddr) -> Option<SessionView> {
        let peer = self.peers.get(&address).filter(|peer| peer.is_established())?;
        let connection = peer.connection.as_ref()?;
        let (agreed, sent) = (connection.agreed.as_ref()?, connection.sent.as_ref()?);
        let mut open_sent = BytesMut::new();
        sent.encode(&mut open_sent);
        Some(SessionView {
            conn: connection.id,
            asn: peer.config.asn,
            router_id: agreed.router_id,
            parameters: agreed.parameters,
            since: peer.since,
            open_sent: open_sent.freeze(),
            open_received: connection.open_received.clone(),
        })
    }

    /// What a peer would be told of the next `count` places of the table, in whole UPDATEs, and where
    /// to go on.
    pub fn told_from(
        &mut self,
        address: IpAddr,
        from: u32,
        count: usize,
    ) -> (Vec<Bytes>, Option<u32>) {
        self.settle();
        self.routing.told_from(address, from, count)
    }

    pub(crate) fn note_state(&mut self, peer: IpAddr, old: State, new: State) {
        if self.watch.sessions && old != new {
            self.observed.push_back(Observed::State { peer, old, new });
        }
    }

    pub(crate) fn note_up(&mut self, peer: IpAddr) {
        if self.watch.sessions {
            self.observed.push_back(Observed::Up { peer });
        }
    }

    pub(crate) fn note_down(
        &mut self,
        peer: IpAddr,
        event: Event,
        notification: Option<&Notification>,
    ) {
        if self.watch.sessions {
            let end = session_end(event, notification);
            self.observed.push_back(Observed::Down { peer, end });
        }
    }

    pub(crate) fn note_sent(&mut self, peer: IpAddr, messages: &Bytes) {
        if self.watch.sent {
            self.observed.push_back(Observed::Sent { peer, messages: messages.clone() });
        }
    }

    pub(crate) fn note_received(
        &mut self,
        peer: IpAddr,
        conn: ConnId,
        parameters: SessionParameters,
        message: &[u8],
    ) {
        if self.watch.received {
            let message = Bytes::copy_from_slice(message);
            self.observed.push_back(Observed::Received { peer, conn, parameters, message });
        }
    }
}

fn session_end(event: Event, notification: Option<&Notification>) -> SessionEnd {
    let number = match event {
        Event::TcpConnectionFails => return SessionEnd::Lost,
        Event::SendHoldTimerExpires => 29,
        Event::Stop | Event::BfdDown => 8,
        _ => 0,
    };
    let Some(notification) = notification else { return SessionEnd::Event(number) };
    let mut octets = BytesMut::new();
    notification.encode(&mut octets);
    let octets = octets.freeze();
    if event == Event::NotifMsg { SessionEnd::Received(octets) } else { SessionEnd::Sent(octets) }
}
