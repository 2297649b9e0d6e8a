//! The affinity of a pod to nodes and to other pods.

use serde_json::Value;

use super::{list, text};
use crate::validate::{
    field_error::{Errors, Path},
    names,
    replica_set::label_selector,
};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn affinity(affinity: &Value, path: &Path<'_>, errors: &mut Errors) {
    node_affinity(&affinity["nodeAffinity"], &path.child("nodeAffinity"), errors);
    for field in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(&affinity[field], &path.child(field), errors);
    }
}

fn node_affinity(affinity: &Value, path: &Path<'_>, errors: &mut Errors) {
    let required = &affinity[REQUIRED];
    if !required.is_null() {
        let at = path.child(REQUIRED);
        let at = at.child("nodeSelectorTerms");
        let terms = list(&required["nodeSelectorTerms"]);
        if terms.is_empty() {
            errors.required(&at, "must have at least one node selector term");
        }
        for (index, term) in terms.iter().enumerate() {
            node_selector_term(term, &at.index(index), errors);
        }
    }
    let at = path.child(PREFERRED);
    for (index, preferred) in list(&affinity[PREFERRED]).iter().enumerate() {
        let at = at.index(index);
        weight(preferred, &at, errors);
        node_selector_term(&preferred["preference"], &at.child("preference"), errors);
    }
}

fn weight(preferred: &Value, path: &Path<'_>, errors: &mut Errors) {
    let weight = preferred["weight"].as_i64().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn node_selector_term(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("matchExpressions");
    for (index, requirement) in list(&term["matchExpressions"]).iter().enumerate() {
        label_requirement(requirement, &at.index(index), errors);
    }
    let at = path.child("matchFields");
    for (index, requirement) in list(&term["matchFields"]).iter().enumerate() {
        field_requirement(requirement, &at.index(index), errors);
    }
}

fn label_requirement(requirement: &Value, path: &Path<'_>, errors: &mut Errors) {
    let values = list(&requirement["values"]);
    let operator = text(requirement, "operator");
    let at = path.child("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&at, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => errors
            .forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    let key = text(requirement, "key");
    for why in names::qualified_name(key) {
        errors.invalid(&path.child("key"), key, &why);
    }
    for (index, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        for why in names::label_value(value) {
            errors.invalid(&at.index(index), value, &why);
        }
    }
}

/// A node has one field to select by: its name.
fn field_requirement(requirement: &Value, path: &Path<'_>, errors: &mut Errors) {
    let values = list(&requirement["values"]);
    let operator = text(requirement, "operator");
    let at = path.child("values");
    match operator {
        "In" | "NotIn" if values.len() != 1 => errors.required(
            &at,
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
        "In" | "NotIn" => {}
        _ => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    let key = text(requirement, "key");
    if key != "metadata.name" {
        return errors.invalid(&path.child("key"), key, "not a valid field selector key");
    }
    for (index, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        for why in names::rfc1123_subdomain(value) {
            errors.invalid(&at.index(index), value, &why);
        }
    }
}

fn pod_affinity(affinity: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child(REQUIRED);
    for (index, term) in list(&affinity[REQUIRED]).iter().enumerate() {
        pod_affinity_term(term, &at.index(index), errors);
    }
    let at = path.child(PREFERRED);
    for (index, preferred) in list(&affinity[PREFERRED]).iter().enumerate() {
        let at = at.index(index);
        weight(preferred, &at, errors);
        pod_affinity_term(&preferred["podAffinityTerm"], &at.child("podAffinityTerm"), errors);
    }
}

fn pod_affinity_term(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["labelSelector", "namespaceSelector"] {
        label_selector(&term[field], &path.child(field), errors);
    }
    for namespace in list(&term["namespaces"]) {
        let namespace = namespace.as_str().unwrap_or_default();
        for why in names::rfc1123_label(namespace) {
            errors.invalid(&path.child("namespace"), namespace, &why);
        }
    }
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(&term[field], &term["labelSelector"], &path.child(field), errors);
    }
    let matched = list(&term["matchLabelKeys"]);
    let at = path.child("matchLabelKeys");
    for (index, key) in matched.iter().enumerate() {
        if list(&term["mismatchLabelKeys"]).contains(key) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.invalid(&at.index(index), key.clone(), why);
        }
    }
    topology_key(term, path, errors);
    if text(term, "topologyKey").is_empty() {
        for why in names::qualified_name("") {
            errors.invalid(&path.child("topologyKey"), "", &why);
        }
    }
}

pub(super) fn topology_key(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    let key = text(term, "topologyKey");
    let at = path.child("topologyKey");
    if key.is_empty() {
        return errors.required(&at, "can not be empty");
    }
    for why in names::qualified_name(key) {
        errors.invalid(&at, key, &why);
    }
}

/// `matchLabelKeys` and its like: they add to a selector, so there must be one.
pub(super) fn label_keys(keys: &Value, selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    let keys = list(keys);
    if keys.is_empty() {
        return;
    }
    if selector.is_null() {
        return errors.forbidden(path, "must not be specified when labelSelector is not set");
    }
    let names_key = |key: &str| {
        selector["matchLabels"].get(key).is_some()
            || list(&selector["matchExpressions"]).iter().any(|one| one["key"] == key)
    };
    for (index, key) in keys.iter().enumerate() {
        let (key, at) = (key.as_str().unwrap_or_default(), path.index(index));
        for why in names::qualified_name(key) {
            errors.invalid(&at, key, &why);
        }
        if names_key(key) {
            errors.invalid(&at, key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}
