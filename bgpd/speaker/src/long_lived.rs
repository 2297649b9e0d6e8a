//! Long-lived graceful restart in both roles (RFC 9494): what is kept of a peer, as the last resort,
//! after the restart time is over or the session was lost in silence.

use std::{net::IpAddr, time::Duration};

use bgp_wire::{Families, LongLivedFamily};
use tracing::info;
use viaduct_net::{Family, Readable};

use crate::{
    fsm::Event,
    open::Agreed,
    speaker::Speaker,
    timer::{Owner, Timer},
};

impl Agreed {
    /// What the peer says of a family that is kept for long; `None` where it is not.
    fn long_lived(&self, family: Family) -> Option<LongLivedFamily> {
        let entry = self.long_lived.iter().find(|one| one.family == family.into()).copied();
        entry.filter(|_| self.parameters.families.contains(family))
    }

    /// The families whose routes are kept for long when the session is lost.
    pub(crate) fn long_lived_families(&self) -> Families {
        let kept = |family: &Family| self.long_lived_time(*family).is_some();
        Family::ALL.into_iter().filter(kept).collect()
    }

    /// The families of which the peer says that it has forwarded all the while (F bit).
    pub(crate) fn long_lived_forwarding(&self) -> Families {
        let kept = |family: &Family| self.long_lived(*family).is_some_and(|one| one.forwarding);
        Family::ALL.into_iter().filter(kept).collect()
    }

    /// For how long; zero is not at all.
    fn long_lived_time(&self, family: Family) -> Option<Duration> {
        let secs = self.long_lived(family)?.stale_time_secs;
        (secs > 0).then(|| Duration::from_secs(secs.into()))
    }
}

/// Whether a session that ends so leaves routes for long where graceful restart keeps none: silence
/// does, for that is what this is for; a word that says otherwise does not, nor does BFD, whose
/// point is to turn away at once.
pub(crate) fn outlives_silence(event: Event) -> bool {
    matches!(event, Event::HoldTimerExpires | Event::SendHoldTimerExpires)
}

impl Speaker {
    /// The restart time is over, or there was none: what the peer wants to be kept for long stays
    /// behind every other path, and what it does not goes (RFC 9494 §4.2).
    pub(crate) fn begin_long_lived(
        &mut self,
        address: IpAddr,
        agreed: &Agreed,
        families: Families,
    ) {
        for family in families.iter() {
            let Some(peer) = self.peers.get_mut(&address) else { return };
            let time = agreed.long_lived_time(family);
            // Of a peer that is lost again before it had told all, the time runs on.
            let runs = peer.long_lived.contains(family);
            let Some(time) = time.filter(|_| !runs) else {
                if !runs {
                    peer.stale.remove(family);
                    self.routing.sweep_stale(address, family);
                }
                continue;
            };
            info!(peer = %Readable(address), %family, secs = time.as_secs(), "stale routes kept for long");
            peer.stale.insert(family);
            peer.long_lived.insert(family);
            let at = self.now + time;
            self.timers.start(Owner::Peer(address), Timer::LongLived(family), at);
            self.routing.mark_long_lived(address, family);
        }
    }

    /// The restart time is over.
    pub(crate) fn restart_time_over(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let (stale, agreed) = (peer.stale, peer.last_agreed.clone());
        match agreed {
            Some(agreed) => self.begin_long_lived(address, &agreed, stale),
            None => self.drop_stale(address),
        }
    }

    /// It has not come back, or not told all again, in all that time.
    pub(crate) fn drop_long_lived(&mut self, address: IpAddr, family: Family) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        info!(peer = %Readable(address), %family, "stale routes dropped, kept for long in vain");
        peer.stale.remove(family);
        peer.long_lived.remove(family);
        self.routing.sweep_stale(address, family);
    }

    /// The families are told anew, or given up.
    pub(crate) fn end_long_lived(&mut self, address: IpAddr, families: Families) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        for family in families.iter().filter(|family| peer.long_lived.contains(*family)) {
            self.timers.stop(Owner::Peer(address), Timer::LongLived(family));
        }
        families.iter().for_each(|family| peer.long_lived.remove(family));
    }
}
