//! What BFD and the speaker say to each other (RFC 5882).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use bgp_bfd::{DownReason, Path, Profile, SessionKey};
use bgp_wire::{Families, Notification, NotificationCode};
use tracing::debug;
use viaduct_net::{LossCause, Readable};

use crate::{
    drive::Cause,
    events::Happening,
    fsm::Event,
    peer::Peer,
    speaker::Speaker,
    timer::{Owner, Timer},
};

/// The BFD session that watches a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdConfig {
    pub path: Path,
    pub profile: Profile,
}

/// One of the BFD sessions there shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdSessionConfig {
    pub profile: Profile,
    /// Our own end: the same address as that of the BGP session, for the peer knows us by it. `None`:
    /// any.
    pub local: Option<IpAddr>,
    /// The name of the interface that a peer with a link-local address is on.
    pub interface: Option<Arc<str>>,
}

/// A peer that BFD has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The peer's BFD does not restart with it.
    pub(crate) control_plane_independent: bool,
}

impl Speaker {
    /// The BFD sessions there shall be, whenever they have changed: those of all peers that are not
    /// shut down, Established or not, so that a loss is seen from the first moment.
    pub fn poll_bfd(&mut self) -> Option<BTreeMap<SessionKey, BfdSessionConfig>> {
        if !std::mem::take(&mut self.bfd_changed) {
            return None;
        }
        let watched = self.peers.iter().filter(|(_, peer)| !peer.config.is_held_down());
        let sessions = watched.filter_map(|(&peer, one)| {
            let BfdConfig { path, profile } = one.config.bfd?;
            let local = one.config.local_address(&self.config, peer);
            let interface = one.config.link.as_ref().map(|link| link.name.clone());
            Some((SessionKey { peer, path }, BfdSessionConfig { profile, local, interface }))
        });
        Some(sessions.collect())
    }

    /// The BFD session with a peer has left Up.
    ///
    /// An Established session ends, and its routes with it (RFC 5882 §4.3.1, RFC 9384): the peer has
    /// not said that it is restarting, so it is the way to it that is lost. Where the BGP session went
    /// first, the peer is restarting, and its BFD may only have died with the rest of it. Then its
    /// routes stay, unless its BFD is independent of that (the C bit, `control_plane_independent`)
    /// and so knows better (§4.3.2). Our own bit has no say in this: it would tell that the failure is
    /// not of our own restart, and we are here.
    ///
    /// While the way to it is lost the peer is no next hop, either, whoever tells of it (§5).
    pub fn handle_bfd_down(
        &mut self,
        session: SessionKey,
        reason: DownReason,
        control_plane_independent: bool,
        now: Instant,
    ) {
        self.now = now;
        let address = session.peer;
        let Some(peer) = self.peers.get(&address) else { return };
        // Said before the configuration changed.
        if peer.config.bfd.is_none_or(|bfd| bfd.path != session.path) {
            return;
        }
        match reason {
            DownReason::DetectionTimeExpired | DownReason::NeighborDown => {}
            // "Not a failure": its operator has something else in mind (RFC 5882 §3.2).
            DownReason::NeighborAdminDown => {
                return debug!(peer = %Readable(address), "BFD held down");
            }
        }
        debug!(peer = %Readable(address), reason = reason.name(), control_plane_independent, "BFD down");
        let restarts = !peer.is_established() && !peer.stale.is_empty();
        let kept = restarts && !control_plane_independent;
        self.events.push(address, Happening::BfdDown { reason, kept });
        if peer.is_established() {
            self.end_by_bfd(address, reason);
        } else if restarts && control_plane_independent {
            self.abort_restart(address);
        }
        self.losses.insert(address, Loss { control_plane_independent });
    }

    /// The BFD session with a peer has come Up.
    pub fn handle_bfd_up(&mut self, session: SessionKey, now: Instant) {
        self.now = now;
        let address = session.peer;
        let Some(peer) = self.peers.get(&address) else { return };
        if peer.config.bfd.is_some_and(|bfd| bfd.path == session.path) {
            self.losses.remove(&address);
            self.events.push(address, Happening::BfdUp);
        }
    }

    /// Says which peers are no next hops. One that restarts is what it was before, as its routes are,
    /// for as long as any of them is kept.
    pub(crate) fn tell_lost(&mut self) {
        // Asked at every step, and almost never another.
        if !self.lost_by_bfd().eq(self.routing.rib.lost()) {
            let lost = self.lost_by_bfd().copied().collect();
            self.routing.rib.set_lost(lost);
        }
    }

    fn lost_by_bfd(&self) -> impl Iterator<Item = &IpAddr> {
        let keeps = |peer: &Peer| !peer.is_established() && !peer.stale.is_empty();
        let is_lost = move |address: &IpAddr, loss: &Loss| {
            loss.control_plane_independent || !self.peers.get(address).is_some_and(keeps)
        };
        let lost = self.losses.iter().filter(move |(address, loss)| is_lost(address, loss));
        lost.map(|(address, _)| address)
    }

    /// The peers that cannot be reached right now. One that is gone in order is not among them, nor one
    /// that restarts or whose session alone is lost: to those packets still lead.
    pub fn lost_neighbours(&self) -> BTreeMap<IpAddr, LossCause> {
        let by_bfd = self.lost_by_bfd().map(|address| (*address, LossCause::Bfd));
        let by_link = self.cut_off.iter().map(|address| (*address, LossCause::Link));
        by_bfd.chain(by_link).collect()
    }

    /// Looks which peers the underlay leads to. What it has not led to yet may be still to come, as when
    /// the machine starts. An unnumbered neighbour needs no route.
    pub(crate) fn find_cut_off(&mut self) {
        let numbered = self.peers.iter().filter(|(_, peer)| peer.config.link.is_none());
        let peers: BTreeSet<IpAddr> = numbered.map(|(address, _)| *address).collect();
        let (there, not): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
            peers.into_iter().partition(|address| self.routing.rib.is_underlaid(*address));
        let was_there =
            |address: &IpAddr| self.underlaid.contains(address) || self.cut_off.contains(address);
        self.cut_off = not.into_iter().filter(was_there).collect();
        self.underlaid = there;
    }

    /// Nothing is kept of a peer that cannot be reached (RFC 5882 §4.3.2.1), neither for the restart
    /// time nor for long.
    fn abort_restart(&mut self, address: IpAddr) {
        self.timers.stop(Owner::Peer(address), Timer::Restart);
        self.drop_stale(address);
        let long_lived = self.peers.get(&address).map_or(Families::NONE, |peer| peer.long_lived);
        for family in long_lived.iter() {
            self.timers.stop(Owner::Peer(address), Timer::LongLived(family));
            self.drop_long_lived(address, family);
        }
    }

    fn end_by_bfd(&mut self, address: IpAddr, reason: DownReason) {
        let farewell = Notification::new(NotificationCode::BfdDown);
        let farewell = self.final_words(address, farewell);
        let text = format!("BFD down: {}", reason.name());
        let cause = Cause { text: Some(text), ..Cause::send(farewell) };
        self.step(address, Event::BfdDown, cause);
    }
}
