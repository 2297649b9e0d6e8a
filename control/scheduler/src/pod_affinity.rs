//! Which topology domains the pods that are there make good or bad for one that is to come.
//!
//! The counts are kept so that a pod can be taken out and put back (preemption tries that) without
//! looking at all the others again.

use std::collections::BTreeMap;

use crate::{
    pod_info::{Labels, PodInfo},
    reason::Reason,
    term::{Namespaces, Term},
};

/// A label of nodes and one of its values.
type Domain = (String, String);
type Counts = BTreeMap<Domain, i64>;

/// What a pod's required affinity to others weighs for those others, as in Kubernetes.
const REQUIRED_WEIGHT: i64 = 1;

#[derive(Clone, Debug, Default)]
pub(crate) struct PodAffinity {
    /// Pods that the coming pod wants near.
    near: Counts,
    /// Pods that the coming pod wants far.
    far: Counts,
    /// Pods that want the coming pod far.
    unwilling: Counts,
    weights: Counts,
}

fn domain(term: &Term, labels: &Labels) -> Option<Domain> {
    labels.get(&term.topology_key).map(|value| (term.topology_key.clone(), value.clone()))
}

fn count(counts: &mut Counts, term: &Term, labels: &Labels, by: i64) {
    if let Some(domain) = domain(term, labels) {
        *counts.entry(domain).or_default() += by;
    }
}

fn holds(counts: &Counts, term: &Term, labels: &Labels) -> bool {
    domain(term, labels).is_some_and(|domain| counts.get(&domain).is_some_and(|count| *count > 0))
}

/// Whether `pod` is one that all terms mean: only such a pod counts for any of them.
fn is_meant_by_all(terms: &[Term], pod: &PodInfo, namespaces: &Namespaces) -> bool {
    !terms.is_empty() && terms.iter().all(|term| term.matches(pod, namespaces))
}

impl PodAffinity {
    /// Counts `there`, on a node with `labels`, `by` times more for the pod that is to come.
    pub(crate) fn count(
        &mut self,
        coming: &PodInfo,
        there: &PodInfo,
        labels: &Labels,
        namespaces: &Namespaces,
        by: i64,
    ) {
        // A pod that is not there yet may not come: nothing is put near it.
        if !there.reserved && is_meant_by_all(&coming.terms.near, there, namespaces) {
            for term in &coming.terms.near {
                count(&mut self.near, term, labels, by);
            }
        }
        for term in coming.terms.far.iter().filter(|term| term.matches(there, namespaces)) {
            count(&mut self.far, term, labels, by);
        }
        for term in there.terms.far.iter().filter(|term| term.matches(coming, namespaces)) {
            count(&mut self.unwilling, term, labels, by);
        }
        for (weight, term) in &coming.terms.preferred {
            if term.matches(there, namespaces) {
                count(&mut self.weights, term, labels, weight * by);
            }
        }
        for (weight, term) in &there.terms.preferred {
            if term.matches(coming, namespaces) {
                count(&mut self.weights, term, labels, weight * by);
            }
        }
        for term in there.terms.near.iter().filter(|term| term.matches(coming, namespaces)) {
            count(&mut self.weights, term, labels, REQUIRED_WEIGHT * by);
        }
    }

    pub(crate) fn against(
        &self,
        coming: &PodInfo,
        labels: &Labels,
        namespaces: &Namespaces,
    ) -> Option<Reason> {
        let near = &coming.terms.near;
        let has_every_key = near.iter().all(|term| labels.contains_key(&term.topology_key));
        // The first of a group that wants to be together has nobody to go to.
        let is_first = || {
            self.near.values().all(|count| *count == 0) && is_meant_by_all(near, coming, namespaces)
        };
        let all_near = || near.iter().all(|term| holds(&self.near, term, labels));
        if !(has_every_key && (all_near() || is_first())) {
            return Some(Reason::PodAffinity);
        }
        if coming.terms.far.iter().any(|term| holds(&self.far, term, labels)) {
            return Some(Reason::PodAntiAffinity);
        }
        let mut unwilling = self.unwilling.iter();
        unwilling
            .any(|((key, value), count)| *count > 0 && labels.get(key) == Some(value))
            .then_some(Reason::ExistingAntiAffinity)
    }

    /// What speaks for the node: the weights of all preferences, of the coming pod and of those
    /// that are there.
    pub(crate) fn preference(&self, labels: &Labels) -> i64 {
        let mine = |key: &str, value: &String| labels.get(key) == Some(value);
        let weights = self.weights.iter().filter(|((key, value), _)| mine(key, value));
        weights.map(|(_, weight)| *weight).sum()
    }
}
