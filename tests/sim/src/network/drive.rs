//! Processes: their timers, what they want done, and what it leads to.

use std::{net::IpAddr, time::Duration};

use bgp_speaker::{Action, ConnId, Connected, Direction, MAX_UNWRITTEN_BYTES};

use super::{Event, Network};
use crate::{
    NodeId,
    address::{address_v4, address_v6, node_of},
    connection::{End, Packet},
};

/// A process that has something to do gets the processor within this time.
const MAX_WAKE: Duration = Duration::from_micros(200);

impl Network {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Attempt { node, life, to, attempt } => {
                if self.nodes[node].life == life {
                    self.attempt(node, to, attempt);
                }
            }
            Event::Arrive { conn, packet } => self.arrive(conn, packet),
            Event::Read { conn } => self.read(conn),
            Event::Written { conn, count } => self.written(conn, count),
            Event::Reset { conn } => self.lose(conn, "reset"),
            Event::Poll { node, life } => {
                if self.nodes[node].life == life {
                    self.nodes[node].poll_is_due = false;
                    self.poll(node);
                }
            }
            Event::Timer { node, life } => {
                if self.nodes[node].life == life && self.nodes[node].wakes_at == Some(self.now) {
                    self.nodes[node].wakes_at = None;
                    self.expire(node);
                }
            }
        }
    }

    /// The process of a node will look at what is to be done.
    pub(super) fn wake(&mut self, node: NodeId) {
        let place = &mut self.nodes[node];
        if !std::mem::replace(&mut place.poll_is_due, true) {
            let life = place.life;
            let delay = self.dice.duration(MAX_WAKE);
            self.after(delay, Event::Poll { node, life });
        }
    }

    fn expire(&mut self, node: NodeId) {
        let now = self.instant();
        if let Some(speaker) = &mut self.nodes[node].speaker {
            self.trace.note(self.now, node, "timer", &[]);
            speaker.handle_timeout(now);
            self.wake(node);
        }
    }

    /// Does all that the process wants done.
    pub(super) fn poll(&mut self, node: NodeId) {
        while let Some(action) = self.nodes[node].speaker.as_mut().and_then(|one| one.poll_action())
        {
            self.act(node, action);
        }
        let place = &mut self.nodes[node];
        let Some(mut speaker) = place.speaker.take() else { return };
        while let Some(event) = speaker.poll_fib() {
            place.install(event);
        }
        let at = speaker.poll_timeout().map(|deadline| deadline.at.duration_since(self.epoch));
        place.speaker = Some(speaker);
        let life = place.life;
        let at = at.map(|at| at.max(self.now));
        if place.wakes_at != at {
            place.wakes_at = at;
            if let Some(at) = at {
                self.after(at - self.now, Event::Timer { node, life });
            }
        }
    }

    fn act(&mut self, node: NodeId, action: Action) {
        match action {
            Action::Connect { peer, .. } => {
                self.trace.note(self.now, node, "connect", &[]);
                let (attempt, life) = (self.number(), self.nodes[node].life);
                self.nodes[node].attempts.insert(peer, attempt);
                let link = self.link(node, node_of(peer));
                if !link.cut {
                    let delay = link.delay * 2 + self.dice.duration(link.jitter);
                    self.after(delay, Event::Attempt { node, life, to: peer, attempt });
                }
            }
            Action::CancelConnect { peer } => {
                self.nodes[node].attempts.remove(&peer);
            }
            Action::Send { conn, bytes } => {
                self.trace.note(self.now, node, "send", &bytes);
                // Reset, and the process has not heard of it yet.
                let Some(end) = self.ends.get_mut(&conn.0) else { return };
                end.unwritten.push_back(Packet::Octets(bytes));
                let waiting: usize = end.unwritten.iter().map(Packet::len).sum();
                assert!(waiting <= MAX_UNWRITTEN_BYTES, "{waiting} octets wait for TCP");
                self.transmit(conn.0);
            }
            Action::Close { conn } => {
                self.trace.note(self.now, node, "close", &[]);
                self.close(conn.0);
            }
        }
    }

    /// The answer to an attempt: the other's kernel takes it while there is a process that listens.
    fn attempt(&mut self, node: NodeId, to: IpAddr, attempt: u64) {
        let other = node_of(to);
        if self.nodes[node].attempts.get(&to) != Some(&attempt)
            || self.link(node, other).cut
            || !self.nodes[other].powered
        {
            return;
        }
        self.nodes[node].attempts.remove(&to);
        let now = self.instant();
        if !self.nodes[other].is_alive() {
            if let Some(speaker) = &mut self.nodes[node].speaker {
                speaker.handle_connect_failed(to, "connection refused", now);
            }
            return self.wake(node);
        }
        self.trace.note(self.now, node, "connected", &[]);
        let conn = self.number() * 2;
        self.ends.insert(conn, End::new(node, other));
        self.ends.insert(conn | 1, End::new(other, node));
        let from = if to.is_ipv4() { address_v4(node).into() } else { address_v6(node).into() };
        for (place, conn, peer, direction) in
            [(other, conn | 1, from, Direction::Incoming), (node, conn, to, Direction::Outgoing)]
        {
            if let Some(speaker) = &mut self.nodes[place].speaker {
                let connected = Connected { conn: ConnId(conn), peer, direction };
                speaker.handle_connected(connected, now);
                self.wake(place);
            }
        }
    }
}
