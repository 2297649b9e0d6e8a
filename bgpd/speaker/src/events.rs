//! What happens to a speaker, for whoever watches it: what is worth a line, and no more than can be
//! read. What follows from it for the table is not among it.

use std::{
    collections::VecDeque,
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bgp_wire::{AttributeError, Families, Notification};
use viaduct_net::{Family, Prefix, RouterId};

use crate::{DownReason, speaker::Speaker};

/// Events that wait for [`Speaker::poll_event`]. Of more the oldest are lost, which their numbers show.
pub const MAX_WAITING_EVENTS: usize = 4096;

/// A peer's malformed updates are told at most so often; those between are counted.
const MALFORMED_PAUSE: Duration = Duration::from_secs(1);

/// Of the errors of a configuration.
const ERRORS_TOLD: usize = 8;

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerEvent {
    /// From one on, without a gap but for what was lost.
    pub number: u64,
    /// `None` for what is no single peer's.
    pub peer: Option<IpAddr>,
    pub what: Happening,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    SessionUp {
        router_id: RouterId,
        families: Families,
        hold_time_secs: u16,
    },
    /// `kept`: families whose routes stay for the restart time (RFC 4724 §4.2).
    SessionDown {
        reason: Option<String>,
        kept: Families,
        restart_time: Duration,
    },
    /// No session has come about; told once as long as the error is the same.
    AttemptFailed(String),
    /// No session can come about on this machine: with a peer, or with any of a range.
    HeldDown {
        range: Option<Prefix>,
        obstacle: Arc<str>,
    },
    NotificationSent(Notification),
    NotificationReceived(Notification),
    /// Attributes that are not as they should be (RFC 7606), since this was last told.
    Malformed {
        count: u64,
        latest: AttributeError,
    },
    /// The peer has told so many prefixes: near its limit, or beyond it.
    ManyPrefixes {
        family: Family,
        count: u32,
        limit: u32,
    },
    /// The peer wants all of a family once more (RFC 2918).
    RefreshWanted(Family),
    /// The peer begins to tell all of a family once more (RFC 7313).
    RefreshBegun(Family),
    /// The peer has told all it has.
    EndOfRib(Family),
    /// Routes that were kept have not been told again in time.
    StaleDropped(Families),
    /// `kept`: the peer restarts, and what it is known by stays (RFC 5882 §4.3.2).
    BfdDown {
        reason: DownReason,
        kept: bool,
    },
    BfdUp,
    PeerAdded,
    PeerRemoved,
    /// By configuration; what has changed.
    PeerChanged(Vec<&'static str>),
    SpeakerChanged(Vec<&'static str>),
    /// What the speaker is to run by is wrong, and it runs on as before: every error, with its field.
    ConfigurationRefused(Vec<String>),
    /// It is right again.
    ConfigurationMended,
    /// The first picture is complete: the FIB may be purged of what is not in it.
    InSync {
        reason: &'static str,
    },
}

impl Happening {
    /// One word for scripts.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SessionUp { .. } => "session-up",
            Self::SessionDown { .. } => "session-down",
            Self::AttemptFailed(_) => "attempt-failed",
            Self::HeldDown { .. } => "held-down",
            Self::NotificationSent(_) => "notification-sent",
            Self::NotificationReceived(_) => "notification-received",
            Self::Malformed { .. } => "malformed",
            Self::ManyPrefixes { .. } => "prefix-limit",
            Self::RefreshWanted(_) => "refresh-wanted",
            Self::RefreshBegun(_) => "refresh-begun",
            Self::EndOfRib(_) => "end-of-rib",
            Self::StaleDropped(_) => "stale-dropped",
            Self::BfdDown { .. } => "bfd-down",
            Self::BfdUp => "bfd-up",
            Self::PeerAdded => "peer-added",
            Self::PeerRemoved => "peer-removed",
            Self::PeerChanged(_) | Self::SpeakerChanged(_) => "configuration",
            Self::ConfigurationRefused(_) => "configuration-refused",
            Self::ConfigurationMended => "configuration-mended",
            Self::InSync { .. } => "in-sync",
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionUp { router_id, families, hold_time_secs } => {
                write!(f, "router id {router_id}, {families}, hold time {hold_time_secs} s")
            }
            Self::SessionDown { reason, kept, restart_time } => {
                f.write_str(reason.as_deref().unwrap_or("no reason given"))?;
                if !kept.is_empty() {
                    write!(f, "; routes of {kept} kept for {} s", restart_time.as_secs())?;
                }
                Ok(())
            }
            Self::AttemptFailed(error) => f.write_str(error),
            Self::HeldDown { range: Some(range), obstacle } => write!(f, "{range}: {obstacle}"),
            Self::HeldDown { range: None, obstacle } => f.write_str(obstacle),
            Self::NotificationSent(one) | Self::NotificationReceived(one) => write!(f, "{one}"),
            Self::Malformed { count: 1, latest } => {
                write!(f, "{latest}: {:?}", latest.consequence)
            }
            Self::Malformed { count, latest } => {
                write!(f, "{count} attributes, the latest: {latest}: {:?}", latest.consequence)
            }
            Self::ManyPrefixes { family, count, limit } => {
                write!(f, "{count} {family} prefixes, the limit is {limit}")
            }
            Self::RefreshWanted(family) | Self::RefreshBegun(family) | Self::EndOfRib(family) => {
                write!(f, "{family}")
            }
            Self::StaleDropped(families) => write!(f, "routes of {families} not told again"),
            Self::BfdDown { reason, kept } => {
                f.write_str(reason.name())?;
                f.write_str(if *kept { "; kept, for it restarts" } else { "; no next hop" })
            }
            Self::BfdUp => f.write_str("a next hop"),
            Self::PeerAdded => f.write_str("added by configuration"),
            Self::PeerRemoved => f.write_str("removed by configuration"),
            Self::PeerChanged(what) | Self::SpeakerChanged(what) => {
                write!(f, "changed: {}", what.join(", "))
            }
            Self::ConfigurationRefused(errors) => {
                f.write_str(&errors[..errors.len().min(ERRORS_TOLD)].join("; "))?;
                match errors.len().saturating_sub(ERRORS_TOLD) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
            Self::ConfigurationMended => f.write_str("it is right again"),
            Self::InSync { reason } => f.write_str(reason),
        }
    }
}

/// Events that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    waiting: VecDeque<SpeakerEvent>,
    told: u64,
}

impl Events {
    pub(crate) fn push(&mut self, peer: impl Into<Option<IpAddr>>, what: Happening) {
        if self.waiting.len() == MAX_WAITING_EVENTS {
            self.waiting.pop_front();
        }
        self.told += 1;
        self.waiting.push_back(SpeakerEvent { number: self.told, peer: peer.into(), what });
    }
}

/// Malformed attributes of one peer.
#[derive(Debug, Default)]
pub(crate) struct Malformed {
    /// All there were.
    pub(crate) count: u64,
    told: u64,
    told_at: Option<Instant>,
}

impl Malformed {
    /// Counts, and gives what is to be told by now.
    pub(crate) fn note(&mut self, faults: &[AttributeError], now: Instant) -> Option<Happening> {
        let latest = faults.last()?.clone();
        self.count += faults.len() as u64;
        let pause = |at: Instant| now.saturating_duration_since(at) < MALFORMED_PAUSE;
        if self.told_at.is_some_and(pause) {
            return None;
        }
        self.told_at = Some(now);
        let count = self.count - std::mem::replace(&mut self.told, self.count);
        Some(Happening::Malformed { count, latest })
    }
}

impl Speaker {
    /// Something has happened around the speaker that is told among its own.
    pub fn note(&mut self, what: Happening) {
        self.events.push(None, what);
    }

    /// The next thing that has happened, in order.
    pub fn poll_event(&mut self) -> Option<SpeakerEvent> {
        self.events.waiting.pop_front()
    }
}
