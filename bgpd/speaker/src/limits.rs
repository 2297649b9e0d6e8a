//! How many prefixes a peer may tell, and what happens when it tells more (RFC 4486 §4).

use std::{fmt, net::IpAddr, time::Duration};

use bgp_wire::{AfiSafi, Notification, NotificationCode};
use bytes::{BufMut, BytesMut};
use tracing::{info, warn};
use viaduct_net::{Family, Readable};

use crate::{
    drive::Cause,
    events::Happening,
    fsm::{Event, State},
    speaker::Speaker,
    timer::{Owner, Timer},
};

/// Limits of a peer. What import refuses counts, too: it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLimits {
    pub v4: Option<u32>,
    pub v6: Option<u32>,
    /// From this share of a limit on there is a warning.
    pub warning_percent: u8,
    pub action: LimitAction,
}

/// What a prefix more than the limit means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitAction {
    /// Another warning, and it is taken.
    Warn,
    /// The session ends and stays down until the peer's configuration changes.
    #[default]
    Close,
    /// The session ends and may come back after so long.
    CloseFor(Duration),
}

impl Default for PrefixLimits {
    fn default() -> Self {
        Self { v4: None, v6: None, warning_percent: 75, action: LimitAction::default() }
    }
}

impl PrefixLimits {
    pub const fn of(&self, family: Family) -> Option<u32> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// The most that is taken; `None` where more are warned of only.
    pub(crate) fn most(&self, family: Family) -> Option<u32> {
        self.of(family).filter(|_| self.action != LimitAction::Warn)
    }

    /// From how many on there is a warning.
    fn warning(&self, family: Family) -> Option<u32> {
        let share = |limit| u64::from(limit) * u64::from(self.warning_percent) / 100;
        self.of(family).map(|limit| share(limit) as u32)
    }
}

/// What keeps a peer down beyond its back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverLimit {
    family: Family,
    limit: u32,
    again: Option<Duration>,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} {} prefixes; ", self.limit, self.family)?;
        match self.again {
            Some(again) => write!(f, "down for {} s", again.as_secs()),
            None => f.write_str("down until the peer's configuration changes"),
        }
    }
}

/// RFC 4486 §4: family and limit are the data.
fn cease(family: Family, limit: u32) -> Notification {
    let AfiSafi { afi, safi } = family.into();
    let mut data = BytesMut::with_capacity(7);
    data.put_u16(afi);
    data.put_u8(safi);
    data.put_u32(limit);
    Notification { code: NotificationCode::MaximumPrefixesReached, data: data.freeze() }
}

impl Speaker {
    /// Warns once of each family that comes near its limit, and once of each that is beyond it.
    pub(crate) fn warn_of_limits(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let limits = peer.config.prefix_limits;
        for family in Family::ALL {
            let (Some(limit), Some(warning)) = (limits.of(family), limits.warning(family)) else {
                continue;
            };
            let count = self.routing.counts(address).of(family);
            for (told, from) in
                [(&mut peer.near_limit, warning), (&mut peer.over_limit, limit.saturating_add(1))]
            {
                if count < from {
                    told.remove(family);
                } else if !told.contains(family) {
                    told.insert(family);
                    peer.counters.limit_warnings += 1;
                    warn!(peer = %Readable(address), %family, count, limit, "many prefixes");
                    self.events.push(address, Happening::ManyPrefixes { family, count, limit });
                }
            }
        }
    }

    /// Ends a session whose peer has told more than a limit that has just become less.
    pub(crate) fn enforce_limits(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get(&address).filter(|peer| peer.is_established()) else {
            return;
        };
        let limits = peer.config.prefix_limits;
        let counts = self.routing.counts(address);
        let over = Family::ALL.into_iter().find_map(|family| {
            limits.most(family).filter(|most| counts.of(family) > *most).map(|most| (family, most))
        });
        match over {
            Some((family, limit)) => self.part_over_limit(address, family, limit),
            None => self.warn_of_limits(address),
        }
    }

    /// The peer has told one prefix more than it may.
    pub(crate) fn part_over_limit(&mut self, address: IpAddr, family: Family, limit: u32) {
        let Some(peer) = self.peers.get(&address) else { return };
        let again = match peer.config.prefix_limits.action {
            LimitAction::CloseFor(time) => Some(time),
            LimitAction::Warn | LimitAction::Close => None,
        };
        // Nor may it come back by another connection.
        self.drop_second(address, None);
        let farewell = self.final_words(address, cease(family, limit));
        let over = OverLimit { family, limit, again };
        let cause =
            Cause { text: Some(format!("sent: {farewell}: {over}")), ..Cause::send(farewell) };
        self.step(address, Event::MessageError, cause);
        let owner = Owner::Peer(address);
        match again {
            Some(time) => self.timers.start(owner, Timer::IdleHold, self.now + time),
            None => self.timers.stop(owner, Timer::IdleHold),
        }
    }

    /// Limits that have changed let a peer come back that they had kept down.
    pub(crate) fn let_up(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get(&address) else { return };
        let rests = !self.timers.is_running(Owner::Peer(address), Timer::IdleHold);
        if peer.state == State::Idle && rests {
            info!(peer = %Readable(address), "let up");
            self.start_peer(address);
        }
    }
}
