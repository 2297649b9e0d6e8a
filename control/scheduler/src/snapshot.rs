use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node, Pod, Taint},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use crate::{
    Amount, PodId,
    pod_info::{Group, Labels, PodInfo, has_ended},
    ports::HostPort,
    requests::{Amounts, add, subtract},
    selector::selects,
    taint::taints_of,
    term::Namespaces,
};

/// The nodes and what is taken of each, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) nodes: BTreeMap<String, NodeInfo>,
    pub(crate) namespaces: Namespaces,
    pub(crate) budgets: Vec<Budget>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct NodeInfo {
    pub(crate) labels: Labels,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Amounts,
    pub(crate) used: Amounts,
    pub(crate) pods: Vec<Arc<PodInfo>>,
}

/// How many pods a disruption budget lets go.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    namespace: String,
    selector: Option<LabelSelector>,
    pub(crate) allowed: i32,
    /// Pods that are counted as gone already, by name.
    disrupted: BTreeSet<String>,
}

impl Snapshot {
    /// Nodes that are being deleted take no part; pods that have ended take no room.
    pub fn new<'a>(
        nodes: impl IntoIterator<Item = &'a Node>,
        pods: impl IntoIterator<Item = &'a Pod>,
    ) -> Self {
        let nodes = nodes
            .into_iter()
            .filter(|node| node.metadata.deletion_timestamp.is_none())
            .filter_map(|node| Some((node.metadata.name.clone()?, NodeInfo::new(node))))
            .collect();
        let mut snapshot = Self { nodes, ..Self::default() };
        for pod in pods {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            if let Some(node) = node {
                snapshot.assume(pod, node);
            }
        }
        snapshot
    }

    /// With what affinity terms select namespaces by.
    #[must_use]
    pub fn with_namespaces<'a>(
        mut self,
        namespaces: impl IntoIterator<Item = &'a Namespace>,
    ) -> Self {
        let one = |namespace: &Namespace| {
            let metadata = &namespace.metadata;
            Some((metadata.name.clone()?, metadata.labels.clone().unwrap_or_default()))
        };
        self.namespaces = namespaces.into_iter().filter_map(one).collect();
        self
    }

    /// With what preemption is to respect where it can.
    #[must_use]
    pub fn with_budgets<'a>(
        mut self,
        budgets: impl IntoIterator<Item = &'a PodDisruptionBudget>,
    ) -> Self {
        self.budgets = budgets.into_iter().map(Budget::new).collect();
        self
    }

    /// Counts the pod to the node, as after a decision that has not come back by the watch yet.
    pub fn assume(&mut self, pod: &Pod, node: &str) {
        if let (Some(info), false) = (self.nodes.get_mut(node), has_ended(pod)) {
            info.put(Arc::new(PodInfo::new(pod)));
        }
    }

    /// Counts pods as leaving, as after a decision that they have to go.
    pub fn displace(&mut self, victims: &[PodId], node: &str) {
        let pods = self.nodes.get_mut(node).map(|info| info.pods.as_mut_slice());
        for pod in pods.unwrap_or_default() {
            if victims.contains(&pod.id) {
                Arc::make_mut(pod).leaving = true;
            }
        }
    }

    /// Keeps room for a pod that is to come to the node when others have left it.
    pub fn reserve(&mut self, pod: &Pod, node: &str) {
        if let Some(info) = self.nodes.get_mut(node) {
            info.put(Arc::new(PodInfo { reserved: true, ..PodInfo::new(pod) }));
        }
    }
}

impl NodeInfo {
    fn new(node: &Node) -> Self {
        let allocatable = node.status.as_ref().and_then(|status| {
            // A node that says only what it has keeps nothing back.
            status.allocatable.as_ref().or(status.capacity.as_ref())
        });
        let amounts = allocatable.into_iter().flatten();
        Self {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: taints_of(node),
            unschedulable: node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true),
            allocatable: amounts.map(|(name, q)| (name.clone(), Amount::of(q))).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn put(&mut self, pod: Arc<PodInfo>) {
        self.used = add(std::mem::take(&mut self.used), pod.requests.clone());
        self.pods.push(pod);
    }

    pub(crate) fn take(&mut self, pod: &PodInfo) {
        if let Some(index) = self.pods.iter().position(|one| one.id == pod.id) {
            let gone = self.pods.swap_remove(index);
            subtract(&mut self.used, &gone.requests);
        }
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.iter().flat_map(|pod| &pod.ports)
    }

    /// Pods of the group that go on serving.
    pub(crate) fn similar(&self, group: &Group) -> usize {
        self.pods.iter().filter(|pod| !pod.leaving && pod.group.as_ref() == Some(group)).count()
    }
}

impl Budget {
    fn new(budget: &PodDisruptionBudget) -> Self {
        let status = budget.status.as_ref();
        let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
        Self {
            namespace: budget.metadata.namespace.clone().unwrap_or_default(),
            selector: budget.spec.as_ref().and_then(|spec| spec.selector.clone()),
            allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or_default(),
            disrupted: disrupted.into_iter().flat_map(|all| all.keys().cloned()).collect(),
        }
    }

    pub(crate) fn covers(&self, pod: &PodInfo) -> bool {
        self.namespace == pod.id.namespace
            && !self.disrupted.contains(&pod.id.name)
            && self.selector.as_ref().is_some_and(|s| selects(s, Some(&pod.labels)))
    }
}
