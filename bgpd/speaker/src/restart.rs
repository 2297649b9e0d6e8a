//! Graceful restart in both roles (RFC 4724, RFC 8538): what is kept of a peer that is away, and
//! what is put off while we come back ourselves.

use std::{net::IpAddr, time::Duration};

use bgp_wire::{Families, Notification, NotificationCode};
use tracing::{debug, info};
use viaduct_net::{Family, Readable};

use crate::{
    events::Happening,
    fsm::Event,
    long_lived::outlives_silence,
    peer::Peer,
    speaker::Speaker,
    timer::{Owner, Timer},
};

/// How long a peer that is back may take to say End-of-RIB before what it has not said again goes
/// (RFC 4724 §4.2: "an upper bound ... MAY be"). Longer than peers' own deferral.
const STALE_TIME: Duration = Duration::from_secs(180);

/// Our own start. Until it is complete a restarting speaker decides nothing and tells nothing
/// (RFC 4724 §4.1); one that starts afresh does both at once, and only the FIB is told when its
/// first picture is whole.
#[derive(Debug)]
pub(crate) struct Startup {
    restarting: bool,
    complete: bool,
}

impl Startup {
    pub(crate) fn new(restarting: bool) -> Self {
        Self { restarting, complete: false }
    }

    pub(crate) fn is_restarting(&self) -> bool {
        self.restarting && !self.complete
    }

    pub(crate) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// It was the start of another, and is behind us.
    pub(crate) const fn take_over(&mut self) {
        self.complete = true;
    }
}

impl Speaker {
    /// Ends the start once every peer has told all it had. Peers that cannot say so, and those
    /// that wait for us as we for them (R bit), are not waited for (RFC 4724 §4.1).
    pub(crate) fn check_startup(&mut self) {
        if self.startup.complete || self.stopped {
            return;
        }
        // A restarting speaker without peers has not been told of them yet, and without an underlay
        // no path is usable: to call that a picture would be to purge the kernel.
        let nobody_yet = self.startup.restarting && self.peers.is_empty();
        let unready = nobody_yet || self.config.incomplete || !self.routing.has_underlay();
        if !unready && self.peers.values().all(has_told_all) {
            self.complete_startup("all peers have told all they had");
        }
    }

    /// Selection_Deferral_Timer: what is there is the first picture.
    pub(crate) fn defer_no_longer(&mut self) {
        if !self.startup.complete {
            self.complete_startup("the deferral time has passed");
        }
    }

    fn complete_startup(&mut self, reason: &'static str) {
        self.events.push(None, Happening::InSync { reason });
        info!(reason, restarting = self.startup.restarting, "startup complete");
        self.startup.complete = true;
        self.timers.stop(Owner::Speaker, Timer::SelectionDeferral);
        self.settle();
        self.routing.synced();
        // What was put off (RFC 4724 §4.1), End-of-RIB included.
        self.ready.extend(self.peers.keys());
    }

    /// What becomes of a lost session's routes (RFC 4724 §4.2, RFC 8538 §4).
    pub(crate) fn session_down(
        &mut self,
        address: IpAddr,
        event: Event,
        notification: Option<&Notification>,
    ) {
        self.routing.leave(address);
        self.note_down(address, event, notification);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.counters.flaps += 1;
        peer.end_of_rib = Families::NONE;
        let agreed = peer.agreed().cloned();
        let outlives =
            agreed.as_ref().is_some_and(|one| outlives(event, notification, one.notification));
        let kept = match &agreed {
            Some(agreed) if outlives => agreed.kept_families(),
            Some(_) | None => Families::NONE,
        };
        let restart_time = agreed
            .as_ref()
            .and_then(|agreed| agreed.graceful_restart.as_ref())
            .map_or(Duration::ZERO, |restart| {
                Duration::from_secs(restart.restart_time_secs.into())
            });
        // What is kept for long without a restart time before it (RFC 9494 §4.2).
        let at_once = match &agreed {
            Some(agreed) if outlives || outlives_silence(event) => {
                let at_once = |family: &Family| !kept.contains(*family);
                agreed.long_lived_families().iter().filter(at_once).collect()
            }
            Some(_) | None => Families::NONE,
        };
        peer.stale = kept;
        info!(peer = %Readable(address), reason = peer.last_error, %kept, "session down");
        let reason = peer.last_error.clone();
        self.events.push(address, Happening::SessionDown { reason, kept, restart_time });
        self.timers.stop(Owner::Peer(address), Timer::Stale);
        for family in Family::ALL {
            if kept.contains(family) || at_once.contains(family) {
                self.routing.mark_stale(address, family);
            } else {
                self.routing.clear(address, family);
            }
        }
        if !kept.is_empty() {
            let at = self.now + restart_time;
            self.timers.start(Owner::Peer(address), Timer::Restart, at);
        }
        if let Some(agreed) = agreed {
            self.begin_long_lived(address, &agreed, at_once);
            let neither = |family: &Family| !kept.contains(*family) && !at_once.contains(*family);
            self.end_long_lived(address, Family::ALL.into_iter().filter(neither).collect());
            if let Some(peer) = self.peers.get_mut(&address) {
                peer.last_agreed = Some(agreed).filter(|_| !peer.stale.is_empty());
            }
        }
    }

