use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rtnetlink::Handle;
use tokio::{
    sync::{Mutex, watch},
    task::AbortHandle,
    time::timeout,
};
use tracing::{info, warn};
use viaduct_net::{Family, Prefix};
use vrouter_ipam::{AllocateError, BlockUsage, Owner};

use crate::{
    attachment::{Attachment, PodName},
    guard::{self, GuardError, Mark},
    host::{self, WireError},
    netlink::Existing,
    netns::{Netns, NetnsError},
    pod,
    state::{State, StateError, Store},
    sysctl,
};

/// The protocol number of the routes to this node's pods, the same as of all routes of Viaduct.
pub const POD_ROUTE_PROTOCOL: u8 = 86;

#[derive(Clone, Debug)]
pub struct PodNetworkConfig {
    /// Outlives the process; a folder that a reboot empties will do as well.
    pub state_dir: PathBuf,
    /// The least of the interfaces with a default route; a pod's packets must fit all.
    pub uplink_mtu: u32,
    /// Every pod gets one address of each.
    pub families: Vec<Family>,
    /// For how long ADD waits for the node's first blocks.
    pub block_wait: Duration,
    /// What the balancer marks the answers of services with at a pod's veth; they bear the
    /// service's address by then and pass the verification of sources.
    pub service_mark: Option<Mark>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PodNetworkError {
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("no netlink socket: {0}")]
    NetlinkSocket(io::Error),
    #[error("this node cannot be made a router: {0}")]
    Forwarding(String),
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error("{0}")]
    NoNetns(String),
    #[error("wiring {owner} failed and was rolled back: {reason}")]
    Wire { owner: Owner, reason: String },
    #[error("{0} is not on the network")]
    Unknown(Owner),
    #[error("{owner} is not as it was made: {reason}")]
    Check { owner: Owner, reason: String },
    #[error("taking {owner} off the network failed: {reason}")]
    Unwire { owner: Owner, reason: String },
}

/// What a runtime asks for with ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddRequest {
    pub owner: Owner,
    /// As seen by this process.
    pub netns: PathBuf,
    pub pod: Option<PodName>,
}

/// Since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub added: u64,
    pub deleted: u64,
    pub failed: u64,
    /// Pods found whole or mended at the start.
    pub adopted: u64,
    /// Addresses taken back because their pod was gone.
    pub reclaimed: u64,
}

#[derive(Debug, Default)]
struct Counts {
    added: AtomicU64,
    deleted: AtomicU64,
    failed: AtomicU64,
    adopted: AtomicU64,
    reclaimed: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The pods of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct PodNetwork(Arc<Inner>);

struct Inner {
    config: PodNetworkConfig,
    blocks: watch::Receiver<Vec<Prefix>>,
    pods: watch::Sender<BTreeMap<Prefix, String>>,
    counts: Counts,
    netlink: Handle,
    netlink_task: AbortHandle,
    /// Held through a whole operation: what is on disk, in the kernel and in memory change
    /// together.
    core: Mutex<Core>,
}

struct Core {
    store: Store,
    state: State,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.netlink_task.abort();
    }
}

impl PodNetwork {
    /// Loads what is known, keeps every pod that is there, mends what it lacks, and takes back what
    /// belonged to pods that are gone. Acts in the network namespace of the calling thread, which
    /// must be that of the process.
    pub async fn start(
        config: PodNetworkConfig,
        blocks: watch::Receiver<Vec<Prefix>>,
    ) -> Result<Self, PodNetworkError> {
        for family in &config.families {
            sysctl::forward(*family)
                .map_err(|error| PodNetworkError::Forwarding(error.to_string()))?;
        }
        let store = Store::open(config.state_dir.clone())?;
        let state = store.load()?;
        let (connection, netlink, _) =
            rtnetlink::new_connection().map_err(PodNetworkError::NetlinkSocket)?;
        let netlink_task = tokio::spawn(connection).abort_handle();
        let network = Self(Arc::new(Inner {
            config,
            blocks,
            pods: watch::Sender::new(published(&state)),
            counts: Counts::default(),
            netlink,
            netlink_task,
            core: Mutex::new(Core { store, state }),
        }));
        network.adopt().await?;
        Ok(network)
    }

    /// Fails where [`Self::start`] could not read what is known of the pods; changes nothing.
    pub fn check_state(config: &PodNetworkConfig) -> Result<(), PodNetworkError> {
        Store::open(config.state_dir.clone())?.load()?;
        Ok(())
    }

