use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether the selector takes an object with `labels`. An empty one takes everything.
pub fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let mut pairs = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    pairs.all(|(key, wanted)| value(key) == Some(wanted))
        && expressions.all(|requirement| {
            let value = value(&requirement.key);
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
        let labels = |text: &[(&str, &str)]| -> BTreeMap<String, String> {
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
        assert!(selects(&selector, Some(&labels(&[("app", "web"), ("tier", "b")]))));
        assert!(!selects(&selector, Some(&labels(&[("app", "web")]))));
        assert!(!selects(&selector, Some(&labels(&[("app", "web"), ("tier", "a"), ("old", "")]))));
        assert!(!selects(&selector, None));
        assert!(selects(&LabelSelector::default(), None));
    }
}
