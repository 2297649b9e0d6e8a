use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use k8s_openapi::api::core::v1::{Pod, PodSpec, Taint};

use crate::{
    Amount, Reason, Snapshot, Unschedulable,
    node_affinity::{NodeIdentity, allows, preference},
    pod_affinity::PodAffinity,
    pod_info::{Labels, PodInfo},
    ports::conflict,
    snapshot::NodeInfo,
    spread::Spread,
    taint::{UNSCHEDULABLE, tolerates, untolerated, unwelcome},
};

/// Where a pod goes, and what spoke for it, in the order of weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: String,
    /// The weights of the preferred affinity, to the node and to pods there, that the node meets.
    pub preference: i64,
    /// Taints with effect PreferNoSchedule that the pod does not tolerate.
    pub unwelcome: usize,
    /// Pods that are already where the pod's soft spread constraints would see few.
    pub crowd: i64,
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
        let Self { node, preference, unwelcome, crowd, similar_pods, requested_permille, pods } =
            self;
        (Reverse(preference), unwelcome, crowd, similar_pods, requested_permille, pods, node)
    }
}

/// The best node for the pod. The same snapshot gives the same answer.
pub fn schedule(pod: &Pod, snapshot: &Snapshot) -> Result<Placement, Unschedulable> {
    let wanted = Wanted::new(pod);
    let others = Others::of(&wanted, snapshot);
    let mut reasons = BTreeMap::new();
    let mut best: Option<Placement> = None;
    for (name, node) in &snapshot.nodes {
        match wanted.against(name, node, &others, snapshot) {
            against if !against.is_empty() => {
                reasons.insert(name.clone(), against);
            }
            _ => {
                let placement = wanted.placement(name, node, &others);
                if best.as_ref().is_none_or(|best| placement.rank() < best.rank()) {
                    best = Some(placement);
                }
            }
        }
    }
    best.ok_or(Unschedulable { reasons })
}

/// The pod that is to come.
pub(crate) struct Wanted {
    pub(crate) spec: PodSpec,
    pub(crate) pod: PodInfo,
}

/// What the pods that are there mean to the one that is to come.
#[derive(Clone)]
pub(crate) struct Others {
    affinity: PodAffinity,
    spread: Spread,
}

impl Others {
    pub(crate) fn of(wanted: &Wanted, snapshot: &Snapshot) -> Self {
        let spread = Spread::new(&wanted.spec, &wanted.pod, snapshot);
        let mut others = Self { affinity: PodAffinity::default(), spread };
        for (name, node) in &snapshot.nodes {
            for there in &node.pods {
                others.count(wanted, there, (name, &node.labels), snapshot, 1);
            }
        }
        others
    }

    /// Counts a pod on a node `by` times more.
    pub(crate) fn count(
        &mut self,
        wanted: &Wanted,
        there: &PodInfo,
        (node, labels): (&str, &Labels),
        snapshot: &Snapshot,
        by: i64,
    ) {
        self.affinity.count(&wanted.pod, there, labels, &snapshot.namespaces, by);
        self.spread.count(there, node, labels, by);
    }
}

impl Wanted {
    pub(crate) fn new(pod: &Pod) -> Self {
        Self { spec: pod.spec.clone().unwrap_or_default(), pod: PodInfo::new(pod) }
    }

    /// The reasons of the first test that fails, in the order of Kubernetes' filters; of resources
    /// all that are short.
    pub(crate) fn against(
        &self,
        name: &str,
        node: &NodeInfo,
        others: &Others,
        snapshot: &Snapshot,
    ) -> BTreeSet<Reason> {
        let own = self.against_node(name, node);
        let short = || -> BTreeSet<Reason> {
            let requests = self.pod.requests.iter().filter(|(resource, amount)| {
                **amount > Amount::ZERO
                    && used(node, resource) + **amount > allocatable(node, resource)
            });
            requests.map(|(name, _)| Reason::Insufficient { resource: name.clone() }).collect()
        };
        let of_pods = || {
            let spread = others.spread.against(&node.labels);
            spread
                .or_else(|| others.affinity.against(&self.pod, &node.labels, &snapshot.namespaces))
        };
        match own {
            Some(reason) => BTreeSet::from([reason]),
            None => match short() {
                short if !short.is_empty() => short,
                _ => of_pods().into_iter().collect(),
            },
        }
    }

    /// What speaks against the node itself.
    fn against_node(&self, name: &str, node: &NodeInfo) -> Option<Reason> {
        let tolerations = self.spec.tolerations.as_deref().unwrap_or_default();
        let cordon =
            Taint { key: UNSCHEDULABLE.into(), effect: "NoSchedule".into(), ..Taint::default() };
        if node.unschedulable && !tolerates(tolerations, &cordon) {
            return Some(Reason::Unschedulable);
        }
        let asked_for = self.spec.node_name.as_deref().filter(|name| !name.is_empty());
        if asked_for.is_some_and(|asked_for| asked_for != name) {
            return Some(Reason::NodeName);
        }
        if let Some(taint) = untolerated(&node.taints, tolerations) {
            let value = taint.value.clone().unwrap_or_default();
            return Some(Reason::Taint { key: taint.key.clone(), value });
        }
        if !allows(&self.spec, &NodeIdentity { name, labels: &node.labels }) {
            return Some(Reason::NodeSelector);
        }
        conflict(&self.pod.ports, node.ports()).then_some(Reason::HostPort)
    }

    fn placement(&self, name: &str, node: &NodeInfo, others: &Others) -> Placement {
        let tolerations = self.spec.tolerations.as_deref().unwrap_or_default();
        let requested = |resource: &str| {
            let amount = self.pod.requests.get(resource).copied().unwrap_or_default();
            (used(node, resource) + amount).permille_of(allocatable(node, resource))
        };
        let to_node = preference(&self.spec, &NodeIdentity { name, labels: &node.labels });
        Placement {
            node: name.to_owned(),
            preference: to_node + others.affinity.preference(&node.labels),
            unwelcome: unwelcome(&node.taints, tolerations),
            crowd: others.spread.crowd(&node.labels),
            similar_pods: self.pod.group.as_ref().map_or(0, |group| node.similar(group)),
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
