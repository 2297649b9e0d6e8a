//! The service balancer of a node: it keeps the maps of the eBPF programs what the services and
//! their endpoints are, and the programs attached where traffic passes.
//!
//! It has an OS thread of its own, like the vRouter: map writes are system calls, and many at once
//! must not hold up the rest of the daemon. When it stops, everything stays at work; the next one
//! adopts programs, links and maps as they are.

mod attachments;
mod connections;
mod counters;
mod daemon;
mod kernel_maps;
mod status;
mod waiters;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;
use viaduct_api::admin::{ServiceStatus, Withdrawal};
use viaduct_net::{LostNodes, Prefix};

pub use counters::{CounterValues, UPDATE_BUCKETS};
pub use ebpf_abi::Counter;
pub use lb_maps::{AttachError, LoadError, MapError, Sizes};
pub use lb_plan::{Node, Snapshot};

use counters::Counters;
use daemon::{Daemon, Inputs, Query};

/// Below the node ports and `ip_local_port_range` as Kubernetes and Linux have them. A port is not
/// used again towards the same backend while that may hold the last connection in TIME-WAIT, so
/// many of them are wanted.
pub const NAT_PORTS: RangeInclusive<u16> = 10_000..=29_999;

/// Questions waiting for an answer; the asker waits when there are more.
const QUERIES_MAX: usize = 64;

#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name, which tells its own endpoints from others, and its addresses: node ports
    /// are reached by them, and the first of each family is the source of translated flows.
    pub node: Node,
    /// Interfaces by which clients outside arrive.
    pub uplinks: Vec<String>,
    /// The cgroup2 folder whose processes, and those below, reach services.
    pub cgroup: PathBuf,
    /// A folder of a bpf filesystem.
    pub pin_dir: PathBuf,
    /// Ports of translated sources: outside `ip_local_port_range` and the node ports.
    pub nat_ports: RangeInclusive<u16>,
    pub sizes: Sizes,
    /// How often maps and links are compared with what they should be.
    pub audit_interval: Duration,
}

impl Config {
    /// With the defaults for what is not a matter of the host.
    pub fn new(node: Node, uplinks: Vec<String>, cgroup: PathBuf, pin_dir: PathBuf) -> Self {
        Self {
            node,
            uplinks,
            cgroup,
            pin_dir,
            nat_ports: NAT_PORTS,
            sizes: Sizes::default(),
            audit_interval: Duration::from_secs(30),
        }
    }
}

/// The pods of this node. Replies to clients outside are translated back at their veths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Host prefix to the name of the interface on the host; a pod of both families has two.
    pub interfaces: BTreeMap<Prefix, String>,
    /// Whether all pods are known; until then none is detached.
    pub complete: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("there is no interface {0}")]
    Uplink(String),
    #[error("cannot start the thread of the balancer: {0}")]
    Thread(io::Error),
}

/// A running balancer.
#[derive(Clone, Debug)]
pub struct Handle {
    vips: watch::Receiver<BTreeSet<IpAddr>>,
    programmed: watch::Receiver<u64>,
    queries: mpsc::Sender<Query>,
    counters: Arc<Counters>,
    maps: lb_maps::Maps,
    connections: connections::Counter,
    /// Why connections can be counted approximately only.
    approximate: Option<Arc<str>>,
    /// What an earlier version had in its maps and this one has not, a line each.
    lost_entries: Arc<[String]>,
}

