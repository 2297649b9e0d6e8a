use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{self, Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use viaduct_net::{IfIndex, NextHop, Prefix, Route, Underlay, feed};
use vrouter_kernel::{Change, Monitor, Netlink};
use vrouter_plan::{Desired, Kernel, Operation, Outcome, RouteRow, Snapshot, converge, lose, rows};

use crate::{
    Config, LocalState, SpawnError,
    counters::{Counters, count},
    nat,
    problems::Problems,
};

/// The time from one look to the next is at least this many times what the last one took, so that
/// one who fights us over a route cannot keep the processor busy.
const REST_FACTOR: u32 = 3;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Refused operations told one by one; the rest is a number.
const REFUSALS_LOGGED_MAX: usize = 5;
/// Neighbours remembered as lost; as many as groups are sensible.
const LOST_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) enum Query {
    Routes(oneshot::Sender<Vec<RouteRow>>),
    Problems(oneshot::Sender<Vec<String>>),
    Lost(NextHop),
    Back(NextHop),
}

pub(crate) struct Daemon {
    kernel: Netlink,
    monitor: Monitor,
    desired: Desired,
    /// What the kernel holds, by our last look and by what we did since.
    picture: Snapshot,
    local: watch::Receiver<Arc<LocalState>>,
    underlay: watch::Sender<Underlay>,
    counters: Arc<Counters>,
    audit_interval: Duration,
    /// When to look again, where there is a reason to.
    look_at: Option<Instant>,
    /// Before this no look is taken.
    rest_until: Instant,
    retry: Duration,
    problems: Problems,
}

impl Daemon {
    /// Subscribes, then looks: what changes in between is heard of.
    pub(crate) fn open(
        config: &Config,
        local: watch::Receiver<Arc<LocalState>>,
        counters: Arc<Counters>,
    ) -> Result<(Self, watch::Receiver<Underlay>), SpawnError> {
        let mut kernel = Netlink::open(config.protocol)?;
        let monitor = Monitor::open(kernel.port(), config.protocol).map_err(SpawnError::Monitor)?;
        let picture = kernel.snapshot()?;
        info!(routes = picture.routes.len(), nexthops = picture.nexthops.len(), "adopted");
        let (underlay, receiver) = watch::channel(Underlay::default());
        let mut daemon = Self {
            kernel,
            monitor,
            desired: Desired::default(),
            picture,
            local,
            underlay,
            counters,
            audit_interval: config.audit_interval,
            look_at: None,
            rest_until: Instant::now(),
            retry: RETRY_MIN,
            problems: Problems::default(),
        };
        daemon.take_local();
        Ok((daemon, receiver))
    }

    /// Follows what another process makes of the kernel until it is our turn, which never comes where
    /// nobody is left to say so.
    pub(crate) async fn watch_until(&mut self, turn: Option<watch::Receiver<bool>>) {
        let Some(mut turn) = turn else { return };
        if *turn.borrow_and_update() {
            return;
        }
        while !*turn.borrow_and_update() {
            let look_at = self.look_at.map(|at| at.max(self.rest_until));
            tokio::select! {
                changed = turn.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
                change = self.monitor.changed() => {
                    let broken = change.is_err();
                    self.heard(change);
                    if broken {
                        time::sleep(RETRY_MIN).await;
                    }
                }
                () = time::sleep_until(look_at.unwrap_or(self.rest_until)), if look_at.is_some() => {
                    self.observe();
                }
            }
        }
        self.observe();
    }

