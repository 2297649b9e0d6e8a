use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

pub(crate) struct NodeIdentity<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
}

/// Whether the pod's node selector and its required node affinity allow the node.
pub(crate) fn allows(spec: &PodSpec, node: &NodeIdentity<'_>) -> bool {
    let mut selector = spec.node_selector.iter().flatten();
    let selected = selector.all(|(key, value)| node.labels.get(key) == Some(value));
    let required =
        spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()).and_then(
            |affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref(),
        );
    // Any term will do.
    let affine = required.is_none_or(|s| s.node_selector_terms.iter().any(|t| matches(t, node)));
    selected && affine
}

/// The weights of the preferred terms that the node meets.
pub(crate) fn preference(spec: &PodSpec, node: &NodeIdentity<'_>) -> i64 {
    spec.affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .flatten()
        .filter(|preferred| matches(&preferred.preference, node))
        .map(|preferred| i64::from(preferred.weight))
        .sum()
}

/// A term without requirements matches nothing.
fn matches(term: &NodeSelectorTerm, node: &NodeIdentity<'_>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let name = |key: &str| (key == "metadata.name").then_some(node.name);
    let label = |key: &str| node.labels.get(key).map(String::as_str);
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| meets(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| meets(requirement, name(&requirement.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = || value.is_some_and(|value| values.iter().any(|v| v == value));
    let numbers =
        || -> Option<(i64, i64)> { Some((value?.parse().ok()?, values.first()?.parse().ok()?)) };
    match requirement.operator.as_str() {
        "In" => among(),
        "NotIn" => !among(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn allowed(affinity: Value) -> bool {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": affinity,
            }}},
        }))
        .unwrap();
        let labels = [("zone", "a"), ("slots", "8")].map(|(k, v)| (k.into(), v.into())).into();
        allows(&spec, &NodeIdentity { name: "n1", labels: &labels })
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}])
    }

    #[test]
    fn operators() {
        for (key, operator, values, expected) in [
            ("zone", "In", &["a", "b"][..], true),
            ("zone", "In", &["b"], false),
            ("zone", "NotIn", &["b"], true),
            ("none", "NotIn", &["b"], true),
            ("zone", "Exists", &[], true),
            ("none", "Exists", &[], false),
            ("none", "DoesNotExist", &[], true),
            ("slots", "Gt", &["7"], true),
            ("slots", "Gt", &["8"], false),
            ("slots", "Lt", &["9"], true),
            ("zone", "Lt", &["9"], false),
            ("zone", "Near", &["a"], false),
        ] {
            assert_eq!(allowed(expression(key, operator, values)), expected, "{key} {operator}");
        }
    }

    #[test]
    fn any_term_will_do_and_an_empty_one_matches_nothing() {
        let name = json!({"matchFields":
            [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]});
        assert!(allowed(json!([{}, name])));
        assert!(!allowed(json!([{}])));
        assert!(!allowed(json!([])));
    }
}
