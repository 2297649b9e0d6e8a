//! The one task that owns the speaker. It waits for everything and for nobody.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bgp_bfd::Change;
use bgp_speaker::{Adopted, Config, FibEvent, SessionCounts, Speaker, Stop, Successor};
use bytes::Bytes;
use tokio::{
    net::TcpStream,
    select,
    sync::{mpsc, oneshot, watch},
    time::sleep_until,
};
use tracing::info;
use viaduct_api::admin::{BfdStatus, BgpPath, PeerDetail, PeerStatus, PolicyTrialQuery};
use viaduct_net::{LostNeighbours, Origination, Prefix, Route, Underlay, feed};

use crate::{
    Inputs, Monitoring, PathQueryError, Replay,
    bfd::Bfd,
    connection::{Ears, Paused},
    detail,
    events::{EventWriter, LinkNames},
    handover::{Committed, Offer, Outcome, Predecessor, TakeoverError, commit, decline},
    intake::{Input, MAX_WAITING_INPUTS, Pace},
    listener::Listeners,
    metrics,
    monitor::Monitors,
    mrt,
    network::Network,
    outbox::Taken,
    paths::Question,
    readings::Readings,
    status,
    tcp::Means,
    trial::{self, TrialError},
    unnumbered::Unnumbered,
};

/// Inputs that may wait for more. Those of a burst come behind them and are taken with them.
const MAX_GATHERED: usize = 16;

/// Questions answered before the next inputs, some two milliseconds each at worst.
const MAX_ANSWERS: usize = 4;

pub(crate) type PathsAnswer = Result<(Vec<BgpPath>, Question), PathQueryError>;

/// What a [`crate::Handle`] asks.
#[derive(Debug)]
pub(crate) enum Query {
    Peers(oneshot::Sender<Vec<PeerStatus>>),
    Bfd(oneshot::Sender<BfdStatus>),
    Peer(IpAddr, oneshot::Sender<Option<PeerDetail>>),
    Policies(Option<IpAddr>, oneshot::Sender<Vec<detail::Policies>>),
    /// With the neighbours that were found on interfaces.
    Config(oneshot::Sender<Arc<Config>>),
    /// What a trial takes place on.
    TrialGround(PolicyTrialQuery, oneshot::Sender<Result<trial::Ground, TrialError>>),
    /// A step of an answer, and the question as it stands after it.
    Paths(Question, oneshot::Sender<PathsAnswer>),
    Metrics(oneshot::Sender<String>),
    /// No question: what was wrong with the configuration as it was read.
    Reading(Vec<String>),
    TablePeers(oneshot::Sender<Vec<mrt::TablePeer>>),
    TablePage(u32, oneshot::Sender<mrt::TablePage>),
    Monitor(Monitoring),
    Replay(Vec<Replay>),
    Shutdown(Stop),
}

/// The task's ends of what joins it to its [`crate::Handle`].
pub(crate) struct Ends {
    pub(crate) queries: mpsc::Receiver<Query>,
    pub(crate) offers: mpsc::Receiver<Offer>,
    pub(crate) sessions: watch::Sender<SessionCounts>,
    pub(crate) lost: watch::Sender<LostNeighbours>,
    pub(crate) events: EventWriter,
}

pub(crate) struct Task {
    pub(crate) speaker: Speaker,
    pub(crate) network: Network,
    pub(crate) bfd: Bfd,
    pub(crate) listeners: Listeners,
    pub(crate) unnumbered: Unnumbered,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) taken: mpsc::UnboundedReceiver<Taken>,
    /// When the last octets were read that were taken.
    pub(crate) heard: Instant,
    pace: Pace,
    means: Means,
    offers: mpsc::Receiver<Offer>,
    queries: mpsc::Receiver<Query>,
    sessions: watch::Sender<SessionCounts>,
    lost: watch::Sender<LostNeighbours>,
    events: EventWriter,
    link_names: LinkNames,
    readings: Readings,
    config: watch::Receiver<Arc<Config>>,
    /// The same with the neighbours that were found on interfaces, and those held down whom the kernel
    /// has no means for.
    effective: watch::Sender<Arc<Config>>,
    originations: watch::Receiver<BTreeSet<Origination>>,
    underlay: watch::Receiver<Underlay>,
    routes: Option<feed::Writer<Prefix, Option<Route>>>,
    pub(crate) monitors: Monitors,
    pub(crate) replays: mrt::Replays,
}

/// What is begun with before a task is one.
struct Parts {
    means: Means,
    speaker: Speaker,
    network: Network,
    bfd: Bfd,
    listeners: Listeners,
    unnumbered: Unnumbered,
    effective: watch::Sender<Arc<Config>>,
}

/// Where the task hears what [`Ears`] have been told.
type Mouths = (mpsc::Receiver<Input>, mpsc::UnboundedReceiver<Taken>);

