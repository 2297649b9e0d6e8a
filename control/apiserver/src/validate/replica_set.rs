//! ReplicaSet, and the selectors that it shares with other owners of pods.

use serde_json::Value;

use super::field_error::{Errors, Path};
use super::{names, pod_template};
use crate::kinds::Kind;
use crate::selector::labels_match;

const OPERATORS: [&str; 4] = ["DoesNotExist", "Exists", "In", "NotIn"];

pub(crate) fn replica_set(_: &Kind, set: &Value, errors: &mut Errors) {
    let spec = &set["spec"];
    let path = Path::root("spec");
    for field in ["replicas", "minReadySeconds"] {
        if let Some(number) = spec[field].as_i64()
            && number < 0
        {
            errors.invalid(&path.child(field), number, "must be greater than or equal to 0");
        }
    }
    selector_and_template(spec, &path, "replicaset", errors);
}

pub(crate) fn replica_set_update(new: &Value, old: &Value, errors: &mut Errors) {
    if new["spec"]["selector"] != old["spec"]["selector"] {
        let spec = Path::root("spec");
        let value = new["spec"]["selector"].clone();
        errors.invalid(&spec.child("selector"), value, "field is immutable");
    }
}

/// `owner` is the word for the kind in errors.
pub(super) fn selector_and_template(
    spec: &Value,
    path: &Path<'_>,
    owner: &str,
    errors: &mut Errors,
) {
    let selector = &spec["selector"];
    let at = path.child("selector");
    let before = errors.0.len();
    if selector.is_null() {
        errors.required(&at, "");
    } else {
        label_selector(selector, &at, errors);
        if is_empty(selector) {
            let why = format!("empty selector is invalid for {owner}");
            errors.invalid(&at, selector.clone(), &why);
        }
    }
    let template = &spec["template"];
    let at = path.child("template");
    if template.is_null() {
        return errors.required(&at, "");
    }
    if errors.0.len() == before && !labels_match(selector, &template["metadata"]["labels"]) {
        let metadata = at.child("metadata");
        let labels = match &template["metadata"]["labels"] {
            Value::Null => serde_json::json!({}),
            labels => labels.clone(),
        };
        errors.invalid(
            &metadata.child("labels"),
            labels,
            "`selector` does not match template `labels`",
        );
    }
    pod_template(template, &at, errors);
    let pod_spec = at.child("spec");
    let policy = &template["spec"]["restartPolicy"];
    if policy.is_string() && policy != "Always" {
        errors.not_supported(&pod_spec.child("restartPolicy"), policy.clone(), &["Always"]);
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        let field = pod_spec.child("activeDeadlineSeconds");
        errors.forbidden(&field, "activeDeadlineSeconds in ReplicaSet is not Supported");
    }
}

fn is_empty(selector: &Value) -> bool {
    selector["matchLabels"].as_object().is_none_or(serde_json::Map::is_empty)
        && selector["matchExpressions"].as_array().is_none_or(Vec::is_empty)
}

/// A `metav1.LabelSelector`.
pub(super) fn label_selector(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    super::metadata::labels(&selector["matchLabels"], &path.child("matchLabels"), errors);
    let path = path.child("matchExpressions");
    for (index, expression) in
        selector["matchExpressions"].as_array().into_iter().flatten().enumerate()
    {
        let path = path.index(index);
        let operator = expression["operator"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().map_or(&[][..], Vec::as_slice);
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                &path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            known if OPERATORS.contains(&known) => {}
            _ => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
        }
        let key = expression["key"].as_str().unwrap_or_default();
        for why in names::qualified_name(key) {
            errors.invalid(&path.child("key"), key, &why);
        }
        let at = path.child("values");
        for (index, value) in values.iter().enumerate() {
            let text = value.as_str().unwrap_or_default();
            for why in names::label_value(text) {
                errors.invalid(&at.index(index), text, &why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn problems(spec: Value) -> Vec<String> {
        let kind = kinds::find("apps", "v1", "replicasets").unwrap();
        let mut set = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec});
        kind.default(&mut set);
        kind.validate_create(&set).iter().map(ToString::to_string).collect()
    }

    fn template(labels: Value) -> Value {
        json!({"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "a", "image": "a"}]}})
    }

    #[test]
    fn a_good_one_is_taken() {
        let selector = json!({"matchLabels": {"app": "a"}});
        let spec = json!({"selector": selector, "template": template(json!({"app": "a"}))});
        assert_eq!(problems(spec), Vec::<String>::new());
    }

    #[test]
    fn the_selector_must_match_the_template() {
        let selector = json!({"matchLabels": {"app": "b"}});
        let spec = json!({"selector": selector, "template": template(json!({"app": "a"}))});
        assert_eq!(
            problems(spec),
            ["spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not \
              match template `labels`"]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let found = problems(json!({"replicas": -1}));
        assert_eq!(
            found,
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.selector: Required value",
                "spec.template: Required value",
            ]
        );
        let empty = problems(json!({"selector": {}, "template": template(json!({"a": "b"}))}));
        assert!(empty[0].ends_with("empty selector is invalid for replicaset"), "{empty:?}");
    }

    #[test]
    fn expressions_and_the_restart_policy_are_checked() {
        let mut pods = template(json!({"a": "b"}));
        pods["spec"]["restartPolicy"] = "Never".into();
        let selector = json!({"matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["b"]},
            {"key": "-", "operator": "Like"},
        ]});
        let found = problems(json!({"selector": selector, "template": pods}));
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[0].starts_with("spec.selector.matchExpressions[0].values: Required value"));
        assert!(found[1].starts_with("spec.selector.matchExpressions[1].values: Forbidden"));
        assert!(
            found[4].starts_with("spec.template.spec.restartPolicy: Unsupported value: \"Never\"")
        );
    }

    #[test]
    fn the_selector_never_changes() {
        let kind = kinds::find("apps", "v1", "replicasets").unwrap();
        let set = |label: &str| {
            let mut set = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {
                "selector": {"matchLabels": {"app": label}},
                "template": template(json!({"app": label}))}});
            kind.default(&mut set);
            set
        };
        let found = kind.validate_update(&set("b"), &set("a"));
        assert_eq!(
            found[0].to_string(),
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"
        );
        assert_eq!(found.len(), 1);
    }
}