    pub(crate) async fn run(
        &mut self,
        mut routes: feed::Reader<Prefix, Option<Route>>,
        mut queries: mpsc::Receiver<Query>,
        shutdown: CancellationToken,
    ) {
        let (nat_problem, nat) = watch::channel(None);
        self.problems.masquerade = Some(nat);
        tokio::spawn(nat::keep(self.local_from_start(), self.audit_interval, nat_problem));
        let mut audit = time::interval(self.audit_interval);
        audit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut routes_open, mut local_open, mut queries_open) = (true, true, true);
        self.settle();
        loop {
            let look_at = self.look_at.map(|at| at.max(self.rest_until));
            tokio::select! {
                () = shutdown.cancelled() => break,
                batch = routes.next(), if routes_open => match batch {
                    Some(batch) => self.take_routes(batch),
                    None => {
                        info!("the source of routes is gone; they stay as they are");
                        routes_open = false;
                    }
                },
                changed = self.local.changed(), if local_open => match changed {
                    Ok(()) => {
                        self.take_local();
                        self.settle();
                    }
                    Err(_closed) => local_open = false,
                },
                query = queries.recv(), if queries_open => match query {
                    Some(query) => self.answer(query),
                    None => queries_open = false,
                },
                change = self.monitor.changed() => {
                    let broken = change.is_err();
                    self.heard(change);
                    if broken {
                        // A socket that fails at once would otherwise be asked without pause.
                        time::sleep(RETRY_MIN).await;
                    }
                }
                () = time::sleep_until(look_at.unwrap_or(self.rest_until)), if look_at.is_some() => {
                    self.look();
                }
                _ = audit.tick() => self.look(),
            }
        }
        info!("stopped; routes stay for the next to adopt");
    }

    /// A receiver to which the present state is news.
    fn local_from_start(&self) -> watch::Receiver<Arc<LocalState>> {
        let mut local = self.local.clone();
        local.mark_changed();
        local
    }

    fn take_routes(&mut self, batch: feed::Batch<Prefix, Option<Route>>) {
        debug!(changes = batch.changes.len(), synced = batch.synced, "routes");
        for (prefix, route) in batch.changes {
            match route {
                Some(route) => drop(self.desired.bgp.insert(prefix, route.next_hops)),
                None => drop(self.desired.bgp.remove(&prefix)),
            }
        }
        self.desired.bgp_complete |= batch.synced;
        self.settle();
    }

    fn take_local(&mut self) {
        let state = self.local.borrow_and_update().clone();
        self.desired.pods.clone_from(&state.pods);
        self.desired.blocks.clone_from(&state.blocks);
        self.desired.local_complete |= state.complete;
        self.publish_underlay();
    }

    fn answer(&mut self, query: Query) {
        match query {
            Query::Routes(reply) => drop(reply.send(rows(&self.desired, &self.picture))),
            Query::Problems(reply) => drop(reply.send(self.problems.texts())),
            Query::Lost(neighbour) => {
                if self.desired.lost.len() < LOST_MAX && self.desired.lost.insert(neighbour) {
                    self.lose(neighbour);
                    info!(address = %neighbour.address, interface = %neighbour.interface, "lost");
                    self.settle();
                }
            }
            Query::Back(neighbour) => {
                if self.desired.lost.remove(&neighbour) {
                    info!(address = %neighbour.address, interface = %neighbour.interface, "back");
                    self.settle();
                }
            }
        }
    }

    /// What matters first, however many routes there are; the rest follows.
    fn lose(&mut self, neighbour: NextHop) {
        let Some(operation) = lose(neighbour, &self.picture) else { return };
        match self.kernel.apply(std::slice::from_ref(&operation)).pop() {
            Some(Ok(())) => {
                self.picture.apply(&operation);
                count(&self.counters.applied, 1);
            }
            Some(Err(error)) => {
                warn!(?operation, %error, "refused");
                count(&self.counters.failed, 1);
                self.look_later();
            }
            None => {}
        }
    }

    fn heard(&mut self, change: io::Result<Change>) {
        match change {
            Ok(change) => {
                debug!(?change, "heard");
                count(&self.counters.overruns, usize::from(change.overrun));
                self.look_at = Some(Instant::now());
            }
            Err(error) => {
                error!(%error, "notifications");
                self.look_later();
            }
        }
    }

    fn look_later(&mut self) {
        let at = Instant::now() + self.retry;
        // What the kernel tells in the meantime is looked at without waiting: it may be the cure.
        self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }

    /// Looks at the kernel anew, and puts right what is not as it should be.
    fn look(&mut self) {
        let started = Instant::now();
        if let Some(before) = self.observe() {
            // A pod is told before its routes are made: whoever looked without having heard of it would
            // take them away.
            if self.local.has_changed().unwrap_or(false) {
                self.take_local();
            }
            let outcome = self.settle();
            let mended = mended(&before, &outcome.applied);
            if mended > 0 {
                warn!(mended, "the kernel had lost what was wanted of it");
                count(&self.counters.mended, mended);
            }
        }
        self.rest(started);
    }

    /// Looks at the kernel anew, and gives the picture of before; `None` where it could not.
    fn observe(&mut self) -> Option<Snapshot> {
        let started = Instant::now();
        self.look_at = None;
        count(&self.counters.resyncs, 1);
        let before = match self.kernel.snapshot() {
            Ok(snapshot) => {
                self.problems.look = None;
                let before = std::mem::replace(&mut self.picture, snapshot);
                self.publish_underlay();
                Some(before)
            }
            Err(error) => {
                error!(%error, "cannot look at the kernel");
                self.problems.look = Some(error.to_string());
                self.look_later();
                None
            }
        };
        self.rest(started);
        before
    }

    fn rest(&mut self, started: Instant) {
        let rest = Instant::now() + started.elapsed() * REST_FACTOR;
        self.rest_until = self.rest_until.max(rest);
    }

    fn settle(&mut self) -> Outcome {
        let outcome = converge(&mut self.kernel, &mut self.picture, &self.desired);
        count(&self.counters.applied, outcome.applied.len());
        count(&self.counters.failed, outcome.failed.len());
        if outcome.failed.is_empty() {
            self.retry = RETRY_MIN;
        } else {
            for (operation, error) in outcome.failed.iter().take(REFUSALS_LOGGED_MAX) {
                warn!(?operation, %error, "refused");
            }
            warn!(refused = outcome.failed.len(), retry = ?self.retry, "operations refused");
            self.look_later();
        }
        self.problems.take(&outcome);
        if !outcome.applied.is_empty() {
            debug!(operations = outcome.applied.len(), waiting = outcome.waiting.len(), "applied");
        }
        outcome
    }

    fn publish_underlay(&self) {
        let pods: BTreeSet<&str> = self.desired.pods.values().map(String::as_str).collect();
        let links = &self.picture.links;
        let is_pod = |interface: IfIndex| {
            links.get(&interface).is_some_and(|link| pods.contains(link.name.as_str()))
        };
        let routes: Underlay = self
            .picture
            .underlay
            .iter()
            .filter(|route| !is_pod(route.interface))
            .copied()
            .collect();
        self.underlay.send_if_modified(|present| {
            let differs = *present != routes;
            *present = routes;
            differs
        });
    }
}

/// How many of the operations put right what had been there, or removed what had not.
fn mended(before: &Snapshot, applied: &[Operation]) -> usize {
    let repairs = |operation: &&Operation| match operation {
        Operation::PutRoute { key, .. } => before.routes.contains_key(key),
        Operation::DeleteRoute { key } => !before.routes.contains_key(key),
        Operation::PutGroup { id, .. } => before.nexthops.contains_key(id),
        Operation::PutNexthop { .. } | Operation::DeleteNexthop { .. } => false,
    };
    applied.iter().filter(repairs).count()
}