fn channels() -> (Ears, Mouths) {
    let (inputs, waiting) = mpsc::channel(MAX_WAITING_INPUTS);
    let (told, taken) = mpsc::unbounded_channel();
    (Ears { inputs, taken: told }, (waiting, taken))
}

impl Task {
    pub(crate) fn new(outside: Inputs, ends: Ends) -> Self {
        let Inputs { mut config, mut originations, mut underlay, routes } = outside;
        let (ears, mouths) = channels();
        let now = Instant::now();
        let first = config.borrow_and_update().clone();
        let mut unnumbered = Unnumbered::default();
        unnumbered.update(&first);
        let means = Means::probe();
        let first = unnumbered.links().configure(&means.hold_down(&first));
        let (effective, followed) = watch::channel(first.clone());
        let mut listeners = Listeners::new(ears.inputs.clone(), followed);
        listeners.update(&first);
        let mut speaker = Speaker::new(first.clone(), seed(&first), now);
        if routes.is_none() {
            speaker.without_fib();
        }
        speaker.handle_underlay(&underlay.borrow_and_update(), now);
        speaker.handle_originations(&originations.borrow_and_update(), now);
        let network = Network::new(ears.clone());
        let outside = Inputs { config, originations, underlay, routes };
        let bfd = Bfd::new();
        let parts = Parts { means, speaker, network, bfd, listeners, unnumbered, effective };
        Self::assemble(parts, (ears.inputs, mouths), outside, ends)
    }

    fn assemble(
        parts: Parts,
        (sender, (inputs, taken)): (mpsc::Sender<Input>, Mouths),
        outside: Inputs,
        ends: Ends,
    ) -> Self {
        let Parts { means, speaker, network, bfd, listeners, unnumbered, effective } = parts;
        let Inputs { config, originations, underlay, routes } = outside;
        let Ends { queries, offers, sessions, lost, events } = ends;
        Self {
            speaker,
            network,
            monitors: Monitors::new(sender.clone()),
            replays: mrt::Replays::new(sender),
            bfd,
            listeners,
            unnumbered,
            inputs,
            taken,
            heard: Instant::now(),
            pace: Pace::default(),
            means,
            offers,
            queries,
            sessions,
            lost,
            events,
            link_names: LinkNames::default(),
            readings: Readings::default(),
            config,
            effective,
            originations,
            underlay,
            routes,
        }
    }

    /// Goes on in another's place.
    pub(crate) async fn after(
        predecessor: Predecessor,
        outside: Inputs,
        replays: Vec<Replay>,
        ends: Ends,
    ) -> Result<Self, TakeoverError> {
        let Inputs { mut config, mut originations, mut underlay, routes } = outside;
        let (ears, mouths) = channels();
        let now = Instant::now();
        let Predecessor {
            channel,
            listeners: listening,
            neighbours,
            watching,
            connections,
            handover,
            // Whoever wants them has taken them.
            beside: _,
        } = predecessor;
        let mut unnumbered = Unnumbered::default();
        unnumbered.take_over(&config.borrow_and_update(), neighbours)?;
        let means = Means::probe();
        let first = unnumbered.links().configure(&means.hold_down(&config.borrow()));
        let (effective, followed) = watch::channel(first.clone());
        let mut network = Network::new(ears.clone());
        let (mut adopted, mut paused) = (BTreeMap::new(), Vec::new());
        for (peer, received) in connections {
            let conn = network.reserve();
            received.stream.set_nonblocking(true)?;
            let unwritten: VecDeque<Bytes> =
                received.unwritten.into_iter().map(Bytes::from).collect();
            let count = unwritten.iter().map(Bytes::len).sum();
            adopted.insert(peer, Adopted { conn, unwritten: count });
            let stream = TcpStream::from_std(received.stream)?;
            paused.push((peer, conn, Paused { stream, unwritten }));
        }
        let first_underlay = unnumbered.links().lie_under(&underlay.borrow_and_update());
        let first_originations = originations.borrow_and_update().clone();
        let successor = Successor {
            config: first.clone(),
            underlay: &first_underlay,
            originations: &first_originations,
            sources: replays.iter().map(Replay::source).collect(),
            forwards: routes.is_some(),
            connections: adopted,
            seed: seed(&first),
        };
        let mut speaker = match Speaker::taken_over(handover, successor, now) {
            Ok(speaker) => speaker,
            Err(error) => return Err(decline(channel, error).await),
        };
        let Committed { channel, mut said, watched } = commit(channel).await?;
        // From here on it is all ours.
        let bfd = match watching {
            Some(sockets) => Bfd::after(watched, sockets),
            None => Bfd::new(),
        };
        drop(channel);
        let mut listeners = Listeners::new(ears.inputs.clone(), followed);
        listeners.adopt(listening)?;
        listeners.update(&first);
        let now = Instant::now();
        for (peer, conn, mut paused) in paused {
            if let Some(said) = said.remove(&peer) {
                speaker.handle_written(conn, said.written, now);
                said.leave(&mut paused.unwritten);
            }
            network.resume(conn, paused);
        }
        // It has taken a while to get here.
        speaker.handle_resume(now);
        let outside = Inputs { config, originations, underlay, routes };
        let parts = Parts { means, speaker, network, bfd, listeners, unnumbered, effective };
        let mut task = Self::assemble(parts, (ears.inputs, mouths), outside, ends);
        task.replays.set(replays, &mut task.speaker);
        Ok(task)
    }

