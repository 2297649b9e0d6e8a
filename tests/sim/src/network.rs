//! The network: one queue of events, and what each of them does.

mod deliver;
mod drive;
mod replace;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bgp_speaker::{Config, Speaker, Stop};
use viaduct_net::{IfIndex, OriginSource, Origination, Prefix, Underlay, UnderlayRoute};

use crate::{
    Dice, NodeId, Topology, Trace,
    connection::{End, Packet},
    node::Node,
};

/// What lies between two nodes, the same both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub delay: Duration,
    /// At most so much more, for each packet anew.
    pub jitter: Duration,
    /// Of a thousand packets so many are lost, and sent again after a while.
    pub loss: u16,
    /// Nothing gets through, and nobody is told.
    pub cut: bool,
}

impl Default for Link {
    fn default() -> Self {
        let (delay, jitter) = (Duration::from_millis(1), Duration::from_micros(500));
        Self { delay, jitter, loss: 0, cut: false }
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// An attempt to connect has reached the other, or come back from it.
    Attempt {
        node: NodeId,
        life: u32,
        to: IpAddr,
        attempt: u64,
    },
    Arrive {
        conn: u64,
        packet: Packet,
    },
    Read {
        conn: u64,
    },
    Written {
        conn: u64,
        count: usize,
    },
    Reset {
        conn: u64,
    },
    /// A process looks at what is to be done.
    Poll {
        node: NodeId,
        life: u32,
    },
    Timer {
        node: NodeId,
        life: u32,
    },
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    /// Of those at one time the first made is the first.
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Machines, what is between them, and a clock that only events move.
#[derive(Debug)]
pub struct Network {
    pub topology: Topology,
    pub nodes: Vec<Node>,
    pub trace: Trace,
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// By the number of the connection; the other end's is the same but for the last bit.
    ends: BTreeMap<u64, End>,
    queue: BinaryHeap<Reverse<Entry>>,
    dice: Dice,
    epoch: Instant,
    now: Duration,
    numbers: u64,
}

impl Network {
    /// All machines stand, and no process runs.
    pub fn new(topology: Topology, seed: u64) -> Self {
        let nodes = topology.nodes.iter().map(|plan| Node::new(plan.originations.clone()));
        Self {
            nodes: nodes.collect(),
            topology,
            trace: Trace::default(),
            links: BTreeMap::new(),
            ends: BTreeMap::new(),
            queue: BinaryHeap::new(),
            dice: Dice::new(seed),
            epoch: Instant::now(),
            now: Duration::ZERO,
            numbers: 0,
        }
    }

    pub const fn now(&self) -> Duration {
        self.now
    }

    /// The same as a speaker's clock shows it.
    pub fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    /// Starts a process; `restarting`: it knows that routes of an earlier one are in the kernel.
    pub fn start(&mut self, node: NodeId, restarting: bool) {
        let config = Arc::new(self.topology.config(node, restarting));
        let now = self.instant();
        let mut speaker = Speaker::new(config, self.dice.throw(), now);
        speaker.handle_underlay(&underlay(), now);
        self.nodes[node].begin(speaker);
        self.originate(node);
    }

    pub fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.start(node, false));
    }

    /// Ends a process without a word of BGP; the kernel closes its connections, and keeps its routes.
    pub fn kill(&mut self, node: NodeId) {
        self.nodes[node].end();
        self.ends_of(node).into_iter().for_each(|conn| self.close(conn));
    }

    /// The process goes in an orderly way.
    pub fn stop(&mut self, node: NodeId, stop: &Stop) {
        let now = self.instant();
        if let Some(speaker) = &mut self.nodes[node].speaker {
            speaker.shutdown(stop, now);
            self.poll(node);
            self.kill(node);
        }
    }

    /// The machine is dark: nobody is told, and its kernel forgets everything.
    pub fn unplug(&mut self, node: NodeId) {
        self.nodes[node].end();
        self.nodes[node].powered = false;
        self.nodes[node].fib.clear();
        for conn in self.ends_of(node) {
            self.ends.remove(&conn);
        }
    }

    pub fn configure(&mut self, node: NodeId, config: Config) {
        let now = self.instant();
        if let Some(speaker) = &mut self.nodes[node].speaker {
            speaker.handle_config(Arc::new(config), now);
            self.wake(node);
        }
    }

    /// Says to the process what it is to announce.
    pub fn originate(&mut self, node: NodeId) {
        let now = self.instant();
        let place = &mut self.nodes[node];
        if let Some(speaker) = &mut place.speaker {
            speaker.handle_originations(&originated(&place.originations), now);
            self.wake(node);
        }
    }

    /// Whether the kernel of a node has a way to its neighbours.
    pub fn set_uplink(&mut self, node: NodeId, up: bool) {
        let now = self.instant();
        if let Some(speaker) = &mut self.nodes[node].speaker {
            speaker.handle_underlay(&if up { underlay() } else { Underlay::from([]) }, now);
            self.wake(node);
        }
    }

    pub fn link(&self, a: NodeId, b: NodeId) -> Link {
        self.links.get(&(a.min(b), a.max(b))).copied().unwrap_or_default()
    }

    /// What was held back goes on its way where there is one again.
    pub fn set_link(&mut self, a: NodeId, b: NodeId, link: Link) {
        self.links.insert((a.min(b), a.max(b)), link);
        if !link.cut {
            for conn in self.between(a, b) {
                self.transmit(conn);
            }
        }
    }

    pub fn set_pace(&mut self, node: NodeId, pace: crate::Pace) {
        self.nodes[node].pace = pace;
        for conn in self.ends_of(node) {
            self.plan_read(conn);
        }
    }

    /// Ends the connections between two nodes as a middlebox does that has forgotten them.
    pub fn reset(&mut self, a: NodeId, b: NodeId) {
        for conn in self.between(a, b) {
            self.after(Duration::ZERO, Event::Reset { conn });
        }
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.queue.peek().is_some_and(|Reverse(entry)| entry.at <= end) {
            let Some(Reverse(Entry { at, event, .. })) = self.queue.pop() else { break };
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    fn ends_of(&self, node: NodeId) -> Vec<u64> {
        self.ends.iter().filter(|(_, end)| end.node == node).map(|(conn, _)| *conn).collect()
    }

    fn between(&self, a: NodeId, b: NodeId) -> Vec<u64> {
        let is_between = |end: &End| {
            (end.node, end.other_node) == (a, b) || (end.node, end.other_node) == (b, a)
        };
        self.ends.iter().filter(|(_, end)| is_between(end)).map(|(conn, _)| *conn).collect()
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn after(&mut self, delay: Duration, event: Event) {
        let (at, number) = (self.now + delay, self.number());
        self.queue.push(Reverse(Entry { at, number, event }));
    }
}

fn originated(prefixes: &BTreeSet<Prefix>) -> BTreeSet<Origination> {
    let of = |prefix: &_| Origination { prefix: *prefix, source: OriginSource::Block };
    prefixes.iter().map(of).collect()
}

/// Everybody is on link with everybody.
fn underlay() -> Underlay {
    let on_link = |prefix: &str| UnderlayRoute {
        prefix: prefix.parse().unwrap(),
        gateway: None,
        interface: IfIndex(2),
        metric: 0,
    };
    Underlay::from([on_link("172.16.0.0/12"), on_link("2001:db8::/64")])
}
