//! What each part of the daemon is told, derived from the view of the API and from each other.
//!
//! Level-triggered: whenever anything changes, everything is derived anew, and only what differs is
//! handed on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use anyhow::Result;
use bgpd::config::Passwords;
use tokio::sync::watch;
use tracing::error;
use viaduct_net::{Origination, Prefix};
use vrouter::{LocalState, Masquerade};

use super::{
    bgp::{self, Identity},
    cache::View,
    freshness::Gate,
    passwords,
    secrets::{self, Secrets},
    services,
};

/// The receiving ends, for the parts.
pub(crate) struct Inputs {
    pub speaker: watch::Receiver<Arc<bgp_speaker::Config>>,
    pub originations: watch::Receiver<BTreeSet<Origination>>,
    pub local: watch::Receiver<Arc<LocalState>>,
    pub services: watch::Receiver<Arc<lb::Snapshot>>,
    pub pods: watch::Receiver<Arc<lb::Pods>>,
    /// The node's blocks, in the order in which pods get their addresses from them.
    pub pod_blocks: watch::Receiver<Vec<Prefix>>,
    pub blocks: watch::Receiver<BTreeSet<Prefix>>,
    /// What the operator should know.
    pub problems: watch::Receiver<Vec<String>>,
}

pub(crate) struct Senders {
    speaker: watch::Sender<Arc<bgp_speaker::Config>>,
    originations: watch::Sender<BTreeSet<Origination>>,
    local: watch::Sender<Arc<LocalState>>,
    services: watch::Sender<Arc<lb::Snapshot>>,
    pods: watch::Sender<Arc<lb::Pods>>,
    pod_blocks: watch::Sender<Vec<Prefix>>,
    blocks: watch::Sender<BTreeSet<Prefix>>,
    problems: watch::Sender<Vec<String>>,
}

impl Inputs {
    /// Nothing is known yet: no peers, no routes, no services.
    pub(crate) fn channels(identity: &Identity) -> Result<(Self, Senders)> {
        let nothing = bgp::speaker(&View::default(), identity, &Passwords::new())?;
        let (speaker_sender, speaker) = watch::channel(Arc::new(nothing));
        let (originations_sender, originations) = watch::channel(BTreeSet::new());
        let (local_sender, local) = watch::channel(Arc::new(LocalState::default()));
        let (services_sender, services) = watch::channel(Arc::new(lb::Snapshot::default()));
        let (pods_sender, pods) = watch::channel(Arc::new(lb::Pods::default()));
        let (pod_blocks_sender, pod_blocks) = watch::channel(Vec::new());
        let (blocks_sender, blocks) = watch::channel(BTreeSet::new());
        let (problems_sender, problems) = watch::channel(Vec::new());
        let inputs =
            Self { speaker, originations, local, services, pods, pod_blocks, blocks, problems };
        let senders = Senders {
            speaker: speaker_sender,
            originations: originations_sender,
            local: local_sender,
            services: services_sender,
            pods: pods_sender,
            pod_blocks: pod_blocks_sender,
            blocks: blocks_sender,
            problems: problems_sender,
        };
        Ok((inputs, senders))
    }
}

/// What the inputs are derived from.
pub(crate) struct Sources {
    pub identity: Identity,
    pub view: watch::Receiver<Option<Arc<View>>>,
    pub secrets: watch::Receiver<Arc<Secrets>>,
    pub vips: watch::Receiver<BTreeSet<IpAddr>>,
    /// Whether virtual IPs are announced.
    pub gate: watch::Receiver<Gate>,
}

impl Sources {
    /// Waits for the first view, and the Secrets that it names, and derives from it what the speaker is
    /// told, which is to be started after this: one that began without its peers would tell the FIB that
    /// its picture is complete while it knows nothing, and the routes of an earlier run would go.
    pub(crate) async fn begin(&mut self, senders: &Senders) -> Result<()> {
        while !self.derive(senders, None) {
            tokio::select! {
                changed = self.view.changed() => changed?,
                changed = self.secrets.changed() => changed?,
            }
        }
        Ok(())
    }