    /// Puts a pod on the network. Asked twice it answers the same; what fails leaves nothing.
    pub async fn add(&self, request: AddRequest) -> Result<Attachment, PodNetworkError> {
        self.await_blocks().await;
        let result = self.0.add(request).await;
        match &result {
            Ok(attachment) => {
                count(&self.0.counts.added);
                info!(owner = %attachment.owner, addresses = ?attachment.addresses,
                    veth = attachment.host_ifname, "pod added");
            }
            Err(error) => {
                count(&self.0.counts.failed);
                warn!(%error, "pod not added");
            }
        }
        result
    }

    /// Takes a pod off the network. One that is not known is no error.
    pub async fn del(&self, owner: &Owner) -> Result<(), PodNetworkError> {
        let mut core = self.0.core.lock().await;
        if self.0.remove(&mut core, owner).await? {
            count(&self.0.counts.deleted);
            info!(%owner, "pod deleted");
        }
        Ok(())
    }

    /// Compares a pod with what ADD made.
    pub async fn check(
        &self,
        owner: &Owner,
        netns: PathBuf,
    ) -> Result<Attachment, PodNetworkError> {
        let core = self.0.core.lock().await;
        let attachment = core
            .state
            .attachments
            .get(owner)
            .filter(|attachment| attachment.complete)
            .ok_or_else(|| PodNetworkError::Unknown(owner.clone()))?;
        let differs = |reason: String| PodNetworkError::Check { owner: owner.clone(), reason };
        let there = host::exists(&self.0.netlink, attachment).await;
        if !there.map_err(|error| differs(error.to_string()))? {
            return Err(differs(format!("{} is not there", attachment.host_ifname)));
        }
        let netns = Netns::open(&netns).map_err(no_netns)?;
        let inside = attachment.clone();
        let checked = netns.run(async move |netlink| pod::check(netlink, inside).await).await;
        checked.map_err(no_netns)?.map_err(|error| differs(error.to_string()))?;
        Ok(attachment.clone())
    }

    /// Takes every pod off the network that is not among `live`.
    pub async fn gc(&self, live: &BTreeSet<Owner>) -> Result<(), PodNetworkError> {
        let mut core = self.0.core.lock().await;
        let known = core.state.attachments.keys().chain(core.state.ipam.owners());
        let gone: BTreeSet<Owner> = known.filter(|owner| !live.contains(owner)).cloned().collect();
        for owner in &gone {
            self.0.remove(&mut core, owner).await?;
            count(&self.0.counts.reclaimed);
            info!(%owner, "reclaimed");
        }
        Ok(())
    }

    /// Whether ADD can be served.
    pub fn status(&self) -> Result<(), PodNetworkError> {
        let blocks = self.0.blocks.borrow();
        match missing_family(&self.0.config.families, &blocks) {
            Some(family) => Err(AllocateError::NoBlock(family).into()),
            None => Ok(()),
        }
    }

    /// The host prefixes of this node's pods and the interfaces they are behind. A pod is in it
    /// before its routes are made and until after they are gone.
    pub fn pods(&self) -> watch::Receiver<BTreeMap<Prefix, String>> {
        self.0.pods.subscribe()
    }

    pub async fn attachments(&self) -> Vec<Attachment> {
        self.0.core.lock().await.state.attachments.values().cloned().collect()
    }

    /// How full the node's blocks are.
    pub async fn usage(&self) -> Vec<BlockUsage> {
        let mut core = self.0.core.lock().await;
        core.state.ipam.set_blocks(self.0.blocks.borrow().iter().copied());
        core.state.ipam.usage()
    }

    pub fn counters(&self) -> Counters {
        let Counts { added, deleted, failed, adopted, reclaimed } = &self.0.counts;
        let [added, deleted, failed, adopted, reclaimed] =
            [added, deleted, failed, adopted, reclaimed].map(|c| c.load(Ordering::Relaxed));
        Counters { added, deleted, failed, adopted, reclaimed }
    }

    /// The node is given its blocks a moment after it is registered. Then or after the bound, the
    /// allocator has the last word.
    async fn await_blocks(&self) {
        let families = &self.0.config.families;
        let mut blocks = self.0.blocks.clone();
        let there = blocks.wait_for(|blocks| missing_family(families, blocks).is_none());
        // A closed channel and an elapsed bound come to the same: what there is will have to do.
        let _there = timeout(self.0.config.block_wait, there).await.is_ok();
    }

