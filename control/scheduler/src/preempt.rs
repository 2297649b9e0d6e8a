//! Whom a pod displaces where no node has room for it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;

use crate::{
    PodId, Reason, Snapshot, Unschedulable,
    pod_info::PodInfo,
    reason::tell,
    schedule::{Others, Wanted},
    snapshot::NodeInfo,
};

/// The node on which the fewest and least important pods have to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    pub node: String,
    /// None where those that are leaving already are enough.
    pub victims: Vec<PodId>,
    /// How many of them a disruption budget would rather keep.
    pub violations: usize,
}

/// Why nobody is displaced, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPreemption {
    #[error("not eligible due to preemptionPolicy=Never.")]
    Policy,
    #[error("{0}")]
    Useless(Useless),
}

/// Of every node why it would not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Useless(BTreeMap<String, Vec<String>>);

impl fmt::Display for Useless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tell(f, self.0.len(), self.0.values().flatten().cloned())
    }
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// For a pod that `schedule` has refused with `why`.
pub fn preempt(
    pod: &Pod,
    snapshot: &Snapshot,
    why: &Unschedulable,
) -> Result<Preemption, NoPreemption> {
    let wanted = Wanted::new(pod);
    if wanted.spec.preemption_policy.as_deref() == Some("Never") {
        return Err(NoPreemption::Policy);
    }
    let others = Others::of(&wanted, snapshot);
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
    let mut best: Option<Candidate<'_>> = None;
    let mut useless = BTreeMap::new();
    for (name, node) in &snapshot.nodes {
        let helps = why.reasons.get(name).is_some_and(|all| all.iter().all(Reason::is_of_pods));
        let is_lower = |pod: &Arc<PodInfo>| pod.priority < wanted.pod.priority;
        let candidate = match helps {
            true if node.pods.iter().any(is_lower) => {
                Trial::new(&wanted, name, node, &others, snapshot).candidate()
            }
            true => Err(vec![NO_VICTIMS.to_owned()]),
            false => Err(vec![NOT_HELPFUL.to_owned()]),
        };
        match candidate {
            Ok(candidate) => {
                let is_better =
                    |best: &Candidate<'_>| candidate.rank(nominated) < best.rank(nominated);
                if best.as_ref().is_none_or(is_better) {
                    best = Some(candidate);
                }
            }
            Err(reasons) => {
                useless.insert(name.clone(), reasons);
            }
        }
    }
    let Some(best) = best else { return Err(NoPreemption::Useless(Useless(useless))) };
    Ok(Preemption {
        node: best.node.to_owned(),
        victims: best.victims.iter().map(|victim| victim.id.clone()).collect(),
        violations: best.violations,
    })
}

struct Candidate<'a> {
    node: &'a str,
    victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

impl Candidate<'_> {
    /// The least is the best, by Kubernetes' order of criteria.
    fn rank(&self, nominated: Option<&str>) -> impl Ord {
        let highest = self.victims.iter().map(|victim| victim.priority).max();
        let sum: i64 = self
            .victims
            .iter()
            // So that many victims of negative priority are not better than few.
            .map(|victim| i64::from(victim.priority) - i64::from(i32::MIN))
            .sum();
        let important = self.victims.iter().filter(|victim| Some(victim.priority) == highest);
        let oldest = important.filter_map(|victim| victim.since).min();
        (
            self.violations,
            highest,
            sum,
            self.victims.len(),
            Reverse(oldest),
            nominated != Some(self.node),
            self.node,
        )
    }
}

/// A node from which pods are taken, and put back where the coming pod fits all the same.
struct Trial<'a> {
    wanted: &'a Wanted,
    snapshot: &'a Snapshot,
    name: &'a str,
    node: NodeInfo,
    others: Others,
}

impl<'a> Trial<'a> {
    fn new(
        wanted: &'a Wanted,
        name: &'a str,
        node: &NodeInfo,
        others: &Others,
        snapshot: &'a Snapshot,
    ) -> Self {
        Self { wanted, snapshot, name, node: node.clone(), others: others.clone() }
    }

    fn candidate(mut self) -> Result<Candidate<'a>, Vec<String>> {
        let priority = self.wanted.pod.priority;
        let lower = self.node.pods.iter().filter(|pod| pod.priority < priority && !pod.reserved);
        let mut lower: Vec<Arc<PodInfo>> = lower.cloned().collect();
        // Room that is kept for less important pods is free for this one.
        let kept = self.node.pods.iter().filter(|pod| pod.priority < priority && pod.reserved);
        let kept: Vec<Arc<PodInfo>> = kept.cloned().collect();
        for pod in lower.iter().chain(&kept) {
            self.take(pod);
        }
        let against = self.against();
        if !against.is_empty() {
            return Err(against.iter().map(ToString::to_string).collect());
        }
        // Those that leave anyway are displaced by nobody.
        lower.retain(|pod| !pod.leaving);
        // The most important may stay first, those whose budget is used up before the others.
        lower.sort_by_key(|pod| (Reverse(pod.priority), pod.since, pod.id.clone()));
        let violating = violating(&lower, self.snapshot);
        let (first, rest): (Vec<_>, Vec<_>) =
            lower.into_iter().partition(|pod| violating.contains(&pod.id));
        let mut victims = Vec::new();
        let mut violations = 0;
        for pod in first {
            if !self.reprieve(&pod) {
                violations += 1;
                victims.push(pod);
            }
        }
        for pod in rest {
            if !self.reprieve(&pod) {
                victims.push(pod);
            }
        }
        Ok(Candidate { node: self.name, victims, violations })
    }

    fn against(&self) -> BTreeSet<Reason> {
        self.wanted.against(self.name, &self.node, &self.others, self.snapshot)
    }

    fn take(&mut self, pod: &PodInfo) {
        self.node.take(pod);
        let node = (self.name, &self.node.labels);
        self.others.count(self.wanted, pod, node, self.snapshot, -1);
    }

    /// Whether the pod may stay.
    fn reprieve(&mut self, pod: &Arc<PodInfo>) -> bool {
        self.node.put(pod.clone());
        let node = (self.name, &self.node.labels);
        self.others.count(self.wanted, pod, node, self.snapshot, 1);
        let stays = self.against().is_empty();
        if !stays {
            self.take(pod);
        }
        stays
    }
}

/// Pods whose going a budget does not allow any more, if they all went in this order.
fn violating(pods: &[Arc<PodInfo>], snapshot: &Snapshot) -> BTreeSet<PodId> {
    let mut left: Vec<i32> = snapshot.budgets.iter().map(|budget| budget.allowed).collect();
    let mut violating = BTreeSet::new();
    for pod in pods {
        for (budget, left) in snapshot.budgets.iter().zip(&mut left) {
            if budget.covers(pod) {
                *left = left.saturating_sub(1);
                if *left < 0 {
                    violating.insert(pod.id.clone());
                }
            }
        }
    }
    violating
}

#[cfg(test)]
mod tests;
