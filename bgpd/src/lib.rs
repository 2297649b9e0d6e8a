//! The speaker's shell: sockets, the clock, and what the node wants to know.
//!
//! [`spawn`] starts one task that owns a [`bgp_speaker::Speaker`]; listeners and connections have
//! tasks of their own, joined to it by bounded channels, so that a slow peer slows nobody else.
//! What comes in are the latest values of configuration, originations and underlay; what goes out
//! are routes, merged by prefix.

mod bfd;
mod bmp;
pub mod config;
mod connection;
mod detail;
mod events;
mod handover;
mod intake;
mod listener;
mod metrics;
mod monitor;
mod mrt;
mod network;
mod outbox;
mod paths;
mod readings;
mod status;
mod task;
mod tcp;
mod trial;
mod unnumbered;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::Path,
    sync::Arc,
};

pub use bgp_speaker::{Config, SessionCounts, Stop};
pub use bmp::{Collector, Monitored};
pub use events::{EVENTS_KEPT, Events};
pub use handover::{BesideSockets, Predecessor, TakeoverError};
pub use monitor::{Monitoring, Recording};
pub use mrt::{Dump, DumpError, Replay};
pub use paths::PathQueryError;
pub use tcp::{NoTcpAo, probe_tcp_ao};
use tokio::sync::{mpsc, oneshot, watch};
pub use trial::{TrialError, trial};
use viaduct_api::admin::{
    BfdStatus, BgpPath, EventQuery, PathQuery, PeerDetail, PeerPolicy, PeerStatus, PolicyTrial,
    PolicyTrialQuery,
};
use viaduct_net::{LostNeighbours, Origination, Prefix, Route, Underlay, feed};

use crate::{
    events::EventLog,
    handover::{Beside, Offer},
    paths::Question,
    task::{Ends, Query, Task},
};

/// Questions that wait for the speaker.
const MAX_WAITING_QUERIES: usize = 64;

/// What a speaker is joined to.
pub struct Inputs {
    pub config: watch::Receiver<Arc<Config>>,
    /// The whole set of what this node announces. What is missing from it when a restarting
    /// speaker's start is complete is withdrawn from the peers, which have kept it until then: see
    /// [`Config::incomplete`].
    pub originations: watch::Receiver<BTreeSet<Origination>>,
    /// The whole underlay. Without a route to it no next hop is usable.
    pub underlay: watch::Receiver<Underlay>,
    /// What the FIB should hold, and when the first picture of it is complete; `None` for whoever does
    /// not forward.
    pub routes: Option<feed::Writer<Prefix, Option<Route>>>,
}

/// A running speaker. When the last handle is gone it ends as by a crash; use
/// [`Handle::shutdown`] to part from the peers in order.
#[derive(Clone, Debug)]
pub struct Handle {
    queries: mpsc::Sender<Query>,
    events: EventLog,
    offers: mpsc::Sender<Offer>,
    sessions: watch::Receiver<SessionCounts>,
    lost: watch::Receiver<LostNeighbours>,
    /// Says at the end whether another goes on.
    running: watch::Receiver<bool>,
}

