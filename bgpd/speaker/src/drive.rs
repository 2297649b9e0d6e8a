//! Drives the state machines: events in, effects done.

use std::{net::IpAddr, time::Duration};

use bgp_wire::{Message, Notification, NotificationCode};
use bytes::{Bytes, BytesMut};
use tracing::{debug, error};
use viaduct_net::Readable;

use crate::{
    Action, ConnId,
    config::PeerConfig,
    events::Happening,
    fsm::{self, Effect, Event, State},
    open::{self, Past},
    peer::{Peer, Slot},
    speaker::{OPEN_HOLD_TIME, Speaker},
    timer::{Owner, Timer},
};

/// IdleHoldTime after a loss without error: next to nothing, so that a restart is found at once.
/// Where the session was too short to be a good one it is the first IdleHoldTime, but does not grow: a peer
/// that dies again and again is still wanted back within its restart time.
const RECONNECT_TIME: Duration = Duration::from_millis(100);
/// A session that has lasted so long was a good one.
const STEADY_TIME: Duration = Duration::from_secs(5);

/// What an event brings with it.
#[derive(Debug, Default)]
pub(crate) struct Cause {
    /// To be sent, or what has been received.
    pub(crate) notification: Option<Notification>,
    /// The message that is the event.
    pub(crate) message: Option<Message>,
    /// Why, for the operator.
    pub(crate) text: Option<String>,
}

impl Cause {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn text(text: &str) -> Self {
        Self { text: Some(text.to_owned()), ..Self::default() }
    }

    pub(crate) fn send(notification: Notification) -> Self {
        let text = Some(format!("sent: {notification}"));
        Self { notification: Some(notification), message: None, text }
    }

    pub(crate) fn received(notification: Notification) -> Self {
        let text = Some(format!("received: {notification}"));
        Self { notification: Some(notification), message: None, text }
    }

    pub(crate) fn message(message: Message) -> Self {
        Self { message: Some(message), ..Self::default() }
    }
}

impl Speaker {
    pub(crate) fn add_peer(&mut self, address: IpAddr, config: PeerConfig) {
        self.bfd_changed |= config.bfd.is_some();
        let mut peer = Peer::new(config, self.now);
        if peer.config.shutdown {
            let words = peer.config.shutdown_message.as_deref().unwrap_or_default();
            peer.last_error = Some(format!("shut down by configuration: {words:?}"));
        }
        self.peers.insert(address, peer);
        self.start_peer(address);
    }

    pub(crate) fn start_peer(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if self.stopped || peer.config.shutdown {
            return;
        }
        if let Some(obstacle) = peer.config.obstacle.clone() {
            let known = peer.last_error.replace(obstacle.to_string());
            if known.as_deref() != Some(&*obstacle) {
                error!(peer = %Readable(address), %obstacle, "held down");
                self.events.push(address, Happening::HeldDown { range: None, obstacle });
            }
            return;
        }
        let event = if peer.config.passive { Event::StartPassive } else { Event::Start };
        self.step(address, event, Cause::none());
    }

