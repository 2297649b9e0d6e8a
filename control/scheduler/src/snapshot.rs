use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use crate::{
    Amount,
    ports::{HostPort, host_ports},
    requests::{Amounts, add, pod_requests},
    taint::taints_of,
};

/// The nodes and what is taken of each, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) nodes: BTreeMap<String, NodeInfo>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct NodeInfo {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Amounts,
    pub(crate) used: Amounts,
    pub(crate) ports: BTreeSet<HostPort>,
    /// How many pods of each group are here.
    pub(crate) groups: BTreeMap<Group, usize>,
}

/// Pods that should not all be on one node: those of one controller, or else those of a namespace
/// with the same labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Controller(String),
    Labels(String, BTreeMap<String, String>),
}

impl Group {
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let owners = pod.metadata.owner_references.iter().flatten();
        if let Some(owner) = owners.clone().find(|owner| owner.controller == Some(true)) {
            return Some(Self::Controller(owner.uid.clone()));
        }
        let labels = pod.metadata.labels.clone().filter(|labels| !labels.is_empty())?;
        Some(Self::Labels(pod.metadata.namespace.clone().unwrap_or_default(), labels))
    }
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
        let mut snapshot = Self { nodes };
        for pod in pods {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            if let Some(node) = node {
                snapshot.assume(pod, node);
            }
        }
        snapshot
    }

    /// Counts the pod to the node, as after a decision that has not come back by the watch yet.
    pub fn assume(&mut self, pod: &Pod, node: &str) {
        if let (Some(info), false) = (self.nodes.get_mut(node), has_ended(pod)) {
            info.add(pod);
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

    fn add(&mut self, pod: &Pod) {
        if let Some(spec) = &pod.spec {
            self.used = add(std::mem::take(&mut self.used), pod_requests(spec));
            self.ports.extend(host_ports(spec));
        }
        // A pod that is leaving still takes room, but no longer serves.
        if pod.metadata.deletion_timestamp.is_none()
            && let Some(group) = Group::of(pod)
        {
            *self.groups.entry(group).or_default() += 1;
        }
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
