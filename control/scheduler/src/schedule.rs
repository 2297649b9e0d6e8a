use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::core::v1::{Pod, PodSpec, Taint};

use crate::{
    Amount, Snapshot,
    affinity::{NodeIdentity, allows, preference},
    ports::{conflict, host_ports},
    requests::{Amounts, pod_requests},
    snapshot::{Group, NodeInfo},
    taint::{UNSCHEDULABLE, tolerates, untolerated, unwelcome},
};

/// Where a pod goes, and what spoke for it, in the order of weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: String,
    /// The weights of the preferred node affinity that the node meets.
    pub preference: i64,
    /// Taints with effect PreferNoSchedule that the pod does not tolerate.
    pub unwelcome: usize,
    /// Pods of the same controller, or of the same labels, that are there already.
    pub similar_pods: usize,
    /// The mean share of processor and memory that would be requested, in thousandths.
    pub requested_permille: i64,
    /// Pods on the node before this one.
    pub pods: i64,
}

impl Placement {
    /// The least is the best; the name decides what nothing else does.
    fn rank(&self) -> impl Ord + '_ {
        let Self { node, preference, unwelcome, similar_pods, requested_permille, pods } = self;
        (Reverse(preference), unwelcome, similar_pods, requested_permille, pods, node)
    }
}

/// Why a node does not take a pod, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Unschedulable,
    Taint { key: String, value: String },
    NodeSelector,
    HostPort,
    Insufficient { resource: String },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::Taint { key, value } => {
                write!(f, "node(s) had untolerated taint {{{key}: {value}}}")
            }
            Self::NodeSelector => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::HostPort => {
                f.write_str("node(s) didn't have free ports for the requested pod ports")
            }
            Self::Insufficient { resource } if resource == "pods" => f.write_str("Too many pods"),
            Self::Insufficient { resource } => write!(f, "Insufficient {resource}"),
        }
    }
}

/// No node takes the pod. Printed as Kubernetes does: `0/3 nodes are available: 1 Insufficient
/// cpu, 2 node(s) had untolerated taint {gpu: a100}.`
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unschedulable {
    /// Of every node, all that spoke against it.
    pub reasons: BTreeMap<String, BTreeSet<Reason>>,
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut counts: BTreeMap<&Reason, usize> = BTreeMap::new();
        for reason in self.reasons.values().flatten() {
            *counts.entry(reason).or_default() += 1;
        }
        let mut parts: Vec<String> =
            counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        write!(f, "0/{} nodes are available: {}.", self.reasons.len(), parts.join(", "))
    }
}

/// The best node for the pod. The same snapshot gives the same answer.
pub fn schedule(pod: &Pod, snapshot: &Snapshot) -> Result<Placement, Unschedulable> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let wanted = Wanted { spec, requests: pod_requests(spec), group: Group::of(pod) };
    let mut reasons = BTreeMap::new();
    let mut best: Option<Placement> = None;
    for (name, node) in &snapshot.nodes {
        match wanted.against(name, node) {
            against if !against.is_empty() => {
                reasons.insert(name.clone(), against);
            }
            _ => {
                let placement = wanted.placement(name, node);
                if best.as_ref().is_none_or(|best| placement.rank() < best.rank()) {
                    best = Some(placement);
                }
            }
        }
    }
    best.ok_or(Unschedulable { reasons })
}

struct Wanted<'a> {
    spec: &'a PodSpec,
    requests: Amounts,
    group: Option<Group>,
}

impl Wanted<'_> {
    /// The reasons of the first test that fails, in the order of Kubernetes' filters; of resources
    /// all that are short.
    fn against(&self, name: &str, node: &NodeInfo) -> BTreeSet<Reason> {
        let tolerations = self.spec.tolerations.as_deref().unwrap_or_default();
        let cordon =
            Taint { key: UNSCHEDULABLE.into(), effect: "NoSchedule".into(), ..Taint::default() };
        if node.unschedulable && !tolerates(tolerations, &cordon) {
            return BTreeSet::from([Reason::Unschedulable]);
        }
        if let Some(taint) = untolerated(&node.taints, tolerations) {
            let value = taint.value.clone().unwrap_or_default();
            return BTreeSet::from([Reason::Taint { key: taint.key.clone(), value }]);
        }
        if !allows(self.spec, &NodeIdentity { name, labels: &node.labels }) {
            return BTreeSet::from([Reason::NodeSelector]);
        }
        if conflict(&host_ports(self.spec), &node.ports) {
            return BTreeSet::from([Reason::HostPort]);
        }
        self.requests
            .iter()
            .filter(|(resource, amount)| {
                **amount > Amount::ZERO
                    && used(node, resource) + **amount > allocatable(node, resource)
            })
            .map(|(resource, _)| Reason::Insufficient { resource: resource.clone() })
            .collect()
    }

    fn placement(&self, name: &str, node: &NodeInfo) -> Placement {
        let tolerations = self.spec.tolerations.as_deref().unwrap_or_default();
        let requested = |resource: &str| {
            let amount = self.requests.get(resource).copied().unwrap_or_default();
            (used(node, resource) + amount).permille_of(allocatable(node, resource))
        };
        let similar = self.group.as_ref().and_then(|group| node.groups.get(group));
        Placement {
            node: name.to_owned(),
            preference: preference(self.spec, &NodeIdentity { name, labels: &node.labels }),
            unwelcome: unwelcome(&node.taints, tolerations),
            similar_pods: similar.copied().unwrap_or_default(),
            requested_permille: (requested("cpu") + requested("memory")) / 2,
            pods: used(node, "pods").to_units(),
        }
    }
}

fn used(node: &NodeInfo, resource: &str) -> Amount {
    node.used.get(resource).copied().unwrap_or_default()
}

/// What a node does not offer it has none of.
fn allocatable(node: &NodeInfo, resource: &str) -> Amount {
    node.allocatable.get(resource).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