    /// Keeps all inputs what they should be, until the view ends. By them the kernel is changed, so that
    /// it must be our turn.
    pub(crate) async fn follow(
        mut self,
        mut pods: watch::Receiver<BTreeMap<Prefix, String>>,
        senders: Senders,
    ) {
        tokio::spawn(tell_pods(pods.clone(), senders.local.clone()));
        loop {
            pods.mark_unchanged();
            self.derive(&senders, Some(&pods));
            let changed = tokio::select! {
                changed = self.view.changed() => changed,
                changed = self.secrets.changed() => changed,
                changed = pods.changed() => changed,
                changed = self.vips.changed() => changed,
                changed = self.gate.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Without `pods` for the speaker alone. Gives whether enough is known for it to begin.
    fn derive(
        &mut self,
        senders: &Senders,
        pods: Option<&watch::Receiver<BTreeMap<Prefix, String>>>,
    ) -> bool {
        let view = self.view.borrow_and_update().clone();
        let secrets = self.secrets.borrow_and_update().clone();
        let vips = self.vips.borrow_and_update().clone();
        let gate = self.gate.borrow_and_update().clone();
        // The pods of this node are known from its own disk, whatever the API says.
        if let Some(pods) = pods {
            let interfaces = pods.borrow().clone();
            set(&senders.pods, Arc::new(lb::Pods { interfaces, complete: true }));
        }
        let Some(view) = view else { return false };
        let blocks = bgp::blocks(&view, &self.identity.name);
        if let Some(pods) = pods {
            // What the services depend on changes first, what depends on them last.
            set(&senders.services, Arc::new(services::snapshot(&view, &self.identity.name)));
            set(&senders.pod_blocks, blocks.iter().copied().collect());
            let (blocks, masquerade) = (blocks.clone(), masquerade(&view));
            let local = LocalState { blocks, masquerade, complete: true, ..Default::default() };
            set_local(&senders.local, pods, local);
        }
        let vips = if gate.closed { BTreeSet::new() } else { services::announced(&view, &vips) };
        senders.update(&self.identity, &view, &secrets, blocks, &vips, gate.problem)
    }
}

impl Senders {
    /// What the speaker is told.
    fn update(
        &self,
        identity: &Identity,
        view: &View,
        secrets: &Secrets,
        blocks: BTreeSet<Prefix>,
        vips: &BTreeSet<IpAddr>,
        problem: Option<String>,
    ) -> bool {
        set(&self.originations, bgp::originations(&blocks, vips));
        let mut problems: Vec<String> = problem.into_iter().collect();
        if blocks.is_empty() {
            problems
                .push("no block of pod addresses yet: is there an IPPool with room?".to_owned());
        }
        set(&self.blocks, blocks);
        // A Secret that has just been named is heard of within a moment; until then it is not said to be
        // unread, and the sessions there are stay as they are.
        if !secrets.answer(&secrets::wanted(view, &identity.name)) {
            return false;
        }
        problems.extend(secrets.problems());
        match bgp::speaker(view, identity, &passwords::of(view, &identity.name, secrets)) {
            Ok(config) => {
                set(&self.speaker, Arc::new(config));
            }
            // The sessions there are stay as they are.
            Err(wrong) => {
                problems.extend(wrong.0.iter().map(|error| format!("BGP: {error}")));
            }
        }
        if set(&self.problems, problems.clone()) {
            for problem in problems {
                error!(problem, "configuration");
            }
        }
        true
    }
}

/// Tells the vRouter of pods without waiting for anything else to be derived: their routes are made right
/// after they are told.
async fn tell_pods(
    mut pods: watch::Receiver<BTreeMap<Prefix, String>>,
    local: watch::Sender<Arc<LocalState>>,
) {
    while pods.changed().await.is_ok() {
        pods.mark_unchanged();
        local.send_if_modified(|present| {
            let pods = pods.borrow();
            let differs = present.complete && present.pods != *pods;
            if differs {
                Arc::make_mut(present).pods.clone_from(&pods);
            }
            differs
        });
    }
}

/// With the pods as they are at this moment: none that was told is forgotten again.
fn set_local(
    local: &watch::Sender<Arc<LocalState>>,
    pods: &watch::Receiver<BTreeMap<Prefix, String>>,
    state: LocalState,
) {
    local.send_if_modified(|present| {
        let next = LocalState { pods: pods.borrow().clone(), ..state };
        let differs = **present != next;
        if differs {
            *present = Arc::new(next);
        }
        differs
    });
}

/// Hands on what differs.
pub(super) fn set<T: PartialEq>(sender: &watch::Sender<T>, value: T) -> bool {
    sender.send_if_modified(|current| {
        let differs = *current != value;
        if differs {
            *current = value;
        }
        differs
    })
}

/// Pods of pools that ask for it take the node's address where they leave the cluster's networks.
fn masquerade(view: &View) -> Masquerade {
    let pools = view.pools.values().map(|pool| &pool.spec);
    let nodes = view.nodes.values().flat_map(|node| {
        let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
        addresses.into_iter().flatten().filter_map(|address| address.address.parse().ok())
    });
    Masquerade {
        pod_cidrs: pools.clone().filter(|pool| pool.masquerade).map(|pool| pool.cidr).collect(),
        cluster_cidrs: pools.map(|pool| pool.cidr).chain(nodes.map(Prefix::host)).collect(),
    }
}
