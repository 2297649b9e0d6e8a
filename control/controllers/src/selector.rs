use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

type Labels = BTreeMap<String, String>;

/// Whether every pair of `selector` is among `labels`.
pub(crate) fn matches_all(selector: &Labels, labels: Option<&Labels>) -> bool {
    selector.iter().all(|(key, value)| labels.is_some_and(|l| l.get(key) == Some(value)))
}

/// Whether the selector takes an object with `labels`. An empty one takes everything.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let expressions = selector.match_expressions.iter().flatten();
    selector.match_labels.as_ref().is_none_or(|all| matches_all(all, labels))
        && expressions.into_iter().all(|requirement| {
            let value = labels.and_then(|labels| labels.get(&requirement.key));
            let among =
                || value.is_some_and(|v| requirement.values.iter().flatten().any(|one| one == v));
            match requirement.operator.as_str() {
                "In" => among(),
                "NotIn" => !among(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requirements_are_all_to_be_met() {
        let labels = |text: &[(&str, &str)]| -> Labels {
            text.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
        };
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        }))
        .unwrap();
        assert!(matches(&selector, Some(&labels(&[("app", "web"), ("tier", "b")]))));
        assert!(!matches(&selector, Some(&labels(&[("app", "web")]))));
        assert!(!matches(&selector, Some(&labels(&[("app", "web"), ("tier", "a"), ("old", "")]))));
        assert!(!matches(&selector, None));
        assert!(matches(&LabelSelector::default(), None));
    }
}
