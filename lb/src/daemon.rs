use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ebpf_abi::{Address, NodeConfig};
use lb_maps::{DataPlane, MapError, Options};
use lb_plan::{Balancer, Desired, Maps as _, MaskChanges, Masks, Operation, Problem, Snapshot};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{self, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use viaduct_api::admin::{ServiceStatus, Withdrawal};
use viaduct_net::LostNodes;

use crate::{
    Config, Pods, SpawnError, attachments::Attachments, counters::Counters,
    kernel_maps::KernelMaps, status, waiters::Waiters,
};

/// After a failed write or attachment. At least [`Balancer::grace`], so that nobody reads what a
/// balancer that has forgotten would write over.
const RETRY: Duration = Duration::from_secs(1);
const _: () = assert!(RETRY.as_nanos() >= Balancer::grace().as_nanos());

#[derive(Debug)]
pub(crate) enum Query {
    Services(oneshot::Sender<Vec<ServiceStatus>>),
    Problems(oneshot::Sender<Vec<String>>),
    /// Answered when no new flow goes to the addresses any more, or `at_once`.
    Withdrawn {
        addresses: BTreeSet<IpAddr>,
        at_once: bool,
        reply: oneshot::Sender<Withdrawal>,
    },
}

/// What the balancer follows, all of it the latest value.
pub(crate) struct Inputs {
    pub(crate) services: watch::Receiver<Arc<Snapshot>>,
    pub(crate) lost: watch::Receiver<LostNodes>,
    pub(crate) pods: watch::Receiver<Arc<Pods>>,
    pub(crate) queries: mpsc::Receiver<Query>,
}

pub(crate) struct Daemon {
    config: Config,
    attachments: Attachments,
    maps: KernelMaps,
    /// `None` after a failure, until the maps have been read again.
    balancer: Option<Balancer>,
    started: Instant,
    snapshot: Arc<Snapshot>,
    masks: Masks,
    desired: Desired,
    problems: Vec<Problem>,
    waiters: Waiters,
    pods: Arc<Pods>,
    vips: watch::Sender<BTreeSet<IpAddr>>,
    programmed: watch::Sender<u64>,
    counters: Arc<Counters>,
    /// When to try again what has failed.
    retry_maps: Option<Instant>,
    retry_pods: Option<Instant>,
}

impl Daemon {
    pub(crate) fn open(
        config: Config,
        vips: watch::Sender<BTreeSet<IpAddr>>,
        programmed: watch::Sender<u64>,
        counters: Arc<Counters>,
    ) -> Result<(Self, lb_maps::Maps), SpawnError> {
        let options = Options { pin_dir: config.pin_dir.clone(), sizes: config.sizes };
        let data_plane = DataPlane::load(&options)?;
        let maps = data_plane.maps();
        maps.set_config(&node_config(&config))?;
        let attachments =
            Attachments::new(data_plane, config.cgroup.clone(), config.uplinks.clone())?;
        let mut kernel_maps = KernelMaps(maps.clone());
        let contents = kernel_maps.read()?;
        let (services, backends) = (contents.services.len(), contents.backends.len());
        info!(services, backends, "maps adopted");
        vips.send_replace(contents.vips());
        let daemon = Self {
            config,
            attachments,
            maps: kernel_maps,
            balancer: Some(Balancer::adopt(contents)),
            started: Instant::now(),
            snapshot: Arc::default(),
            masks: Masks::default(),
            desired: Desired::default(),
            problems: Vec::new(),
            waiters: Waiters::default(),
            pods: Arc::default(),
            vips,
            programmed,
            counters,
            retry_maps: None,
            retry_pods: None,
        };
        Ok((daemon, maps))
    }

    pub(crate) async fn run(&mut self, inputs: Inputs, shutdown: CancellationToken) {
        let Inputs { mut services, mut lost, mut pods, mut queries } = inputs;
        services.mark_changed();
        lost.mark_changed();
        pods.mark_changed();
        let (mut services_open, mut pods_open, mut queries_open) = (true, true, true);
        let mut lost_open = true;
        let mut audit = time::interval(self.config.audit_interval);
        audit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and all has just been read.
        audit.tick().await;
        loop {
            let deadline = self.deadline();
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = services.changed(), if services_open => match changed {
                    Ok(()) => self.take_services(services.borrow_and_update().clone()),
                    Err(_closed) => services_open = false,
                },
                changed = lost.changed(), if lost_open => match changed {
                    Ok(()) => self.take_lost(&lost.borrow_and_update().clone()),
                    Err(_closed) => lost_open = false,
                },
                changed = pods.changed(), if pods_open => match changed {
                    Ok(()) => {
                        self.pods = pods.borrow_and_update().clone();
                        self.ensure_pods();
                    }
                    Err(_closed) => pods_open = false,
                },
                query = queries.recv(), if queries_open => match query {
                    Some(query) => self.answer(query),
                    None => queries_open = false,
                },
                () = sleep_until(deadline), if deadline.is_some() => self.on_deadline(),
                _ = audit.tick() => self.audit(),
            }
        }
        info!("stopped; services stay as they are");
    }

    /// Why closed sockets are remembered, where they are.
    pub(crate) fn no_release(&self) -> Option<Arc<str>> {
        self.attachments.no_release().map(Arc::from)
    }

    /// What could not be taken over from another version.
    pub(crate) fn lost_entries(&self) -> Arc<[String]> {
        self.attachments.lost_entries()
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn deadline(&self) -> Option<Instant> {
        let settled = self.snapshot.complete && self.retry_maps.is_none();
        let expiry = self.balancer.as_ref().and_then(Balancer::poll_timeout);
        let expiry = expiry.filter(|_| settled).map(|at| self.started + at);
        let unmask = self.masks.poll_timeout().map(|at| self.started + at);
        [self.retry_maps, self.retry_pods, expiry, unmask].into_iter().flatten().min()
    }

    fn on_deadline(&mut self) {
        let now = Instant::now();
        if self.retry_pods.is_some_and(|at| at <= now) {
            self.ensure_pods();
        }
        let changes = self.masks.handle_timeout(self.now());
        if !changes.is_empty() {
            self.work_out();
            self.tell_masks(&changes, now);
        }
        if self.retry_maps.is_none_or(|at| at <= now) {
            self.program();
        }
    }

    /// Works out what the maps should hold, as far as something has changed.
    fn work_out(&mut self) {
        let ignored_before = self.desired.ignored.len();
        self.desired.follow(&self.snapshot, &self.config.node, &self.masks);
        let ignored = self.desired.ignored.len();
        if ignored != ignored_before {
            let service = self.desired.ignored.first_key_value().map(|(name, _)| name.to_string());
            match service {
                Some(service) => warn!(services = ignored, service, "too many backends are lost"),
                None => info!("no service has lost too many backends any more"),
            }
        }
        Counters::set(&self.counters.masked_nodes, self.masks.len());
        Counters::set(&self.counters.masked_backends, self.desired.masked.len());
        Counters::set(&self.counters.masks_ignored, ignored);
    }

    /// Takes backends on lost nodes out at once: the few writes that lead new flows elsewhere come
    /// before all else.
    fn take_lost(&mut self, lost: &LostNodes) {
        let seen = Instant::now();
        let changes = self.masks.handle_lost(lost, self.now());
        if changes.is_empty() {
            return;
        }
        Counters::add(&self.counters.masks, changes.masked.len() as u64);
        if self.retry_maps.is_none()
            && self.snapshot.complete
            && let Err(error) = self.hasten(&changes)
        {
            self.failed(&error);
        }
        self.tell_masks(&changes, seen);
        self.work_out();
        if self.retry_maps.is_none() {
            self.program();
        }
    }

    fn hasten(&mut self, changes: &MaskChanges) -> Result<(), MapError> {
        let now = self.now();
        let Some(balancer) = &mut self.balancer else { return Ok(()) };
        let node = &self.config.node;
        let changed = self.desired.hasten(&self.snapshot, node, &self.masks, &changes.masked);
        let operations = balancer.plan_frontends(&self.desired, &changed, now);
        self.apply(&operations)
    }

    fn tell_masks(&self, changes: &MaskChanges, seen: Instant) {
        let took = seen.elapsed();
        for node in &changes.masked {
            let Some(mask) = self.masks.mask(node) else { continue };
            info!(node, cause = %mask.cause, ?took, "node lost: masked");
        }
        for node in &changes.unmasked {
            info!(node, "node back: not masked any more");
        }
    }

    fn take_services(&mut self, snapshot: Arc<Snapshot>) {
        let seen = Instant::now();
        if !snapshot.complete {
            return;
        }
        if !self.snapshot.complete {
            // Whoever wrote the maps before us may have done so since they were read at the start.
            self.balancer = None;
        }
        self.snapshot = snapshot;
        self.work_out();
        if self.retry_maps.is_some() {
            return;
        }
        if self.program() {
            let took = seen.elapsed();
            self.counters.updated(took);
            debug!(services = self.snapshot.services.len(), ?took, "programmed");
        }
    }

    /// Brings the maps to what is desired; whether every write was done.
    fn program(&mut self) -> bool {
        self.retry_maps = None;
        if !self.snapshot.complete {
            return true;
        }
        if let Err(error) = self.try_program() {
            self.failed(&error);
            return false;
        }
        self.answer_waiters();
        // Announced only once it can be served.
        self.vips.send_if_modified(|vips| {
            let differs = *vips != self.desired.vips;
            vips.clone_from(&self.desired.vips);
            differs
        });
        self.programmed.send_if_modified(|written| {
            std::mem::replace(written, self.snapshot.generation) != self.snapshot.generation
        });
        true
    }

    fn failed(&mut self, error: &MapError) {
        warn!(error = error as &dyn std::error::Error, "maps not written");
        Counters::add(&self.counters.failed, 1);
        self.balancer = None;
        self.retry_maps = Some(Instant::now() + RETRY);
    }

    fn apply(&mut self, operations: &[Operation]) -> Result<(), MapError> {
        for operation in operations {
            self.maps.apply(operation)?;
            Counters::add(&self.counters.writes, 1);
        }
        Ok(())
    }

    fn try_program(&mut self) -> Result<(), MapError> {
        let now = self.now();
        let balancer = match &mut self.balancer {
            Some(balancer) => balancer,
            None => self.balancer.insert(Balancer::adopt(self.maps.read()?)),
        };
        // Tables are written one by one as they are made: all of them would be a lot of memory.
        let (maps, counters) = (&mut self.maps, &self.counters);
        let mut written = Ok(());
        let mut apply = |operation: Operation| {
            if written.is_ok() {
                written = maps.apply(&operation);
                Counters::add(&counters.writes, written.is_ok().into());
            }
        };
        let changes = self.desired.take_changes();
        let problems = balancer.plan_changes(&self.desired, &changes, now, &mut apply);
        written?;
        let (frontends, backends) = balancer.sizes();
        if problems != self.problems {
            for problem in &problems {
                warn!(%problem, "service maps");
            }
            self.problems = problems;
        }
        Counters::set(&self.counters.frontends, frontends);
        Counters::set(&self.counters.backends, backends);
        Ok(())
    }

    fn ensure_pods(&mut self) {
        let done = self.attachments.ensure_pods(&self.pods);
        self.retry_pods = (!done).then(|| Instant::now() + RETRY);
    }

    /// Looks whether maps and links still are what they were left.
    fn audit(&mut self) {
        if let Err(error) = self.attachments.ensure_node() {
            warn!(error = &error as &dyn std::error::Error, "programs not attached");
        }
        self.attachments.forget_pods();
        self.ensure_pods();
        // What waits to be taken away is known to this balancer only; the next audit will do.
        let waits = self.balancer.as_ref().is_none_or(|one| one.poll_timeout().is_some());
        if waits || !self.snapshot.complete {
            return;
        }
        match self.maps.read() {
            Ok(contents) => {
                if self.balancer.as_ref().is_some_and(|balancer| !balancer.agrees_with(&contents)) {
                    warn!("someone else has written to the service maps");
                    Counters::add(&self.counters.mended, 1);
                    self.balancer = Some(Balancer::adopt(contents));
                    self.program();
                }
            }
            Err(error) => warn!(error = &error as &dyn std::error::Error, "maps not read"),
        }
    }

    /// Tells those who wait for addresses to be withdrawn, as soon as the maps are written.
    fn answer_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let Some(balancer) = &self.balancer else { return };
        let desired = &self.desired;
        self.waiters.answer(|addresses| withdrawal(desired, balancer, addresses));
    }

    fn withdrawal(&self, addresses: &BTreeSet<IpAddr>) -> Withdrawal {
        match &self.balancer {
            Some(balancer) if self.snapshot.complete => {
                withdrawal(&self.desired, balancer, addresses)
            }
            // What is in the maps, or is to be, is not known.
            _ => Withdrawal { endpoint: true, withdrawn: false },
        }
    }

    fn answer(&mut self, query: Query) {
        match query {
            Query::Withdrawn { addresses, at_once, reply } => {
                let found = self.withdrawal(&addresses);
                if at_once || found.withdrawn {
                    // Nobody waits where it fails.
                    let _ = reply.send(found);
                } else {
                    self.waiters.add(addresses, reply);
                }
            }
            Query::Services(reply) => {
                let rows = self.balancer.as_ref().map(|balancer| {
                    let picture = status::Picture {
                        snapshot: &self.snapshot,
                        desired: &self.desired,
                        balancer,
                        node: &self.config.node,
                        masks: &self.masks,
                        now: self.now(),
                    };
                    picture.services()
                });
                drop(reply.send(rows.unwrap_or_default()));
            }
            Query::Problems(reply) => {
                let mut texts: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
                texts.extend(self.desired.ignored.iter().map(|(service, share)| {
                    format!(
                        "{} of {} backends of {service} are on nodes that are lost: so many are not \
                         masked",
                        share.masked, share.of
                    )
                }));
                if self.retry_maps.is_some() {
                    texts.push("service maps could not be written; retrying".to_owned());
                }
                if self.retry_pods.is_some() {
                    texts.push("pods wait for their interfaces to be attached".to_owned());
                }
                drop(reply.send(texts));
            }
        }
    }
}

/// Neither do the maps send new flows there, nor are they to.
fn withdrawal(desired: &Desired, balancer: &Balancer, addresses: &BTreeSet<IpAddr>) -> Withdrawal {
    Withdrawal {
        endpoint: desired.has_endpoint(addresses),
        withdrawn: !balancer.sends_flows_to(addresses) && !desired.sends_flows_to(addresses),
    }
}

fn node_config(config: &Config) -> NodeConfig {
    let first = |v4: bool| {
        let mut addresses = config.node.addresses.iter();
        let found = addresses.find(|address| address.is_ipv4() == v4);
        found.map(|address| Address::from(*address))
    };
    NodeConfig {
        node_v4: first(true).unwrap_or(Address::UNSPECIFIED_V4),
        node_v6: first(false).unwrap_or(Address::UNSPECIFIED_V6),
        nat_port_first: *config.nat_ports.start(),
        nat_port_last: *config.nat_ports.end(),
        ..NodeConfig::default()
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        time::sleep_until(deadline.into()).await;
    }
}
