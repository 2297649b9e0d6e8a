//! Topology spread: how evenly the pods of a selector are to lie over domains of nodes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{PodSpec, TopologySpreadConstraint},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use crate::{
    node_affinity::{NodeIdentity, allows},
    pod_info::{Labels, PodInfo},
    reason::Reason,
    selector::selects,
    snapshot::{NodeInfo, Snapshot},
    taint::untolerated,
    term::with_keys,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    /// `DoNotSchedule`.
    hard: Vec<Constraint>,
    /// `ScheduleAnyway`.
    soft: Vec<Constraint>,
}

#[derive(Clone, Debug)]
struct Constraint {
    key: String,
    max_skew: i64,
    min_domains: usize,
    /// Without one no pod is meant.
    selector: Option<LabelSelector>,
    namespace: String,
    /// Whether the coming pod counts itself.
    counts_self: bool,
    /// The nodes whose pods count.
    nodes: BTreeSet<String>,
    /// How many pods there are in each domain.
    domains: BTreeMap<String, i64>,
}

impl Spread {
    pub(crate) fn new(spec: &PodSpec, coming: &PodInfo, snapshot: &Snapshot) -> Self {
        let of = |action: &str| {
            let all = spec.topology_spread_constraints.iter().flatten();
            let constraints: Vec<_> = all.filter(|c| c.when_unsatisfiable == action).collect();
            // A node counts only where it has the keys of all constraints.
            let has_keys = |labels: &Labels| {
                constraints.iter().all(|constraint| labels.contains_key(&constraint.topology_key))
            };
            let new = |constraint: &&TopologySpreadConstraint| {
                Constraint::new(constraint, spec, coming, snapshot, has_keys)
            };
            constraints.iter().map(new).collect()
        };
        Self { hard: of("DoNotSchedule"), soft: of("ScheduleAnyway") }
    }

    pub(crate) fn count(&mut self, there: &PodInfo, node: &str, labels: &Labels, by: i64) {
        for constraint in self.hard.iter_mut().chain(&mut self.soft) {
            constraint.count(there, node, labels, by);
        }
    }

    pub(crate) fn against(&self, labels: &Labels) -> Option<Reason> {
        self.hard.iter().find_map(|constraint| {
            let Some(domain) = labels.get(&constraint.key) else {
                return Some(Reason::SpreadLabel);
            };
            (constraint.skew(domain) > constraint.max_skew).then_some(Reason::Spread)
        })
    }

    /// How many pods are already where the soft constraints would rather see few.
    pub(crate) fn crowd(&self, labels: &Labels) -> i64 {
        let one = |constraint: &Constraint| {
            let most = constraint.domains.values().max().copied().unwrap_or_default();
            match labels.get(&constraint.key) {
                Some(domain) => constraint.domains.get(domain).copied().unwrap_or_default(),
                None => most + 1,
            }
        };
        self.soft.iter().map(one).sum()
    }
}

impl Constraint {
    fn new(
        constraint: &TopologySpreadConstraint,
        spec: &PodSpec,
        coming: &PodInfo,
        snapshot: &Snapshot,
        has_keys: impl Fn(&Labels) -> bool,
    ) -> Self {
        let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
        let mut selector = constraint.label_selector.clone();
        if let Some(selector) = &mut selector {
            let expressions = selector.match_expressions.get_or_insert_default();
            expressions.extend(with_keys(keys, "In", Some(&coming.labels)));
        }
        let honors = |policy: &Option<String>, default: bool| {
            policy.as_deref().map_or(default, |policy| policy == "Honor")
        };
        let affinity = honors(&constraint.node_affinity_policy, true);
        let taints = honors(&constraint.node_taints_policy, false);
        let tolerations = spec.tolerations.as_deref().unwrap_or_default();
        let counts = |name: &str, node: &NodeInfo| {
            has_keys(&node.labels)
                && (!affinity || allows(spec, &NodeIdentity { name, labels: &node.labels }))
                && (!taints || untolerated(&node.taints, tolerations).is_none())
        };
        let nodes = snapshot.nodes.iter().filter(|(name, node)| counts(name, node));
        let nodes: Vec<(&String, &NodeInfo)> = nodes.collect();
        let domains =
            nodes.iter().filter_map(|(_, node)| node.labels.get(&constraint.topology_key));
        let min_domains = constraint.min_domains.and_then(|count| usize::try_from(count).ok());
        Self {
            key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            min_domains: min_domains.unwrap_or(1),
            counts_self: is_selected(&selector, coming),
            namespace: coming.id.namespace.clone(),
            selector,
            domains: domains.map(|domain| (domain.clone(), 0)).collect(),
            nodes: nodes.into_iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    fn count(&mut self, there: &PodInfo, node: &str, labels: &Labels, by: i64) {
        if self.nodes.contains(node)
            && there.id.namespace == self.namespace
            && !there.leaving
            && is_selected(&self.selector, there)
            && let Some(domain) = labels.get(&self.key)
        {
            *self.domains.entry(domain.clone()).or_default() += by;
        }
    }

    /// By how much the domain would have more than the one with the fewest. While there are fewer
    /// domains than there should be, those that are missing have none.
    fn skew(&self, domain: &str) -> i64 {
        let least = match self.domains.values().min() {
            Some(least) if self.domains.len() >= self.min_domains => *least,
            _ => 0,
        };
        let there = self.domains.get(domain).copied().unwrap_or_default();
        there + i64::from(self.counts_self) - least
    }
}

fn is_selected(selector: &Option<LabelSelector>, pod: &PodInfo) -> bool {
    selector.as_ref().is_some_and(|selector| selects(selector, Some(&pod.labels)))
}