    async fn adopt(&self) -> Result<(), PodNetworkError> {
        let inner = &self.0;
        let mut core = inner.core.lock().await;
        let all: Vec<Attachment> = core.state.attachments.values().cloned().collect();
        let mut gone = Vec::new();
        for attachment in all {
            let adopted = match attachment.complete {
                // The runtime has had no answer, so it asks again or deletes.
                false => Ok(false),
                true => inner.adopt_one(&attachment).await,
            };
            match adopted {
                Ok(true) => count(&inner.counts.adopted),
                Ok(false) => gone.push(attachment.owner),
                // Kept as it is: an address too many is better than one given twice.
                Err(error) => warn!(owner = %attachment.owner, %error, "pod not mended"),
            }
        }
        let orphans = core.state.ipam.owners().filter(|o| !core.state.attachments.contains_key(o));
        gone.extend(orphans.cloned().collect::<Vec<_>>());
        for owner in gone {
            inner.remove(&mut core, &owner).await?;
            count(&inner.counts.reclaimed);
            info!(%owner, "reclaimed");
        }
        guard::apply(core.state.attachments.values(), inner.config.service_mark).await?;
        Ok(())
    }
}

impl Inner {
    async fn add(&self, request: AddRequest) -> Result<Attachment, PodNetworkError> {
        let AddRequest { owner, netns, pod } = request;
        let mut core = self.core.lock().await;
        let netns = Netns::open(&netns).map_err(no_netns)?;
        core.state.ipam.set_blocks(self.blocks.borrow().iter().copied());
        let addresses = core.state.ipam.allocate(&owner, &self.config.families)?;
        let place = (netns.path.clone(), netns.id);
        let mut attachment =
            Attachment::new(owner.clone(), pod, addresses, place, self.config.uplink_mtu);
        core.state.attachments.insert(owner.clone(), attachment.clone());
        match self.wire(&mut core, &mut attachment, &netns).await {
            Ok(()) => Ok(attachment),
            Err(reason) => {
                if let Err(error) = self.remove(&mut core, &owner).await {
                    warn!(%owner, %error, "roll back");
                }
                Err(PodNetworkError::Wire { owner, reason: reason.to_string() })
            }
        }
    }

    async fn wire(
        &self,
        core: &mut Core,
        attachment: &mut Attachment,
        netns: &Netns,
    ) -> Result<(), StepError> {
        core.store.save(&core.state)?;
        guard::apply(core.state.attachments.values(), self.config.service_mark).await?;
        host::wire(&self.netlink, attachment, netns).await?;
        // Before the routes are there: whoever owns the node's routes must know them for ours.
        self.pods.send_replace(published(&core.state));
        host::connect(&self.netlink, attachment, Existing::Replace).await?;
        attachment.complete = true;
        core.state.attachments.insert(attachment.owner.clone(), attachment.clone());
        core.store.save(&core.state)?;
        Ok(())
    }

    /// In the order in which nothing is left when it is cut short anywhere: the kernel first, the
    /// address last.
    async fn remove(&self, core: &mut Core, owner: &Owner) -> Result<bool, PodNetworkError> {
        let known = core.state.attachments.get(owner).cloned();
        if let Some(attachment) = &known {
            host::unwire(&self.netlink, attachment).await.map_err(|error| {
                PodNetworkError::Unwire { owner: owner.clone(), reason: error.to_string() }
            })?;
        }
        core.state.attachments.remove(owner);
        let freed = core.state.ipam.release(owner);
        if known.is_none() && freed.is_empty() {
            return Ok(false);
        }
        core.store.save(&core.state)?;
        self.pods.send_replace(published(&core.state));
        guard::apply(core.state.attachments.values(), self.config.service_mark).await?;
        Ok(true)
    }

    /// Whether the pod is still there; if so, all that the node needs for it is.
    async fn adopt_one(&self, attachment: &Attachment) -> Result<bool, WireError> {
        if host::exists(&self.netlink, attachment).await? {
            host::connect(&self.netlink, attachment, Existing::Keep).await?;
            return Ok(true);
        }
        // The pair is gone: with the pod, or taken away by someone while we were not there.
        let Ok(netns) = Netns::open(&attachment.netns) else { return Ok(false) };
        if netns.id != attachment.netns_id {
            return Ok(false);
        }
        host::wire(&self.netlink, attachment, &netns).await?;
        host::connect(&self.netlink, attachment, Existing::Keep).await?;
        Ok(true)
    }
}

/// Any step of ADD.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(transparent)]
    Wire(#[from] WireError),
}

fn no_netns(error: NetnsError) -> PodNetworkError {
    PodNetworkError::NoNetns(error.to_string())
}

fn missing_family(families: &[Family], blocks: &[Prefix]) -> Option<Family> {
    families.iter().copied().find(|family| !blocks.iter().any(|block| block.family() == *family))
}

fn published(state: &State) -> BTreeMap<Prefix, String> {
    let entries = state.attachments.values().flat_map(|attachment| {
        let veth = &attachment.host_ifname;
        pod::host_prefixes(attachment).map(move |prefix| (prefix, veth.clone()))
    });
    entries.collect()
}

#[cfg(test)]
mod tests;