    /// Ends what there is with a peer; `farewell` tells it, silence lets it keep our routes.
    pub(crate) fn stop_peer(&mut self, address: IpAddr, farewell: Option<Notification>) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let Some(farewell) = farewell else {
            // Both connections end as they would if we had died.
            let ids = [peer.second.take(), peer.connection.take()];
            for connection in ids.into_iter().flatten() {
                self.close(connection.id);
            }
            return;
        };
        let farewell = self.final_words(address, farewell);
        self.step(address, Event::Stop, Cause::send(farewell));
    }

    /// Where routes outlive a NOTIFICATION only a hard reset ends them (RFC 8538 §3).
    pub(crate) fn final_words(&self, address: IpAddr, farewell: Notification) -> Notification {
        let agreed = self.peers.get(&address).and_then(Peer::agreed);
        let outlive = agreed.is_some_and(|agreed| agreed.notification);
        if outlive { farewell.into_hard_reset() } else { farewell }
    }

    pub(crate) fn remove_peer(&mut self, address: IpAddr, farewell: Notification) {
        self.stop_peer(address, Some(farewell));
        self.timers.stop_all(Owner::Peer(address));
        let removed = self.peers.remove(&address);
        self.bfd_changed |= removed.is_some_and(|peer| peer.config.bfd.is_some());
        self.losses.remove(&address);
        self.ready.remove(&address);
        self.routing.remove_peer(address);
    }

    /// A running session takes over what it can; [`PeerConfig::session_survives`] has been asked.
    pub(crate) fn change_peer(&mut self, address: IpAddr, wanted: PeerConfig) {
        let Some(peer) = self.peers.get(&address) else { return };
        if peer.config == wanted {
            return;
        }
        self.events.push(address, Happening::PeerChanged(peer.config.changes(&wanted)));
        self.routing.set_import_policy(address, &wanted.import);
        self.routing.set_reflector_client(address, wanted.reflector_client);
        self.routing.set_limits(address, &wanted.prefix_limits);
        self.routing.set_ingress(address, wanted.ingress(wanted.kind(&self.config)));
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let old = std::mem::replace(&mut peer.config, wanted);
        let watched = (peer.config.bfd, peer.config.is_held_down(), &peer.config.link);
        if (old.bfd, old.is_held_down(), &old.link) != watched {
            self.bfd_changed = true;
        }
        if peer.config.bfd.map(|bfd| bfd.path) != old.bfd.map(|bfd| bfd.path) {
            // It was another session that has lost it.
            self.losses.remove(&address);
        }
        let (state, passive) = (peer.state, peer.config.passive);
        let limits = peer.config.prefix_limits;
        if old.prefix_limits != limits && state == State::Established {
            self.enforce_limits(address);
        } else if old.passive != passive && matches!(state, State::Connect | State::Active) {
            self.step(address, Event::Stop, Cause::none());
            self.start_peer(address);
        } else {
            self.let_up(address);
        }
    }

    /// Whether it is the peer that connects, and never we.
    pub(crate) fn waits_for(&self, address: IpAddr) -> bool {
        self.peers.get(&address).is_some_and(|peer| peer.config.passive)
    }

    /// One event of the main connection's machine.
    pub(crate) fn step(&mut self, address: IpAddr, event: Event, cause: Cause) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let before = peer.state;
        let since = peer.since;
        let connect_retry = peer.config.times.connect_retry;
        let (next, effects) = fsm::step(before, event);
        self.note_state(address, before, next);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if next != before {
            debug!(peer = %Readable(address), ?event, from = before.name(), to = next.name());
            peer.state = next;
            peer.since = self.now;
        }
        if let Some(text) = &cause.text {
            peer.attempt_failed = before == State::Connect && cause.notification.is_none();
            let known = peer.last_error.replace(text.clone()).is_some_and(|known| known == *text);
            if !known && before != State::Established && cause.notification.is_none() {
                self.events.push(address, Happening::AttemptFailed(text.clone()));
            }
        }
        let lasted = match before {
            State::Established => self.now.saturating_duration_since(since),
            _ => Duration::ZERO,
        };
        let innocent = is_innocent(before, event, cause.notification.as_ref());
        let mut message = cause.message;
        for &effect in effects {
            match effect {
                Effect::StartConnectRetryTimer => {
                    let at = self.now + self.rng.jitter(connect_retry);
                    self.timers.start(Owner::Peer(address), Timer::ConnectRetry, at);
                }
                Effect::StopConnectRetryTimer => {
                    self.timers.stop(Owner::Peer(address), Timer::ConnectRetry);
                }
                Effect::Connect => self.connect(address),
                Effect::Drop => self.drop_main(address, before),
                Effect::SendOpen => self.send_open(address, Slot::Main),
                Effect::SendKeepalive => self.send_keepalive(address),
                Effect::SendNotification => {
                    if let Some(notification) = &cause.notification {
                        self.send_notification(address, Slot::Main, notification);
                    }
                }
                Effect::SendFsmError => self.send_fsm_error(address, before),
                Effect::StartSessionTimers => {
                    self.restart_hold_timer(address);
                    self.restart_keepalive_timer(address);
                }
                Effect::RestartHoldTimer => self.restart_hold_timer(address),
                Effect::RestartKeepaliveTimer => self.restart_keepalive_timer(address),
                Effect::Hold => self.hold(address, innocent, lasted),
                Effect::Rest => self.rest(address),
                Effect::SessionUp => self.session_up(address),
                Effect::SessionDown => {
                    self.session_down(address, event, cause.notification.as_ref());
                }
                Effect::ReceiveUpdate => match message.take() {
                    Some(Message::Update(update)) => self.receive_update(address, &update),
                    Some(Message::RouteRefresh(refresh)) => self.receive_refresh(address, refresh),
                    Some(Message::Open(_) | Message::Notification(_) | Message::Keepalive)
                    | None => {}
                },
            }
        }
        self.promote_second(address);
        self.note_departed(address);
    }
}