/// Why there is no answer about the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    #[error(transparent)]
    Query(#[from] PathQueryError),
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// An answer about the table on its way. What was not asked for yet costs nothing.
#[derive(Debug)]
pub struct Paths {
    handle: Handle,
    /// `None` when all has been answered.
    question: Option<Question>,
}

impl Paths {
    /// Some more of the paths, a thousand at most; none yet where they are far between, `None` after the
    /// last.
    pub async fn next(&mut self) -> Result<Option<Vec<BgpPath>>, PathsError> {
        let Some(question) = self.question.take() else { return Ok(None) };
        let (paths, question) = self.handle.ask(|answer| Query::Paths(question, answer)).await??;
        self.question = Some(question).filter(|question| !question.is_answered());
        Ok(Some(paths))
    }
}

/// The speaker has ended and answers nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the speaker has ended")]
pub struct Ended;

/// Starts a speaker with the configuration there is. To be called within a tokio runtime.
pub fn spawn(inputs: Inputs) -> Handle {
    let (handle, ends, alive) = join();
    start(Task::new(inputs, ends), alive);
    handle
}

/// Starts a speaker that goes on in another's place, with the files that it replays
/// ([`Handle::replay`]): the routes of those that the other has replayed stay meanwhile. After an error the
/// other goes on, or has given way to an ordinary start, as the error says.
pub async fn spawn_after(
    predecessor: Predecessor,
    inputs: Inputs,
    replays: Vec<Replay>,
) -> Result<Handle, TakeoverError> {
    let (handle, ends, alive) = join();
    start(Task::after(predecessor, inputs, replays, ends).await?, alive);
    Ok(handle)
}

fn join() -> (Handle, Ends, watch::Sender<bool>) {
    let (sender, queries) = mpsc::channel(MAX_WAITING_QUERIES);
    let (offered, offers) = mpsc::channel(1);
    let (alive, running) = watch::channel(false);
    let (counts, sessions) = watch::channel(SessionCounts::default());
    let (losses, lost) = watch::channel(LostNeighbours::default());
    let (writer, events) = events::log();
    let handle = Handle { queries: sender, offers: offered, events, sessions, lost, running };
    (handle, Ends { queries, offers, sessions: counts, lost: losses, events: writer }, alive)
}

fn start(task: Task, alive: watch::Sender<bool>) {
    tokio::spawn(async move {
        alive.send_replace(task.run().await);
    });
}

impl Handle {
    /// Every configured peer, by address.
    pub async fn peers(&self) -> Result<Vec<PeerStatus>, Ended> {
        let mut peers = self.ask(Query::Peers).await?;
        let sessions = self.bfd().await?.sessions;
        let states: BTreeMap<_, _> =
            sessions.into_iter().map(|one| ((one.peer, one.interface), one.state)).collect();
        for peer in &mut peers {
            peer.bfd = states.get(&(peer.address, peer.interface.clone())).cloned();
        }
        Ok(peers)
    }

    /// The BFD sessions with peers, by address.
    pub async fn bfd(&self) -> Result<BfdStatus, Ended> {
        self.ask(Query::Bfd).await
    }

    /// What keeps sessions and BFD from working on this machine, in words an operator can act upon.
    pub async fn problems(&self) -> Result<Vec<String>, Ended> {
        let mut problems = status::problems(&*self.ask(Query::Config).await?);
        problems.extend(self.bfd().await?.problems);
        Ok(problems)
    }

    /// One peer in full; `None` where there is none at the address.
    pub async fn peer(&self, address: IpAddr) -> Result<Option<PeerDetail>, Ended> {
        self.ask(|answer| Query::Peer(address, answer)).await
    }

    /// The rules that hold for each peer, or for one of them.
    pub async fn policies(&self, only: Option<IpAddr>) -> Result<Vec<PeerPolicy>, Ended> {
        let all = self.ask(|answer| Query::Policies(only, answer)).await?;
        // Not in the speaker's task: the lists of all peers may be long.
        Ok(all.into_iter().map(detail::policy).collect())
    }

    /// What a policy of a peer makes of a route, which need not be there.
    pub async fn policy_trial(&self, query: &PolicyTrialQuery) -> Result<PolicyTrial, TrialError> {
        let ground = self.ask(|answer| Query::TrialGround(query.clone(), answer)).await??;
        // Not in the speaker's task.
        ground.trial(query)
    }

    /// The paths that are asked for, to be taken step by step.
    pub fn paths(&self, query: &PathQuery) -> Result<Paths, PathQueryError> {
        Ok(Paths { handle: self.clone(), question: Some(query.try_into()?) })
    }

    /// Every path of every prefix, in order and the best first, with what decided against the others.
    /// All of it is held in memory.
    pub async fn routes(&self) -> Result<Vec<BgpPath>, PathsError> {
        let mut all = Vec::new();
        let mut paths = self.paths(&PathQuery::default())?;
        while let Some(some) = paths.next().await? {
            all.extend(some);
        }
        all.sort_by_key(|path| (path.prefix, !path.best));
        Ok(all)
    }

    /// What has happened, and with [`EventQuery::follow`] what is going to.
    pub fn events(&self, query: &EventQuery) -> Events {
        self.events.read(query)
    }

    /// How many sessions there are, as it changes.
    pub fn sessions(&self) -> watch::Receiver<SessionCounts> {
        self.sessions.clone()
    }

    /// The neighbours that cannot be reached, as it changes: see [`bgp_speaker::Speaker::lost_neighbours`].
    pub fn lost(&self) -> watch::Receiver<LostNeighbours> {
        self.lost.clone()
    }

    /// Metrics in the text format of Prometheus.
    pub async fn metrics(&self) -> Result<String, Ended> {
        let speaker = self.ask(Query::Metrics).await?;
        Ok(speaker + &bfd::metrics(&self.bfd().await?))
    }

    /// The table as a file of MRT (RFC 6396 §4.3), to be taken piece by piece.
    pub fn dump(&self) -> Dump {
        Dump::new(self.clone())
    }

    /// The file that the configuration comes from was read: with these errors, and then it stays as it
    /// was, or with none. Told among the events.
    pub async fn note_reading(&self, errors: Vec<String>) -> Result<(), Ended> {
        self.queries.send(Query::Reading(errors)).await.or(Err(Ended))
    }

    /// Who is to watch from now on, and nobody else.
    pub async fn monitor(&self, monitoring: Monitoring) -> Result<(), Ended> {
        self.queries.send(Query::Monitor(monitoring)).await.or(Err(Ended))
    }

    /// The files whose routes the speaker is to have, and no others. A file that is already being
    /// replayed goes on.
    pub async fn replay(&self, replays: Vec<Replay>) -> Result<(), Ended> {
        self.queries.send(Query::Replay(replays)).await.or(Err(Ended))
    }

    pub(crate) async fn table_peers(&self) -> Result<Vec<mrt::TablePeer>, Ended> {
        self.ask(Query::TablePeers).await
    }

    pub(crate) async fn table_page(&self, from: u32) -> Result<mrt::TablePage, Ended> {
        self.ask(|answer| Query::TablePage(from, answer)).await
    }

    /// Parts from all peers and waits until they have been told, a second or so at most.
    pub async fn shutdown(&self, stop: Stop) {
        // Where the speaker has ended there is nothing left to be shut down.
        drop(self.queries.send(Query::Shutdown(stop)).await);
        self.ended().await;
    }

    /// Waits until the speaker has ended, whatever the reason.
    pub async fn ended(&self) {
        let mut running = self.running.clone();
        // The error is the end.
        while running.changed().await.is_ok() {}
    }

    /// Whether it has ended because another process has gone on in its place.
    pub fn was_handed_over(&self) -> bool {
        *self.running.borrow()
    }

    /// Lets a process of the same user that asks at `path` go on in our place: see [`Predecessor::find`].
    /// To be called within a tokio runtime.
    pub fn offer(&self, path: &Path) -> io::Result<()> {
        self.offer_beside(path, || Ok(BesideSockets::new()))
    }

    /// The same, and gives it copies of other sockets of this process with the sessions, as they are
    /// then. Should it not go on after all, it has not read from them.
    pub fn offer_beside(
        &self,
        path: &Path,
        beside: impl Fn() -> io::Result<BesideSockets> + Send + Sync + 'static,
    ) -> io::Result<()> {
        let listener = handover::bind(path)?;
        let beside = Beside(Arc::new(beside));
        tokio::spawn(handover::listen(listener, beside, self.offers.clone()));
        Ok(())
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Ended> {
        let (sender, answer) = oneshot::channel();
        self.queries.send(query(sender)).await.or(Err(Ended))?;
        answer.await.or(Err(Ended))
    }
}