    /// Runs until it is shut down, or until every handle is gone: then it ends as if it had
    /// crashed, and peers keep our routes for the restart time. Gives whether another goes on.
    pub(crate) async fn run(mut self) -> bool {
        loop {
            self.take_taken();
            self.pump();
            if let Some(stop) = self.answer_waiting() {
                self.shutdown(&stop).await;
                break false;
            }
            // Whatever else waits: BFD is there to be quick.
            while let Some(event) = self.bfd.try_event() {
                self.take_bfd(event);
                self.pump();
            }
            let deadline = self.speaker.poll_timeout().map(|deadline| deadline.at);
            let report = self.monitors.bmp.deadline();
            let held = self.pace.until(self.speaker.unread(), Instant::now());
            let held = held.or_else(|| self.gathers_until());
            select! {
                Some(input) = self.inputs.recv(), if held.is_none() => self.take_inputs(input),
                () = until(held), if held.is_some() => {}
                Some(taken) = self.taken.recv() => self.note_taken(&taken),
                query = self.queries.recv() => {
                    let Some(query) = query else { break false };
                    if let Some(stop) = self.answer(query) {
                        self.shutdown(&stop).await;
                        break false;
                    }
                }
                Some(offer) = self.offers.recv() => match self.hand_over(offer).await {
                    Outcome::Stays => {}
                    Outcome::HandedOver => break true,
                    Outcome::GivesWay(_waits_until_then) => {
                        self.shutdown(&Stop::Restart).await;
                        break true;
                    }
                },
                event = self.bfd.event() => self.take_bfd(event),
                () = changed(&mut self.config) => {
                    self.unnumbered.update(&self.config.borrow_and_update());
                    self.configure();
                    self.lie_on_links();
                }
                () = self.unnumbered.changed() => {
                    self.configure();
                    self.lie_on_links();
                }
                () = changed(&mut self.originations) => {
                    let originations = self.originations.borrow_and_update();
                    self.speaker.handle_originations(&originations, Instant::now());
                }
                () = changed(&mut self.underlay) => {
                    self.lie_on_links();
                }
                () = until(report) => self.monitors.bmp.report(&self.speaker, Instant::now()),
                () = until(deadline) => self.expire(),
            }
        }
    }

    /// While what has changed waits for more, what comes may as well wait where it is: to be woken for
    /// each input costs as much as to take it.
    fn gathers_until(&self) -> Option<Instant> {
        let until = self.speaker.coalesces_until()?;
        (self.inputs.len() < MAX_GATHERED && until > Instant::now()).then_some(until)
    }

    /// Takes over the configuration, with who was found on interfaces.
    fn configure(&mut self) {
        let within_means = self.means.hold_down(&self.config.borrow());
        let config = self.unnumbered.links().configure(&within_means);
        self.effective.send_replace(config.clone());
        self.listeners.update(&config);
        self.speaker.handle_config(config, Instant::now());
    }

    /// Takes over the underlay, with the links of unnumbered peers.
    fn lie_on_links(&mut self) {
        let underlay = self.unnumbered.links().lie_under(&self.underlay.borrow_and_update());
        self.speaker.handle_underlay(&underlay, Instant::now());
    }

    pub(crate) fn take_bfd(&mut self, bgp_bfd::Event { session, change }: bgp_bfd::Event) {
        let now = Instant::now();
        match change {
            Change::Up => self.speaker.handle_bfd_up(session, now),
            Change::Down { reason, control_plane_independent } => {
                self.speaker.handle_bfd_down(session, reason, control_plane_independent, now);
            }
        }
    }