impl Speaker {
    fn connect(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.connecting = true;
        let local = peer.config.local_address(&self.config, address);
        let (port, transport) = (peer.config.port, peer.config.transport.clone());
        self.actions.push_back(Action::Connect { peer: address, port, local, transport });
    }

    fn drop_main(&mut self, address: IpAddr, before: State) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if let Some(connection) = peer.connection.take() {
            self.close(connection.id);
        } else if before == State::Connect {
            self.cancel_connect(address);
        }
    }

    fn cancel_connect(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if std::mem::take(&mut peer.connecting) {
            self.actions.push_back(Action::CancelConnect { peer: address });
        }
    }

    /// Forgets a connection, and has it closed unless that is how it was lost.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.timers.stop_all(Owner::Connection(conn));
        if self.connections.remove(&conn).is_some() {
            self.actions.push_back(Action::Close { conn });
        }
    }

    /// IdleHoldTimer: short after an innocent loss, else longer each time. `lasted` is how long the
    /// session was Established.
    fn hold(&mut self, address: IpAddr, innocent: bool, lasted: Duration) {
        self.timers.stop(Owner::Peer(address), Timer::ConnectRetry);
        self.cancel_connect(address);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let times = peer.config.times;
        if innocent || lasted >= STEADY_TIME {
            peer.failures = 0;
        }
        let full = if innocent {
            if lasted >= STEADY_TIME { RECONNECT_TIME } else { times.idle_hold(1) }
        } else {
            peer.failures = peer.failures.saturating_add(1);
            times.idle_hold(peer.failures)
        };
        let at = self.now + self.rng.jitter(full);
        self.timers.start(Owner::Peer(address), Timer::IdleHold, at);
    }

    fn rest(&mut self, address: IpAddr) {
        for timer in [Timer::ConnectRetry, Timer::IdleHold] {
            self.timers.stop(Owner::Peer(address), timer);
        }
        self.cancel_connect(address);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.failures = 0;
        if let Some(second) = peer.second.take() {
            self.close(second.id);
        }
    }

    /// Where the main connection has gone, one that collided with it takes its place.
    fn promote_second(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let free = matches!(peer.state, State::Idle | State::Connect | State::Active);
        if !free || peer.connection.is_some() {
            return;
        }
        let Some(second) = peer.second.take() else { return };
        peer.connection = Some(second);
        self.enter_open_sent(address);
    }

    /// The state of a main connection that began as a second one.
    pub(crate) fn enter_open_sent(&mut self, address: IpAddr) {
        for timer in [Timer::ConnectRetry, Timer::IdleHold] {
            self.timers.stop(Owner::Peer(address), timer);
        }
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let before = std::mem::replace(&mut peer.state, State::OpenSent);
        peer.since = self.now;
        self.note_state(address, before, State::OpenSent);
    }

    pub(crate) fn expire_on_connection(&mut self, address: IpAddr, conn: ConnId, timer: Timer) {
        let Some(slot) = self.peers.get(&address).and_then(|peer| peer.slot_of(conn)) else {
            return;
        };
        if slot == Slot::Second {
            // The only timer it has is the one for its OPEN.
            let expired = Notification::new(NotificationCode::HoldTimerExpired);
            return self.drop_second(address, Some(&expired));
        }
        match timer {
            Timer::Hold if self.was_heard(address) => {}
            Timer::Hold => {
                let expired = Notification::new(NotificationCode::HoldTimerExpired);
                self.step(address, Event::HoldTimerExpires, Cause::send(expired));
            }
            Timer::Keepalive => self.step(address, Event::KeepaliveTimerExpires, Cause::none()),
            Timer::SendHold => {
                let text = "the peer does not read: send hold timer expired (RFC 9687)";
                self.step(address, Event::SendHoldTimerExpires, Cause::text(text));
            }
            Timer::Advertisement => drop(self.ready.insert(address)),
            Timer::ConnectRetry
            | Timer::IdleHold
            | Timer::Restart
            | Timer::Stale
            | Timer::LongLived(_)
            | Timer::Coalesce
            | Timer::SelectionDeferral => {}
        }
    }

    pub(crate) fn send_open(&mut self, address: IpAddr, slot: Slot) {
        let restarting = self.startup.is_restarting();
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let past = Past { restarting, forwarding: restarting || peer.had_session };
        let open = open::ours(&self.config, &peer.config, past);
        let mut bytes = BytesMut::new();
        open.encode(&mut bytes);
        let Some(connection) = peer.slot(slot) else { return };
        connection.sent = Some(open);
        let owner = Owner::Connection(connection.id);
        self.timers.start(owner, Timer::Hold, self.now + OPEN_HOLD_TIME);
        self.send(address, slot, bytes);
    }

    fn send_keepalive(&mut self, address: IpAddr) {
        let mut bytes = BytesMut::new();
        Message::encode_keepalive(&mut bytes);
        self.send(address, Slot::Main, bytes);
    }

    pub(crate) fn send_notification(
        &mut self,
        address: IpAddr,
        slot: Slot,
        notification: &Notification,
    ) {
        self.events.push(address, Happening::NotificationSent(notification.clone()));
        let mut bytes = BytesMut::new();
        notification.encode(&mut bytes);
        self.send(address, slot, bytes);
    }

    fn send_fsm_error(&mut self, address: IpAddr, state: State) {
        let code = match state {
            State::OpenSent => NotificationCode::UnexpectedMessageInOpenSent,
            State::OpenConfirm => NotificationCode::UnexpectedMessageInOpenConfirm,
            State::Established => NotificationCode::UnexpectedMessageInEstablished,
            State::Idle | State::Connect | State::Active => {
                NotificationCode::FiniteStateMachineError
            }
        };
        let notification = Notification::new(code);
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.last_error = Some(format!("sent: {notification}"));
        }
        self.send_notification(address, Slot::Main, &notification);
    }

    /// Hands octets to a connection; SendHoldTimer watches while TCP does not take them.
    pub(crate) fn send(&mut self, address: IpAddr, slot: Slot, bytes: BytesMut) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.counters.messages_sent += 1;
        }
        self.send_bytes(address, slot, bytes.freeze());
    }

    /// The same for messages that have been counted.
    pub(crate) fn send_bytes(&mut self, address: IpAddr, slot: Slot, bytes: Bytes) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let times = peer.config.times;
        let Some(connection) = peer.slot(slot) else { return };
        let conn = connection.id;
        // Not known any more: this is the farewell to a connection that is already gone.
        if !self.connections.contains_key(&conn) {
            return;
        }
        if connection.unwritten == 0 {
            let at = self.now + times.send_hold(connection.hold_time());
            self.timers.start(Owner::Connection(conn), Timer::SendHold, at);
        }
        connection.unwritten += bytes.len();
        self.actions.push_back(Action::Send { conn, bytes });
    }

    /// Every message of a session does this, so the timer itself is moved only when it expires.
    fn restart_hold_timer(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let Some(connection) = &mut peer.connection else { return };
        let runs = connection.heard.replace(self.now).is_some();
        let owner = Owner::Connection(connection.id);
        match connection.hold_time() {
            Some(_) if runs => {}
            Some(hold) => self.timers.start(owner, Timer::Hold, self.now + hold),
            None => self.timers.stop(owner, Timer::Hold),
        }
    }

    /// Whether the peer has said something within its hold time; then the timer goes on from there.
    fn was_heard(&mut self, address: IpAddr) -> bool {
        let connection = self.peers.get(&address).and_then(|peer| peer.connection.as_ref());
        let Some(connection) = connection else { return false };
        let expires = connection.heard.zip(connection.hold_time()).map(|(at, hold)| at + hold);
        let Some(expires) = expires.filter(|expires| *expires > self.now) else { return false };
        self.timers.start(Owner::Connection(connection.id), Timer::Hold, expires);
        true
    }

    /// Jittered (RFC 4271 §10).
    fn restart_keepalive_timer(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get(&address) else { return };
        let Some(connection) = &peer.connection else { return };
        let Some(time) = peer.config.times.keepalive(connection.hold_time()) else { return };
        let at = self.now + self.rng.jitter(time);
        self.timers.start(Owner::Connection(connection.id), Timer::Keepalive, at);
    }
}

/// Whether a session ended by what happens to good neighbours too, such as a restart or a cable.
fn is_innocent(before: State, event: Event, notification: Option<&Notification>) -> bool {
    let collision =
        notification.is_some_and(|one| one.code == NotificationCode::ConnectionCollisionResolution);
    let lost =
        matches!(event, Event::TcpConnectionFails | Event::HoldTimerExpires | Event::BfdDown);
    collision || before == State::Established && lost
}
