//! PodDisruptionBudget.

use serde_json::Value;

use super::field_error::{Errors, Path};
use super::percent::{int_or_percent, percent};
use super::replica_set::label_selector;
use crate::kinds::Kind;

const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

pub(crate) fn disruption_budget(_: &Kind, budget: &Value, errors: &mut Errors) {
    let path = Path::root("spec");
    let spec = &budget["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.invalid(&path, spec.clone(), why);
    }
    for field in ["minAvailable", "maxUnavailable"] {
        int_or_percent(&spec[field], &path.child(field), errors);
        if percent(&spec[field]).is_some_and(|percent| percent > 100) {
            let value = spec[field].clone();
            errors.invalid(&path.child(field), value, "must not be greater than 100%");
        }
    }
    label_selector(&spec["selector"], &path.child("selector"), errors);
    if let Some(policy) = spec["unhealthyPodEvictionPolicy"].as_str()
        && !POLICIES.contains(&policy)
    {
        errors.not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &POLICIES);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn problems(spec: Value) -> Vec<String> {
        let kind = kinds::find("policy", "v1", "poddisruptionbudgets").unwrap();
        let budget = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec});
        kind.validate_create(&budget).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn budgets_are_checked_in_the_words_of_kubernetes() {
        for good in [
            json!({"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}),
            json!({"maxUnavailable": "30%"}),
            json!({"minAvailable": "100%", "unhealthyPodEvictionPolicy": "AlwaysAllow"}),
            json!({}),
        ] {
            assert_eq!(problems(good), Vec::<String>::new());
        }
        for (spec, expected) in [
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                "spec: Invalid value: {\"minAvailable\":1,\"maxUnavailable\":1}: minAvailable and \
                 maxUnavailable cannot be both set",
            ),
            (
                json!({"minAvailable": -1}),
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                json!({"maxUnavailable": "101%"}),
                "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                json!({"maxUnavailable": "some"}),
                "spec.maxUnavailable: Invalid value: \"some\": a valid percent string must be a \
                 numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for \
                 validation is '[0-9]+%')",
            ),
            (
                json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
                "spec.selector.matchExpressions[0].operator: Invalid value: \"Is\": not a valid \
                 selector operator",
            ),
            (
                json!({"unhealthyPodEvictionPolicy": "Never"}),
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \
                 \"AlwaysAllow\", \"IfHealthyBudget\"",
            ),
        ] {
            assert_eq!(problems(spec), [expected]);
        }
    }
}
