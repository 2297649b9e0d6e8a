//! Octets from peers: cut into messages, read, and made into events.

use std::{net::IpAddr, time::Instant};

use bgp_wire::{Message, MessageType, Notification, NotificationCode, Open, PeerKind, first_frame};
use bytes::{Buf, Bytes};
use tracing::debug;
use viaduct_net::Readable;

use crate::{
    ConnId, Direction,
    collision::winner,
    drive::Cause,
    events::Happening,
    fsm::{Event, State},
    open::{self, Agreed},
    peer::{Connection, Slot},
    role,
    speaker::Speaker,
};

/// How long a session must have been up before a new connection of its peer can only mean that the
/// peer has restarted, and not that both have connected at the same time.
const RACE_TIME: std::time::Duration = std::time::Duration::from_secs(5);

impl Speaker {
    /// What a connection has received, in order and cut anywhere.
    pub fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        self.now = now;
        let Some((_, _, connection)) = self.connection(conn) else { return };
        if connection.inbox.is_empty() {
            let used = self.take_messages(conn, bytes);
            if let Some((_, _, connection)) = self.connection(conn) {
                connection.inbox.extend_from_slice(&bytes[used..]);
            }
            return;
        }
        connection.inbox.extend_from_slice(bytes);
        let mut inbox = std::mem::take(&mut connection.inbox);
        let used = self.take_messages(conn, &inbox);
        if let Some((_, _, connection)) = self.connection(conn) {
            inbox.advance(used);
            connection.inbox = inbox;
        }
    }

    /// Takes the whole messages at the front; gives how many octets they are.
    fn take_messages(&mut self, conn: ConnId, octets: &[u8]) -> usize {
        let mut used = 0;
        // A message can end its connection, or change which of two it is.
        while let Some((address, slot, connection)) = self.connection(conn) {
            let parameters = connection.parameters(PeerKind::External);
            let message = match first_frame(&octets[used..], parameters.receive_limit()) {
                Ok(None) => return used,
                Ok(Some(frame)) => {
                    let whole = &octets[used..used + frame.whole_len()];
                    used += whole.len();
                    if frame.kind == MessageType::Open {
                        connection.open_received = Bytes::copy_from_slice(whole);
                    }
                    self.note_received(address, conn, parameters, whole);
                    Message::decode_body(frame.kind, frame.body, &parameters)
                }
                Err(notification) => Err(notification),
            };
            match message {
                Ok(message) => self.receive(address, slot, message),
                Err(notification) => self.refuse(address, slot, notification),
            }
        }
        used
    }

    fn connection(&mut self, conn: ConnId) -> Option<(IpAddr, Slot, &mut Connection)> {
        let address = *self.connections.get(&conn)?;
        let peer = self.peers.get_mut(&address)?;
        let slot = peer.slot_of(conn)?;
        Some((address, slot, peer.slot(slot)?))
    }

    fn refuse(&mut self, address: IpAddr, slot: Slot, notification: Notification) {
        match slot {
            Slot::Main => self.step(address, Event::MessageError, Cause::send(notification)),
            Slot::Second => self.drop_second(address, Some(&notification)),
        }
    }

    fn receive(&mut self, address: IpAddr, slot: Slot, message: Message) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.counters.messages_received += 1;
        if let Message::Open(open) = &message
            && let Some(connection) = peer.slot(slot)
        {
            connection.received = Some(open.clone());
        }
        if let Message::Notification(notification) = &message {
            self.events.push(address, Happening::NotificationReceived(notification.clone()));
        }
        match (slot, message) {
            (Slot::Main, Message::Open(open)) => self.main_open(address, &open),
            (Slot::Main, Message::Keepalive) => {
                self.step(address, Event::KeepAliveMsg, Cause::none());
            }
            (Slot::Main, Message::Notification(notification)) => {
                self.step(address, Event::NotifMsg, Cause::received(notification));
            }
            (Slot::Main, message @ (Message::Update(_) | Message::RouteRefresh(_))) => {
                self.step(address, Event::UpdateMsg, Cause::message(message));
            }
            (Slot::Second, Message::Open(open)) => self.second_open(address, &open),
            (Slot::Second, Message::Notification(_)) => self.drop_second(address, None),
            (Slot::Second, Message::Keepalive | Message::Update(_) | Message::RouteRefresh(_)) => {
                let code = NotificationCode::UnexpectedMessageInOpenSent;
                self.drop_second(address, Some(&Notification::new(code)));
            }
        }
    }

    fn agree(&self, address: IpAddr, slot: Slot, open: &Open) -> Result<Agreed, Notification> {
        let peer = self.peers.get(&address);
        let connection = peer.and_then(|peer| match slot {
            Slot::Main => peer.connection.as_ref(),
            Slot::Second => peer.second.as_ref(),
        });
        match (peer, connection.and_then(|connection| connection.sent.as_ref())) {
            (Some(peer), Some(sent)) => {
                role::check(peer.config.role, open)?;
                let expected = self.expected_asn(address, open);
                let expected = expected.ok_or(Notification::new(NotificationCode::BadPeerAs))?;
                open::agree(sent, open, expected, &self.config)
            }
            (None, _) | (_, None) => {
                Err(Notification::new(NotificationCode::FiniteStateMachineError))
            }
        }
    }

    fn main_open(&mut self, address: IpAddr, open: &Open) {
        let Some(peer) = self.peers.get(&address) else { return };
        if peer.state != State::OpenSent {
            return self.step(address, Event::BgpOpen, Cause::none());
        }
        match self.agree(address, Slot::Main, open) {
            Ok(agreed) => {
                self.learn_asn(address, open.asn);
                self.open_accepted(address, agreed);
            }
            Err(notification) => self.refuse(address, Slot::Main, notification),
        }
    }

    fn open_accepted(&mut self, address: IpAddr, agreed: Agreed) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if let Some(connection) = &mut peer.connection {
            connection.agreed = Some(agreed);
        }
        self.step(address, Event::BgpOpen, Cause::none());
    }
}

