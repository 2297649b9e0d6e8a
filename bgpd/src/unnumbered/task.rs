//! The task that looks after all interfaces with unnumbered peers.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    hash::{BuildHasher, RandomState},
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    select,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, info, warn};
use viaduct_net::{IfIndex, LinkLocal};

use super::{
    LinkState, Links, Neighbours,
    advertisement::Message,
    interfaces::{self, Changes, Interface},
    link::Link,
    socket::RouterSocket,
};

/// Beside the kernel's notifications, which can be lost.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Messages that wait to be looked at; what comes beyond is lost, and comes again.
const MAX_WAITING: usize = 64;

/// What the task is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) interfaces: BTreeSet<String>,
    /// Neighbours with a session.
    pub(super) established: BTreeSet<IpAddr>,
}

type Heard = (IfIndex, Message);

struct Watched {
    index: IfIndex,
    /// The last that we had; it may be away while the link is down.
    own: LinkLocal,
    state: LinkState,
    link: Link,
    socket: Arc<RouterSocket>,
    reader: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

pub(super) struct Task {
    wanted: watch::Receiver<Wanted>,
    links: watch::Sender<Arc<Links>>,
    watched: BTreeMap<String, Watched>,
    /// What is in the way of the others.
    problems: BTreeMap<String, String>,
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    /// Whom another process has heard, until the interface is opened.
    expected: Neighbours,
    random: RandomState,
}

impl Task {
    pub(super) fn new(
        wanted: watch::Receiver<Wanted>,
        links: watch::Sender<Arc<Links>>,
        expected: Neighbours,
    ) -> Self {
        Self {
            wanted,
            links,
            watched: BTreeMap::new(),
            problems: BTreeMap::new(),
            heard: mpsc::channel(MAX_WAITING),
            expected,
            random: RandomState::new(),
        }
    }

    /// What there is before anything is heard.
    pub(super) fn begin(&mut self) {
        self.look();
        self.tell();
    }

    /// Until nobody wants anything any more.
    pub(super) async fn run(mut self) {
        let changes = Changes::subscribe()
            .inspect_err(|error| warn!(%error, "no notifications of interfaces"))
            .ok();
        let mut tick = interval(POLL_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let timeout = self.watched.values().filter_map(|one| one.link.timeout()).min();
            select! {
                told = self.wanted.changed() => {
                    if told.is_err() {
                        return;
                    }
                    self.look();
                }
                Some((index, message)) = self.heard.1.recv() => self.hear(index, message),
                () = changed(changes.as_ref()) => self.look(),
                _ = tick.tick() => self.look(),
                () = until(timeout) => {}
            }
            self.speak();
            self.tell();
        }
    }

    /// Takes over what is wanted and what the kernel has.
    fn look(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        let now = Instant::now();
        let names = wanted.interfaces.iter().map(String::as_str);
        let there = match interfaces::read(names) {
            Ok(there) => there,
            Err(error) => return warn!(%error, "interfaces cannot be read"),
        };
        self.watched.retain(|name, one| {
            let stays = there.get(name).is_some_and(|interface| interface.index == one.index);
            if !stays {
                info!(interface = name, index = %one.index, "gone");
            }
            stays
        });
        self.problems.clear();
        for name in wanted.interfaces {
            let problem = match there.get(&name) {
                Some(interface) => self.see(&name, *interface, now).err(),
                None => Some("there is no such interface".to_owned()),
            };
            self.problems.extend(problem.map(|problem| (name, problem)));
        }
        for one in self.watched.values_mut() {
            let neighbour = one.neighbour();
            let has_session = neighbour.is_some_and(|one| wanted.established.contains(&one));
            one.link.set_session(has_session, now);
        }
    }

