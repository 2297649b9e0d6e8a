//! The vRouter of a node: it keeps the kernel's routes what BGP, blocks and pods want them to be.
//!
//! One OS thread of its own does the work, because netlink requests block: neither do they hold up
//! the rest of the daemon, nor can the rest of the daemon hold up the mending of a route. It is
//! level-triggered: whatever happens, the way on is to look at the kernel, to take the difference
//! and to apply it. When it stops it leaves everything as it is, for the next one to adopt.

mod counters;
mod daemon;
mod nat;
mod problems;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;
use viaduct_net::{NextHop, Prefix, Route, Underlay, feed};

pub use counters::CounterValues;
pub use vrouter_kernel::{KernelError, masquerade::Masquerade};
pub use vrouter_plan::RouteRow;

use counters::Counters;
use daemon::{Daemon, Query};

/// Questions waiting for an answer; the asker waits when there are more.
const QUERIES_MAX: usize = 64;

#[derive(Clone, Debug)]
pub struct Config {
    /// Interfaces that lead to other nodes. Their reverse path filter is made loose where it is
    /// strict; nothing else is asked of them.
    pub uplinks: Vec<String>,
    /// RTA_PROTOCOL of our routes: what tells them from those of others, and what they are adopted
    /// by after a restart.
    pub protocol: u8,
    /// How often everything is looked at although nothing was heard.
    pub audit_interval: Duration,
    /// Until this is true another process may still change routes: they are looked at, and none is
    /// touched. `None` where there is no other.
    pub turn: Option<watch::Receiver<bool>>,
}

impl Default for Config {
    fn default() -> Self {
        let audit_interval = Duration::from_secs(30);
        Self { uplinks: Vec::new(), protocol: 86, audit_interval, turn: None }
    }
}

/// What this node itself has that needs routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalState {
    /// Blocks of pod addresses that belong to this node: each gets a blackhole, so that what no
    /// pod has does not travel in circles.
    pub blocks: BTreeSet<Prefix>,
    /// Host prefix of a pod to the name of its interface on the host.
    pub pods: BTreeMap<Prefix, String>,
    pub masquerade: Masquerade,
    /// Whether all of this is known. Until then nothing of it is removed from the kernel, where a
    /// former daemon may have left more.
    pub complete: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error("cannot listen to the kernel's notifications: {0}")]
    Monitor(io::Error),
    #[error("cannot start the thread of the vRouter: {0}")]
    Thread(io::Error),
}

/// A running vRouter.
#[derive(Clone, Debug)]
pub struct Handle {
    underlay: watch::Receiver<Underlay>,
    queries: mpsc::Sender<Query>,
    counters: Arc<Counters>,
}

/// Starts the vRouter in the network namespace of this thread, once that has been made a router
/// and was looked at: the underlay is there from the first moment. Blocks for some milliseconds.
///
/// It ends with `shutdown`, and then leaves the kernel as it is; so it does with the routes when
/// the writer of `routes` goes away.
pub fn spawn(
    config: Config,
    routes: feed::Reader<Prefix, Option<Route>>,
    local: watch::Receiver<Arc<LocalState>>,
    shutdown: CancellationToken,
) -> Result<Handle, SpawnError> {
    vrouter_kernel::prepare(&config.uplinks)?;
    let counters = Arc::new(Counters::default());
    let (query_sender, queries) = mpsc::channel(QUERIES_MAX);
    let (started, start) = std::sync::mpsc::channel();
    let shared = counters.clone();
    // The thread inherits the network namespace of the one that makes it.
    let body = move || {
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(SpawnError::Thread(error)))),
        };
        runtime.block_on(async {
            match Daemon::open(&config, local, shared) {
                Ok((mut daemon, underlay)) => {
                    drop(started.send(Ok(underlay)));
                    tokio::select! {
                        () = daemon.watch_until(config.turn) => {}
                        () = shutdown.cancelled() => return,
                    }
                    daemon.run(routes, queries, shutdown).await;
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
    };
    thread::Builder::new().name("vrouter".into()).spawn(body).map_err(SpawnError::Thread)?;
    let underlay = start.recv().map_err(|gone| SpawnError::Thread(io::Error::other(gone)))??;
    Ok(Handle { underlay, queries: query_sender, counters })
}

impl Handle {
    /// The routes of the main table that are not ours: connected ones and those over gateways.
    /// Links without carrier, loopbacks, pods' interfaces, link-local and multicast are left out.
    pub fn underlay(&self) -> watch::Receiver<Underlay> {
        self.underlay.clone()
    }

    /// Every route of ours that is wanted or in the kernel, as last seen; empty after the end.
    pub async fn routes(&self) -> Vec<RouteRow> {
        self.ask(Query::Routes).await
    }

    /// What keeps the kernel from being what it should be, in words; empty after the end.
    pub async fn problems(&self) -> Vec<String> {
        self.ask(Query::Problems).await
    }

    /// A neighbour has been lost, as BFD tells before BGP does: at once it leaves every group that
    /// has another member, by one deletion. It stays away until [`Handle::neighbour_back`].
    pub async fn neighbour_lost(&self, neighbour: NextHop) {
        drop(self.queries.send(Query::Lost(neighbour)).await);
    }

    pub async fn neighbour_back(&self, neighbour: NextHop) {
        drop(self.queries.send(Query::Back(neighbour)).await);
    }

    pub fn counters(&self) -> CounterValues {
        self.counters.values()
    }

    /// Waits for the end of the vRouter: after `shutdown`, or because its thread has panicked, which
    /// the process should not outlive.
    pub async fn ended(&self) {
        self.queries.closed().await;
    }

    async fn ask<T: Default>(&self, query: fn(oneshot::Sender<T>) -> Query) -> T {
        let (reply, answer) = oneshot::channel();
        if self.queries.send(query(reply)).await.is_err() {
            return T::default();
        }
        answer.await.unwrap_or_default()
    }
}