    /// The peer is there again: stale routes stay only where it has kept forwarding by them.
    pub(crate) fn session_up(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let Some(agreed) = peer.connection.as_ref().and_then(|one| one.agreed.clone()) else {
            return;
        };
        let config = peer.config.clone();
        peer.had_session = true;
        peer.last_error = None;
        // Whatever BFD says: the way to it is there, or there would be no session.
        self.losses.remove(&address);
        info!(
            peer = %Readable(address),
            router_id = %agreed.router_id,
            families = %agreed.parameters.families,
            hold_time_secs = agreed.hold_time.to_secs(),
            "session up",
        );
        let up = Happening::SessionUp {
            router_id: agreed.router_id,
            families: agreed.parameters.families,
            hold_time_secs: agreed.hold_time.to_secs(),
        };
        self.events.push(address, up);
        let gone = peer.stale;
        let long_lived = peer.long_lived;
        // Of what is kept for long the capability for that has the word (RFC 9494 §4.2).
        let forwards = |family: &Family| match long_lived.contains(*family) {
            true => agreed.long_lived_forwarding().contains(*family),
            false => agreed.forwarding_families().contains(*family),
        };
        let kept: Families = Family::ALL.into_iter().filter(forwards).collect();
        peer.stale = gone.intersection(kept);
        peer.last_agreed = None;
        // Those kept for long have a time of their own, which runs on until End-of-RIB.
        let waits = peer.stale.iter().any(|family| !long_lived.contains(family));
        let given_up = gone.iter().filter(|family| !kept.contains(*family)).collect();
        self.end_long_lived(address, given_up);
        self.timers.stop(Owner::Peer(address), Timer::Restart);
        if waits {
            self.timers.start(Owner::Peer(address), Timer::Stale, self.now + STALE_TIME);
        }
        self.note_up(address);
        self.routing.session_up(address, &agreed, &config);
        for family in given_up.iter() {
            self.routing.sweep_stale(address, family);
        }
        self.advertise_all(address);
        self.check_startup();
    }

    pub(crate) fn receive_end_of_rib(&mut self, address: IpAddr, family: Family) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        debug!(peer = %Readable(address), %family, "end of RIB");
        peer.end_of_rib.insert(family);
        self.events.push(address, Happening::EndOfRib(family));
        self.end_refresh(address, family);
        self.check_startup();
    }

    /// The peer begins to tell all of a family once more (RFC 7313 §4).
    pub(crate) fn begin_refresh(&mut self, address: IpAddr, family: Family) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        // Of a peer that has not told all yet the rest is still to come.
        if peer.stale.contains(family) {
            return;
        }
        peer.stale.insert(family);
        self.events.push(address, Happening::RefreshBegun(family));
        self.timers.start(Owner::Peer(address), Timer::Stale, self.now + STALE_TIME);
        self.routing.mark_stale(address, family);
    }

    /// It has told all of it: what is still stale is gone.
    pub(crate) fn end_refresh(&mut self, address: IpAddr, family: Family) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.stale.remove(family);
        if peer.stale.is_empty() {
            self.timers.stop(Owner::Peer(address), Timer::Stale);
        }
        self.end_long_lived(address, [family].into_iter().collect());
        self.routing.sweep_stale(address, family);
    }

    /// The peer has not come back, or not told all again, in time. What is kept for long has a time of
    /// its own.
    pub(crate) fn drop_stale(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let long_lived = peer.long_lived;
        let stale: Families =
            peer.stale.iter().filter(|family| !long_lived.contains(*family)).collect();
        stale.iter().for_each(|family| peer.stale.remove(family));
        if stale.is_empty() {
            return;
        }
        info!(peer = %Readable(address), families = %stale, "stale routes dropped");
        self.events.push(address, Happening::StaleDropped(stale));
        for family in stale.iter() {
            self.routing.sweep_stale(address, family);
        }
    }
}

pub(crate) fn has_told_all(peer: &Peer) -> bool {
    if peer.config.is_held_down() {
        return true;
    }
    let Some(agreed) = peer.agreed().filter(|_| peer.is_established()) else { return false };
    match &agreed.graceful_restart {
        None => true,
        Some(restart) => {
            let families = agreed.parameters.families;
            restart.restart_state || families.intersection(peer.end_of_rib) == families
        }
    }
}

/// Whether routes outlive a session that ends so: where the end itself shows that the peer's kernel
/// is alive, for it has closed the connection or carried a NOTIFICATION. `notification_bit`: both
/// sides keep them over a NOTIFICATION that is no hard reset (RFC 8538 §4).
///
/// Silence shows nothing of the kind. RFC 8538 would keep routes over an expired hold timer too;
/// but then packets went to a dead node for the hold time and the restart time after it.
fn outlives(event: Event, sent_or_received: Option<&Notification>, notification_bit: bool) -> bool {
    let hard = sent_or_received.is_some_and(|one| one.code == NotificationCode::HardReset);
    match event {
        Event::TcpConnectionFails => true,
        Event::MessageError
        | Event::OpenCollisionDump
        | Event::NotifMsg
        | Event::TcpConnected
        | Event::BgpOpen
        | Event::ConnectRetryTimerExpires => notification_bit && !hard,
        Event::HoldTimerExpires | Event::SendHoldTimerExpires | Event::BfdDown | Event::Stop => {
            false
        }
        Event::Start
        | Event::StartPassive
        | Event::KeepaliveTimerExpires
        | Event::KeepAliveMsg
        | Event::UpdateMsg => false,
    }
}