    /// One interface as it is now.
    fn see(&mut self, name: &str, interface: Interface, now: Instant) -> Result<(), String> {
        let Interface { index, runs, link_local, global } = interface;
        let own = link_local.and_then(|address| LinkLocal::new(address, index));
        if !self.watched.contains_key(name) {
            let own = own.ok_or("it has no link-local address yet")?;
            let opened = self.open(name, own, now);
            let mut watched = opened.map_err(|error| format!("ICMPv6: {error}"))?;
            let expected = self.expected.remove(name).and_then(LinkLocal::of);
            if let Some(known) = expected.filter(|known| known.interface() == index) {
                watched.link.expect(known.address(), now);
            }
            info!(interface = name, %index, address = %own.address(), "looking for a neighbour");
            self.watched.insert(name.to_owned(), watched);
        }
        let Some(one) = self.watched.get_mut(name) else { return Ok(()) };
        let is_up = runs && own.is_some();
        one.own = own.unwrap_or(one.own);
        one.state.global = if is_up { global } else { one.state.global };
        one.state.is_up = is_up;
        one.link.set_up(one.own.address(), is_up, now);
        match (runs, own) {
            (false, _) => Err("the interface is down".to_owned()),
            (true, None) => Err("it has no link-local address any more".to_owned()),
            (true, Some(_)) => Ok(()),
        }
    }

    fn open(&self, name: &str, own: LinkLocal, now: Instant) -> io::Result<Watched> {
        let index = own.interface();
        let socket = Arc::new(RouterSocket::open(name, index)?);
        let reader = tokio::spawn(read(socket.clone(), index, self.heard.0.clone()));
        let link = Link::new(own.address(), self.random.hash_one(own), now);
        let state = LinkState { own, global: None, is_up: false, neighbour: None, problem: None };
        Ok(Watched { index, own, state, link, socket, reader })
    }

    fn hear(&mut self, index: IfIndex, message: Message) {
        // From a link that is gone meanwhile, or a name that has another by now.
        if let Some(one) = self.watched.values_mut().find(|one| one.index == index) {
            one.link.handle(message, Instant::now());
        }
    }

    fn speak(&mut self) {
        let now = Instant::now();
        for (name, one) in &mut self.watched {
            while let Some(transmit) = one.link.poll(now) {
                if let Err(error) = one.socket.send(transmit) {
                    // It is tried again by itself.
                    debug!(interface = name, ?transmit, %error, "not sent");
                }
            }
        }
    }

    fn tell(&mut self) {
        for (name, one) in &mut self.watched {
            let neighbour = one.neighbour();
            if one.state.neighbour != neighbour {
                info!(interface = name, neighbour = ?one.link.neighbour(), "neighbour");
            }
            (one.state.own, one.state.neighbour) = (one.own, neighbour);
            one.state.problem = self.problems.get(name).cloned();
        }
        let links = Links {
            known: self
                .watched
                .iter()
                .map(|(name, one)| (name.clone(), one.state.clone()))
                .collect(),
            missing: self
                .problems
                .iter()
                .filter(|(name, _)| !self.watched.contains_key(*name))
                .map(|(name, problem)| (name.clone(), problem.clone()))
                .collect(),
        };
        self.links.send_if_modified(|told| {
            let differs = **told != links;
            if differs {
                *told = Arc::new(links);
            }
            differs
        });
    }
}

impl Watched {
    fn neighbour(&self) -> Option<IpAddr> {
        let address = self.link.neighbour()?;
        LinkLocal::new(address, self.index).map(LinkLocal::embedded)
    }
}

async fn read(socket: Arc<RouterSocket>, index: IfIndex, heard: mpsc::Sender<Heard>) {
    loop {
        match socket.receive().await {
            Ok(message) => drop(heard.try_send((index, message))),
            Err(error) => {
                // A link that goes down says so once.
                debug!(%index, %error, "ICMPv6");
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }
}

async fn changed(changes: Option<&Changes>) {
    match changes {
        Some(changes) => {
            if let Err(error) = changes.wait().await {
                warn!(%error, "notifications of interfaces");
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}