/// Loads or adopts the programs and attaches them, in the network and mount namespace of this
/// thread, then follows the services, and which nodes are lost: backends there get no new flows.
/// Blocks for some hundred milliseconds.
///
/// Until services or pods are given, maps and veths stay as another process leaves them.
///
/// It ends with `shutdown`; the programs go on with what the maps hold.
pub fn spawn(
    config: Config,
    services: watch::Receiver<Arc<Snapshot>>,
    lost: watch::Receiver<LostNodes>,
    pods: watch::Receiver<Arc<Pods>>,
    shutdown: CancellationToken,
) -> Result<Handle, SpawnError> {
    let counters = Arc::new(Counters::default());
    let (query_sender, queries) = mpsc::channel(QUERIES_MAX);
    let (vips_sender, vips) = watch::channel(BTreeSet::new());
    let (programmed_sender, programmed) = watch::channel(0);
    let (started, start) = std::sync::mpsc::channel();
    let shared = counters.clone();
    // The thread inherits the namespaces of the one that makes it.
    let node = config.node.addresses.clone();
    let body = move || {
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(SpawnError::Thread(error)))),
        };
        match Daemon::open(config, vips_sender, programmed_sender, shared) {
            Ok((mut daemon, maps)) => {
                let begun = (maps, daemon.no_release(), daemon.lost_entries());
                drop(started.send(Ok(begun)));
                let inputs = Inputs { services, lost, pods, queries };
                runtime.block_on(daemon.run(inputs, shutdown));
            }
            Err(error) => drop(started.send(Err(error))),
        }
    };
    thread::Builder::new().name("lb".into()).spawn(body).map_err(SpawnError::Thread)?;
    let (maps, approximate, lost_entries) =
        start.recv().map_err(|gone| SpawnError::Thread(io::Error::other(gone)))??;
    let connections = connections::Counter::new(maps.clone(), &node);
    Ok(Handle {
        vips,
        programmed,
        queries: query_sender,
        counters,
        maps,
        connections,
        approximate,
        lost_entries,
    })
}

impl Handle {
    /// The VIPs that this node can serve, as the maps stand; see [`lb_plan::Desired::vips`]. Until
    /// all services are known, those that the adopted maps serve.
    pub fn vips(&self) -> watch::Receiver<BTreeSet<IpAddr>> {
        self.vips.clone()
    }

    /// Of which generation the services in the maps are; 0 before any is written.
    pub fn programmed(&self) -> watch::Receiver<u64> {
        self.programmed.clone()
    }

    /// Every service with what it leads to, sorted; empty after the end. Connections are those that
    /// were open at most half a second ago.
    pub async fn services(&self) -> Vec<ServiceStatus> {
        let mut services = self.ask(Query::Services).await;
        self.connections.fill(&mut services).await;
        if self.approximate.is_some() {
            services.iter_mut().for_each(|one| one.connections_approximate = true);
        }
        services
    }

    /// Waits until new flows go to none of the addresses, as the maps stand, and at most for so
    /// long; the answer is how it is then.
    pub async fn withdrawn(&self, addresses: BTreeSet<IpAddr>, wait: Duration) -> Withdrawal {
        let (reply, answer) = oneshot::channel();
        let question = Query::Withdrawn { addresses: addresses.clone(), at_once: false, reply };
        if !wait.is_zero()
            && self.queries.send(question).await.is_ok()
            && let Ok(Ok(withdrawal)) = tokio::time::timeout(wait, answer).await
        {
            return withdrawal;
        }
        let (reply, answer) = oneshot::channel();
        let question = Query::Withdrawn { addresses, at_once: true, reply };
        // After the end nobody knows.
        let unknown = Withdrawal { endpoint: true, withdrawn: false };
        match self.queries.send(question).await {
            Ok(()) => answer.await.unwrap_or(unknown),
            Err(_ended) => unknown,
        }
    }

    /// What keeps the maps from being what they should be, in words, and what was lost when they were
    /// taken over from another version.
    pub async fn problems(&self) -> Vec<String> {
        let mut problems = self.ask(Query::Problems).await;
        problems.extend(self.lost_entries.iter().cloned());
        if let Some(why) = &self.approximate {
            problems.push(format!(
                "closed connections are counted until others take their place: {why}"
            ));
        }
        problems
    }

    pub fn counters(&self) -> CounterValues {
        self.counters.values()
    }

    /// What the programs have counted.
    pub fn datapath_counters(&self) -> Result<BTreeMap<Counter, u64>, MapError> {
        self.maps.counters.read()
    }

    /// Waits for the end of the balancer: after `shutdown`, or because its thread has panicked, which
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
