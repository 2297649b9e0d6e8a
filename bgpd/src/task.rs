//! The one task that owns the speaker. It waits for everything and for nobody.

mod answers;
mod start;

use std::{
    collections::BTreeSet,
    future::pending,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bgp_bfd::Change;
use bgp_speaker::{Config, FibEvent, SessionCounts, Speaker, Stop};
use tokio::{
    select,
    sync::{mpsc, watch},
    time::sleep_until,
};
use tracing::info;
use viaduct_net::{LostNeighbours, Origination, Prefix, Route, Underlay, feed};

use crate::{
    bfd::Bfd,
    events::{EventWriter, LinkNames},
    handover::{Offer, Outcome},
    intake::{Input, Pace},
    listener::Listeners,
    monitor::Monitors,
    mrt,
    network::Network,
    outbox::Taken,
    readings::Readings,
    tcp::Means,
    unnumbered::Unnumbered,
};
pub(crate) use answers::Query;

/// Inputs that may wait for more. Those of a burst come behind them and are taken with them.
const MAX_GATHERED: usize = 16;
/// How long they may.
const GATHER_TIME: Duration = Duration::from_millis(10);

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

impl Task {
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
    /// each input costs as much as to take it. Not for long, for some of it may be urgent.
    fn gathers_until(&self) -> Option<Instant> {
        let until = self.speaker.coalesces_until()?;
        let rest = until.saturating_duration_since(Instant::now());
        let is_short = !rest.is_zero() && rest <= GATHER_TIME;
        (is_short && self.inputs.len() < MAX_GATHERED).then_some(until)
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
