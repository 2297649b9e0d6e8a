//! TCP: what is written arrives once and in order, or the connection ends.

use std::time::Duration;

use bgp_speaker::ConnId;

use super::{Event, Network};
use crate::{Pace, connection::Packet};

/// The first time-out of a lost packet; it doubles with each loss (RFC 6298).
const RETRANSMISSION: Duration = Duration::from_millis(200);
const MOST_LOSSES: u32 = 6;
/// One packet in so many is cut in two.
const CUT_ONE_IN: usize = 16;

impl Network {
    /// Moves what is written as far as it can go now.
    pub(super) fn transmit(&mut self, conn: u64) {
        let Some(end) = self.ends.get_mut(&conn) else { return };
        let mut taken = 0;
        while let Some(packet) = end.take_unwritten() {
            taken += packet.len();
            end.held.push_back(packet);
        }
        let (node, other) = (end.node, end.other_node);
        if taken != 0 {
            self.after(Duration::ZERO, Event::Written { conn, count: taken });
        }
        let link = self.link(node, other);
        if link.cut {
            return;
        }
        while let Some(packet) = self.ends.get_mut(&conn).and_then(|end| end.held.pop_front()) {
            let is_end = matches!(packet, Packet::End);
            for packet in self.cut_up(packet) {
                self.send_packet(conn, packet);
            }
            if is_end {
                self.ends.remove(&conn);
            }
        }
    }

    /// Octets arrive in pieces that know nothing of messages.
    fn cut_up(&mut self, packet: Packet) -> Vec<Packet> {
        match packet {
            Packet::Octets(mut octets) if octets.len() > 1 && self.dice.one_in(CUT_ONE_IN) => {
                let first = octets.split_to(1 + self.dice.below(octets.len() - 1));
                vec![Packet::Octets(first), Packet::Octets(octets)]
            }
            packet => vec![packet],
        }
    }

    fn send_packet(&mut self, conn: u64, packet: Packet) {
        let Some(end) = self.ends.get(&conn) else { return };
        let link = self.link(end.node, end.other_node);
        let mut delay = link.delay + self.dice.duration(link.jitter);
        let mut losses = 0;
        while losses < MOST_LOSSES && self.dice.below(1000) < link.loss.into() {
            delay += RETRANSMISSION * (1 << losses);
            losses += 1;
        }
        let Some(end) = self.ends.get_mut(&conn) else { return };
        let arrival = end.last_arrival.max(self.now + delay);
        end.last_arrival = arrival;
        self.after(arrival - self.now, Event::Arrive { conn: conn ^ 1, packet });
    }

    pub(super) fn arrive(&mut self, conn: u64, packet: Packet) {
        let Some(end) = self.ends.get_mut(&conn) else {
            return self.answer_with_reset(conn ^ 1);
        };
        // Its process has closed it: what comes now is answered with a reset.
        if !end.open {
            self.ends.remove(&conn);
            return self.answer_with_reset(conn ^ 1);
        }
        end.unread.push_back(packet);
        self.plan_read(conn);
    }

    /// There is no such connection, says the other's kernel, if it is there to say anything.
    fn answer_with_reset(&mut self, conn: u64) {
        let Some(end) = self.ends.get(&conn) else { return };
        let link = self.link(end.node, end.other_node);
        if !link.cut && self.nodes[end.other_node].powered {
            self.after(link.delay, Event::Reset { conn });
        }
    }

    /// The process will read a packet as soon as it is as quick as that.
    pub(super) fn plan_read(&mut self, conn: u64) {
        let Some(end) = self.ends.get_mut(&conn) else { return };
        let Some(packet) = end.unread.front() else { return };
        let delay = match self.nodes[end.node].pace {
            Pace::Quick => Duration::ZERO,
            Pace::Slow(octets) => Duration::from_secs(packet.len() as u64) / octets,
            Pace::Deaf => return,
        };
        if !std::mem::replace(&mut end.reads, true) {
            self.after(delay, Event::Read { conn });
        }
    }

    pub(super) fn read(&mut self, conn: u64) {
        let now = self.instant();
        let Some(end) = self.ends.get_mut(&conn) else { return };
        end.reads = false;
        let node = end.node;
        if self.nodes[node].pace == Pace::Deaf {
            return;
        }
        match end.unread.pop_front() {
            None => return,
            Some(Packet::End) => return self.lose(conn, "closed"),
            Some(Packet::Octets(octets)) => {
                self.trace.note(self.now, node, "read", &octets);
                if let Some(speaker) = &mut self.nodes[node].speaker {
                    speaker.handle_bytes(ConnId(conn), &octets, now);
                    self.wake(node);
                }
                if let Some(sender) = self.ends.get_mut(&(conn ^ 1)) {
                    sender.in_flight -= octets.len();
                    self.transmit(conn ^ 1);
                }
            }
        }
        self.plan_read(conn);
    }

    pub(super) fn written(&mut self, conn: u64, count: usize) {
        let now = self.instant();
        let Some(end) = self.ends.get(&conn).filter(|end| end.open) else { return };
        let node = end.node;
        if let Some(speaker) = &mut self.nodes[node].speaker {
            speaker.handle_written(ConnId(conn), count, now);
            self.wake(node);
        }
    }

    /// The connection is gone, as this end sees it.
    pub(super) fn lose(&mut self, conn: u64, reason: &'static str) {
        let now = self.instant();
        let Some(end) = self.ends.remove(&conn) else { return };
        self.trace.note(self.now, end.node, reason, &[]);
        if let Some(speaker) = self.nodes[end.node].speaker.as_mut().filter(|_| end.open) {
            speaker.handle_closed(ConnId(conn), reason, now);
            self.wake(end.node);
        }
    }

    /// The process wants it no more; what was written before is sent.
    pub(super) fn close(&mut self, conn: u64) {
        let Some(end) = self.ends.get_mut(&conn) else { return };
        if std::mem::replace(&mut end.open, false) {
            end.unwritten.push_back(Packet::End);
            end.unread.clear();
            self.transmit(conn);
        }
    }
}
