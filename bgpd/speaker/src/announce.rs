//! What peers tell us goes into the table, and what follows from it to those who are told.

use std::{net::IpAddr, time::Instant};

use bgp_rib::{
    AnnounceError,
    out::{ENTRY_BYTES, Profile},
};
use bgp_wire::{
    EXTENDED_MESSAGE_LEN, Families, Notification, NotificationCode, RouteRefresh,
    RouteRefreshSubtype, Update,
};
use tracing::{debug, warn};
use viaduct_net::{Family, Readable};

use crate::{
    Config,
    drive::Cause,
    events::Happening,
    fsm::Event,
    peer::{Peer, Slot},
    routing::local_speaker,
    speaker::Speaker,
    timer::{Owner, Timer},
};

/// Updates are handed out while less than this waits to be taken by TCP; what comes after waits where it
/// is shared with other peers.
pub const SEND_BUFFER_BYTES: usize = 256 << 10;

/// What can wait for TCP at worst: a full buffer, and one piece more.
pub const MAX_UNWRITTEN_BYTES: usize = SEND_BUFFER_BYTES + ENTRY_BYTES + EXTENDED_MESSAGE_LEN;

impl Speaker {
    pub(crate) fn receive_update(&mut self, address: IpAddr, update: &Update) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.counters.updates_received += 1;
            if let Some(what) = peer.malformed.note(&update.malformed, self.now) {
                warn!(peer = %Readable(address), %what, "malformed update");
                self.events.push(address, what);
            }
        }
        let taken = self.routing.update(address, update);
        self.warn_of_limits(address);
        if let Err(AnnounceError::FamilyLimit { family, limit }) = taken {
            return self.part_over_limit(address, family, limit);
        }
        if let Err(error) = taken {
            warn!(peer = %Readable(address), %error, "too much");
            let notification = Notification::new(NotificationCode::MaximumPrefixesReached);
            let farewell = self.final_words(address, notification);
            return self.step(address, Event::MessageError, Cause::send(farewell));
        }
        if let Some(family) = update.end_of_rib {
            self.receive_end_of_rib(address, family);
        }
    }

    /// RFC 2918 §4: all of the family once more. Whoever has not agreed on the family is not answered.
    pub(crate) fn receive_refresh(&mut self, address: IpAddr, refresh: RouteRefresh) {
        debug!(peer = %Readable(address), ?refresh, "route refresh");
        let Some(agreed) = self.peers.get(&address).and_then(Peer::agreed) else { return };
        let agreed_on = |family: &Family| agreed.parameters.families.contains(*family);
        let Some(family) = refresh.family.family().filter(agreed_on) else { return };
        let demarcated = agreed.enhanced_route_refresh;
        match refresh.subtype {
            RouteRefreshSubtype::Request => {
                self.events.push(address, Happening::RefreshWanted(family));
                self.routing.refresh(address, family, demarcated);
                self.ready.insert(address);
            }
            // RFC 7313 §4: what is not told again before the end is gone. A beginning without an end
            // leaves it to the timer.
            RouteRefreshSubtype::Begin if demarcated => self.begin_refresh(address, family),
            RouteRefreshSubtype::End if demarcated => self.end_refresh(address, family),
            RouteRefreshSubtype::Begin
            | RouteRefreshSubtype::End
            | RouteRefreshSubtype::Unknown(_) => {}
        }
    }

    /// Decides what has changed since, unless that is put off (RFC 4724 §4.1).
    pub(crate) fn settle(&mut self) {
        if self.stopped || self.startup.is_restarting() {
            return;
        }
        self.tell_lost();
        if self.routing.rib.is_settled() {
            return;
        }
        self.timers.stop(Owner::Speaker, Timer::Coalesce);
        self.settled = self.now;
        self.routing.settle();
        self.ready.extend(self.routing.pending());
    }

    /// Until when what has changed waits for more ([`Config::coalesce`]), where it does.
    pub fn coalesces_until(&self) -> Option<Instant> {
        self.timers.deadline(Owner::Speaker, Timer::Coalesce)
    }

    /// The same, but for a few changes by updates that have come soon after others: those wait for more
    /// ([`Config::coalesce`]). A single change is told at once, and so are many, and whatever else than
    /// an update has changed.
    pub(crate) fn settle_in_time(&mut self) {
        if self.stopped || self.startup.is_restarting() {
            return;
        }
        self.tell_lost();
        let until = self.settled + self.config.coalesce;
        if self.now >= until || !self.routing.may_wait() {
            return self.settle();
        }
        if !self.routing.rib.is_settled() {
            self.timers.start(Owner::Speaker, Timer::Coalesce, until);
        }
    }

    /// Tells a peer everything, on a session that has just come up.
    pub(crate) fn advertise_all(&mut self, address: IpAddr) {
        self.settle();
        let Some(profile) =
            self.peers.get(&address).and_then(|peer| profile(&self.config, address, peer))
        else {
            return;
        };
        self.routing.join(address, profile);
        self.ready.insert(address);
    }

    /// What peers are told follows the configuration: what they are not to know any more is withdrawn.
    pub(crate) fn tell_by_config(&mut self) {
        self.settle();
        for (&address, peer) in self.peers.iter().filter(|(_, peer)| peer.is_established()) {
            if let Some(profile) = profile(&self.config, address, peer) {
                self.routing.change(address, profile);
                self.ready.insert(address);
            }
        }
    }

    /// Hands updates to a peer until nothing is pending or its connection has enough to do.
    pub(crate) fn advertise(&mut self, address: IpAddr) {
        while let Some(peer) = self.peers.get_mut(&address)
            && peer.is_established()
            && !self.startup.is_restarting()
            && let Some(connection) = &mut peer.connection
            && connection.unwritten < SEND_BUFFER_BYTES
        {
            let owner = Owner::Connection(connection.id);
            let interval = peer.config.times.advertisement;
            if !interval.is_zero() && self.timers.is_running(owner, Timer::Advertisement) {
                return;
            }
            if self.routing.reads_table(address) && !self.routing.rib.is_settled() {
                self.settle();
                continue;
            }
            let room = SEND_BUFFER_BYTES - connection.unwritten;
            match self.routing.next(address, room) {
                Ok(outgoing) if outgoing.bytes.is_empty() => {
                    if std::mem::take(&mut connection.telling) && !interval.is_zero() {
                        self.routing.gather(address);
                        let at = self.now + self.rng.jitter(interval);
                        self.timers.start(owner, Timer::Advertisement, at);
                    }
                    return;
                }
                Ok(outgoing) => {
                    connection.telling = true;
                    peer.counters.updates_sent += outgoing.messages;
                    peer.counters.messages_sent += outgoing.messages;
                    for bytes in outgoing.bytes {
                        self.note_sent(address, &bytes);
                        self.send_bytes(address, Slot::Main, bytes);
                    }
                }
                Err(error) => {
                    warn!(peer = %Readable(address), %error, "too slow");
                    let notification = Notification::new(NotificationCode::OutOfResources);
                    let farewell = self.final_words(address, notification);
                    return self.step(address, Event::MessageError, Cause::send(farewell));
                }
            }
        }
    }
}

/// Everything that what a peer is told depends on.
pub(crate) fn profile(config: &Config, address: IpAddr, peer: &Peer) -> Option<Profile> {
    let mut parameters = peer.agreed()?.parameters;
    // What we may receive makes no difference to what we send.
    parameters.receive_extended = false;
    parameters.add_path_receive = Families::NONE;
    Some(Profile {
        local: local_speaker(config, address, &peer.config, &parameters),
        parameters,
        reflector_client: peer.config.reflector_client,
        next_hop_self: peer.config.next_hop_self,
        policy: peer.config.export.clone(),
        long_lived: !peer.agreed()?.long_lived.is_empty(),
        additional_paths: peer.config.add_path_send.saturating_sub(1).into(),
    })
}
