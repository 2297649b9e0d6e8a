use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};

use crate::{
    pod_info::{Labels, PodInfo},
    selector::selects,
};

/// The labels of every namespace.
pub(crate) type Namespaces = BTreeMap<String, Labels>;

/// What a pod says of the pods it wants near, or far: one term of its affinity.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) topology_key: String,
    /// Without one no pod is meant.
    selector: Option<LabelSelector>,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<LabelSelector>,
}

impl Term {
    fn new(term: &PodAffinityTerm, pod: &Pod) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(pod.metadata.namespace.clone().unwrap_or_default());
        }
        let labels = pod.metadata.labels.as_ref();
        let keys = |keys: &Option<Vec<String>>, operator: &str| {
            with_keys(keys.as_deref().unwrap_or_default(), operator, labels)
        };
        let mut selector = term.label_selector.clone();
        if let Some(selector) = &mut selector {
            let expressions = selector.match_expressions.get_or_insert_default();
            expressions.extend(keys(&term.match_label_keys, "In"));
            expressions.extend(keys(&term.mismatch_label_keys, "NotIn"));
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector,
            namespaces,
            namespace_selector: term.namespace_selector.clone(),
        }
    }

    pub(crate) fn matches(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        let namespace = &pod.id.namespace;
        let selected = || {
            self.namespace_selector.as_ref().is_some_and(|s| selects(s, namespaces.get(namespace)))
        };
        self.selector.as_ref().is_some_and(|selector| selects(selector, Some(&pod.labels)))
            && (self.namespaces.contains(namespace) || selected())
    }
}

/// Requirements that other pods have the pod's own values of these labels, or not.
pub(crate) fn with_keys(
    keys: &[String],
    operator: &str,
    labels: Option<&Labels>,
) -> Vec<LabelSelectorRequirement> {
    let value = |key: &String| Some((key.clone(), labels?.get(key)?.clone()));
    keys.iter()
        .filter_map(value)
        .map(|(key, value)| LabelSelectorRequirement {
            key,
            operator: operator.into(),
            values: Some(vec![value]),
        })
        .collect()
}

/// The affinity and anti-affinity of a pod to other pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) near: Vec<Term>,
    pub(crate) far: Vec<Term>,
    /// With their weights, which are negative where the others should be far.
    pub(crate) preferred: Vec<(i64, Term)>,
}

impl Terms {
    pub(crate) fn of(pod: &Pod) -> Self {
        let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else {
            return Self::default();
        };
        let near = affinity.pod_affinity.as_ref();
        let far = affinity.pod_anti_affinity.as_ref();
        let required = |terms: Option<&Vec<PodAffinityTerm>>| -> Vec<Term> {
            terms.into_iter().flatten().map(|term| Term::new(term, pod)).collect()
        };
        let preferred = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| -> Vec<_> {
            let one = |term: &WeightedPodAffinityTerm| {
                (sign * i64::from(term.weight), Term::new(&term.pod_affinity_term, pod))
            };
            terms.into_iter().flatten().map(one).collect()
        };
        let mut weighed = preferred(
            near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
            1,
        );
        weighed.extend(preferred(
            far.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        Self {
            near: required(
                near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            far: required(
                far.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            preferred: weighed,
        }
    }
}