    /// Does all that the speaker wants by now.
    pub(crate) fn pump(&mut self) {
        // First: all else can wait longer than new flows to where nobody is.
        self.tell_lost();
        loop {
            while let Some(action) = self.speaker.poll_action() {
                if let Some(full) = self.network.act(action) {
                    let why = "too much waits to be written";
                    self.speaker.handle_closed(full, why, Instant::now());
                }
            }
            // Whoever has taken all may be told more.
            let taken = self.network.flush();
            if taken.is_empty() {
                break;
            }
            let now = Instant::now();
            taken
                .into_iter()
                .for_each(|(conn, count)| self.speaker.handle_written(conn, count, now));
        }
        while let Some(event) = self.speaker.poll_fib() {
            let Some(routes) = &self.routes else { continue };
            match event {
                FibEvent::Update(update) => routes.set(update.prefix, update.route),
                FibEvent::Synced => {
                    info!("first picture complete");
                    routes.synced();
                }
            }
        }
        self.bfd.pump();
        if let Some(sessions) = self.speaker.poll_bfd() {
            self.bfd.configure(sessions);
        }
        self.tell_events();
        self.monitors.observe(&mut self.speaker, &self.network);
        self.unnumbered.tell_sessions(&self.effective.borrow(), &self.speaker);
        let counts = self.speaker.session_counts();
        self.sessions.send_if_modified(|told| std::mem::replace(told, counts) != counts);
    }

    fn tell_lost(&mut self) {
        let lost = self.speaker.lost_neighbours();
        self.lost.send_if_modified(|told| {
            let differs = **told != lost;
            if differs {
                *told = Arc::new(lost);
            }
            differs
        });
    }

    fn tell_events(&mut self) {
        let events = std::iter::from_fn(|| self.speaker.poll_event());
        self.link_names.follow(&self.effective.borrow());
        self.events.write(events, &self.link_names, SystemTime::now());
    }

    async fn shutdown(&mut self, stop: &Stop) {
        info!(?stop, "stopping");
        self.speaker.shutdown(stop, Instant::now());
        self.pump();
        self.drain().await;
        // Behind the end of the sessions: to whoever keeps our routes it is a restart by then, and not
        // the operator's word that BFD is over.
        self.bfd.stop().await;
    }

    async fn drain(&mut self) {
        let (network, monitors) = (&mut self.network, &mut self.monitors);
        let mut drained = pin!(async { tokio::join!(network.drained(), monitors.bmp.part()) });
        loop {
            select! {
                ((), ()) = &mut drained => return,
                // Nobody may have to wait for us before it can say its last words.
                Some(_) = self.inputs.recv() => {}
            }
        }
    }

    /// In a storm of inputs questions have their turn all the same.
    fn answer_waiting(&mut self) -> Option<Stop> {
        for _ in 0..MAX_ANSWERS {
            let stop = self.queries.try_recv().ok().and_then(|query| self.answer(query));
            if stop.is_some() {
                return stop;
            }
        }
        None
    }

    /// Whoever has asked and gone needs no answer. Gives how to stop where that is what is asked.
    fn answer(&mut self, query: Query) -> Option<Stop> {
        let now = Instant::now();
        // What is shown is what peers are about to be told.
        self.speaker.decide(now);
        match query {
            Query::Peers(answer) => {
                drop(answer.send(status::peers(&self.speaker, &self.unnumbered.links(), now)))
            }
            Query::Peer(address, answer) => {
                let address = status::known_as(self.speaker.config(), address);
                let detail = self.speaker.peer_detail(address, now);
                drop(answer.send(detail.as_ref().map(detail::peer)));
            }
            Query::Policies(only, answer) => {
                drop(answer.send(detail::policies(&self.speaker, only)));
            }
            Query::Config(answer) => drop(answer.send(self.speaker.config().clone())),
            Query::TrialGround(query, answer) => {
                drop(answer.send(trial::Ground::of(&mut self.speaker, &query)));
            }
            Query::Bfd(answer) => self.bfd.report(answer),
            Query::Paths(mut question, answer) => {
                let paths = question.step(&self.speaker);
                drop(answer.send(paths.map(|paths| (paths, question))));
            }
            Query::Metrics(answer) => {
                let monitors = self.monitors.counts();
                let mut text = metrics::text(&self.speaker, monitors, now);
                self.readings.metrics(&mut text);
                drop(answer.send(text));
            }
            Query::Reading(errors) => {
                if let Some(what) = self.readings.note(errors) {
                    self.speaker.note(what);
                    // Nothing else may come for long.
                    self.tell_events();
                }
            }
            Query::TablePeers(answer) => drop(answer.send(mrt::peers(&self.speaker))),
            Query::TablePage(from, answer) => drop(answer.send(mrt::page(&self.speaker, from))),
            Query::Monitor(monitoring) => self.monitors.set(monitoring, &mut self.speaker),
            Query::Replay(replays) => self.replays.set(replays, &mut self.speaker),
            Query::Shutdown(stop) => return Some(stop),
        }
        None
    }
}

/// Every RandomState has keys of its own: a seed without another dependency.
fn seed(config: &Config) -> u64 {
    RandomState::new().hash_one(config.router_id)
}

/// Waits for a value that was not seen yet; for ever once nobody can send one.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        pending().await
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}
