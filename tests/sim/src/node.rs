//! A machine: its process, and what the kernel keeps while there is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use bgp_speaker::{FibEvent, Speaker};
use viaduct_net::{Prefix, Route, RouteUpdate};

/// How quickly a process reads what has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    #[default]
    Quick,
    /// Octets in a second.
    Slow(u32),
    /// Not at all.
    Deaf,
}

#[derive(Debug)]
pub struct Node {
    /// `None`: the process is not there.
    pub speaker: Option<Speaker>,
    /// Without it nothing answers, not even with a reset.
    pub powered: bool,
    /// Routes in the kernel.
    pub fib: BTreeMap<Prefix, Route>,
    /// The process has said that its picture is whole.
    pub synced: bool,
    pub originations: BTreeSet<Prefix>,
    pub pace: Pace,
    /// Which process it is: events of an earlier one are nobody's.
    pub(crate) life: u32,
    /// Attempts to connect that are under way.
    pub(crate) attempts: BTreeMap<IpAddr, u64>,
    pub(crate) poll_is_due: bool,
    pub(crate) wakes_at: Option<Duration>,
    /// Routes that this process has asked for.
    confirmed: BTreeSet<Prefix>,
}

impl Node {
    pub(crate) fn new(originations: BTreeSet<Prefix>) -> Self {
        Self {
            speaker: None,
            powered: true,
            fib: BTreeMap::new(),
            synced: false,
            originations,
            pace: Pace::Quick,
            life: 0,
            attempts: BTreeMap::new(),
            poll_is_due: false,
            wakes_at: None,
            confirmed: BTreeSet::new(),
        }
    }

    pub fn is_alive(&self) -> bool {
        self.speaker.is_some()
    }

    pub(crate) fn begin(&mut self, speaker: Speaker) {
        self.end();
        (self.powered, self.pace) = (true, Pace::Quick);
        self.speaker = Some(speaker);
    }

    /// Another process has the sockets, and the pace at which they are read.
    pub(crate) fn go_on(&mut self, speaker: Speaker) {
        self.end();
        self.speaker = Some(speaker);
    }

    /// The process is gone, and all that only it knew.
    pub(crate) fn end(&mut self) {
        self.speaker = None;
        self.life += 1;
        self.attempts.clear();
        (self.poll_is_due, self.wakes_at, self.synced) = (false, None, false);
        self.confirmed.clear();
    }

    /// As the vRouter does: routes of an earlier process stay until the picture is whole.
    pub(crate) fn install(&mut self, event: FibEvent) {
        match event {
            FibEvent::Update(RouteUpdate { prefix, route: Some(route) }) => {
                self.confirmed.insert(prefix);
                self.fib.insert(prefix, route);
            }
            FibEvent::Update(RouteUpdate { prefix, route: None }) => {
                self.confirmed.remove(&prefix);
                self.fib.remove(&prefix);
            }
            FibEvent::Synced => {
                self.fib.retain(|prefix, _| self.confirmed.contains(prefix));
                self.synced = true;
            }
        }
    }
}
