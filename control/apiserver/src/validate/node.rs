//! Node.

use serde_json::Value;

use super::field_error::{Errors, Path};
use super::names;
use crate::kinds::Kind;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(crate) fn node(_: &Kind, node: &Value, errors: &mut Errors) {
    let spec = Path::root("spec");
    let path = spec.child("taints");
    let mut seen = Vec::new();
    for (index, taint) in node["spec"]["taints"].as_array().into_iter().flatten().enumerate() {
        let path = path.index(index);
        let key = taint["key"].as_str().unwrap_or_default();
        let effect = taint["effect"].as_str().unwrap_or_default();
        for why in names::qualified_name(key) {
            errors.invalid(&path.child("key"), key, &why);
        }
        for why in names::label_value(taint["value"].as_str().unwrap_or_default()) {
            errors.invalid(&path.child("value"), taint["value"].clone(), &why);
        }
        if effect.is_empty() {
            errors.required(&path.child("effect"), "");
        } else if !EFFECTS.contains(&effect) {
            errors.not_supported(&path.child("effect"), effect, &EFFECTS);
        }
        if seen.contains(&(key, effect)) {
            errors.duplicate(&path, taint.clone());
        }
        seen.push((key, effect));
    }
    let path = spec.child("podCIDRs");
    for (index, cidr) in node["spec"]["podCIDRs"].as_array().into_iter().flatten().enumerate() {
        let text = cidr.as_str().unwrap_or_default();
        if text.parse::<viaduct_net::Prefix>().is_err() {
            let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.invalid(&path.index(index), text, why);
        }
    }
}

pub(crate) fn node_update(new: &Value, old: &Value, errors: &mut Errors) {
    let spec = Path::root("spec");
    for field in ["podCIDR", "podCIDRs", "providerID"] {
        let was = &old["spec"][field];
        // They may be set once.
        let set = was.as_str().is_some_and(|text| !text.is_empty())
            || was.as_array().is_some_and(|list| !list.is_empty());
        if set && new["spec"][field] != *was {
            errors.forbidden(
                &spec.child(field),
                "node updates may not change this field once it is set",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    #[test]
    fn taints_are_checked() {
        let mut errors = Errors::default();
        let taints = json!([
            {"key": "a", "effect": "NoSchedule"},
            {"key": "a", "effect": "NoSchedule"},
            {"key": "a b", "effect": "Never"},
        ]);
        let kind = kinds::find("", "v1", "nodes").unwrap();
        node(kind, &json!({"spec": {"taints": taints}}), &mut errors);
        let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert!(found[0].starts_with("spec.taints[1]: Duplicate value: {\"key\":\"a\""));
        assert!(found[1].starts_with("spec.taints[2].key: Invalid value: \"a b\""));
        assert!(found[2].starts_with("spec.taints[2].effect: Unsupported value: \"Never\""));
    }
}