/// Connections that collide (RFC 4271 §6.8).
impl Speaker {
    /// A connection beside one that is already in use.
    pub(crate) fn second_connected(&mut self, address: IpAddr, connection: Connection) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let pointless = match peer.state {
            // The peer has said OPEN on the other one: ours came too late.
            State::OpenConfirm | State::Established
                if connection.direction == Direction::Outgoing =>
            {
                true
            }
            // Only of a peer that may have restarted unseen is a second one worth a look.
            State::Established => {
                peer.agreed().is_none_or(|agreed| agreed.graceful_restart.is_none())
            }
            State::Idle | State::Connect | State::Active | State::OpenSent | State::OpenConfirm => {
                false
            }
        };
        if pointless {
            return self.close(connection.id);
        }
        // Of several the newest is the one most likely to be alive.
        if let Some(old) = peer.second.replace(connection) {
            self.close(old.id);
        }
        self.send_open(address, Slot::Second);
    }

    pub(crate) fn drop_second(&mut self, address: IpAddr, farewell: Option<&Notification>) {
        if let Some(notification) = farewell {
            self.send_notification(address, Slot::Second, notification);
        }
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if let Some(second) = peer.second.take() {
            self.close(second.id);
        }
    }

    /// The OPEN of a second connection decides which of the two goes on.
    fn second_open(&mut self, address: IpAddr, open: &Open) {
        let agreed = match self.agree(address, Slot::Second, open) {
            Ok(agreed) => agreed,
            Err(notification) => return self.drop_second(address, Some(&notification)),
        };
        let Some(peer) = self.peers.get(&address) else { return };
        let local = (self.config.router_id, peer.config.our_asn(&self.config));
        self.learn_asn(address, open.asn);
        let remote = (agreed.router_id, open.asn);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let (Some(main), Some(second)) = (&peer.connection, &peer.second) else { return };
        let up = self.now.saturating_duration_since(peer.since);
        let wins = second.direction == winner(local, remote) || second.direction == main.direction;
        let collision = Notification::new(NotificationCode::ConnectionCollisionResolution);
        debug!(peer = %Readable(address), state = peer.state.name(), wins, "collision");
        match peer.state {
            // The other has said nothing yet: this one is ahead.
            State::OpenSent => {
                std::mem::swap(&mut peer.connection, &mut peer.second);
                self.open_accepted(address, agreed);
            }
            // The peer has restarted and we have not seen it go: its routes are kept, and the
            // old connection ends without a word (RFC 4724 §4.2).
            State::Established if up >= RACE_TIME => {
                let text = "the peer has opened a new connection";
                self.take_over(address, Event::TcpConnectionFails, Cause::text(text), agreed);
            }
            State::OpenConfirm | State::Established if wins => {
                self.take_over(address, Event::OpenCollisionDump, Cause::send(collision), agreed);
            }
            State::Idle
            | State::Connect
            | State::Active
            | State::OpenConfirm
            | State::Established => self.drop_second(address, Some(&collision)),
        }
    }

    /// Ends the main connection by `event` and goes on with the second, whose OPEN is known.
    fn take_over(&mut self, address: IpAddr, event: Event, cause: Cause, agreed: Agreed) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let second = peer.second.take();
        self.step(address, event, cause);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.connection = second;
        self.enter_open_sent(address);
        self.open_accepted(address, agreed);
    }
}
