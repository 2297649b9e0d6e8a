//! The rules for `metadata`, the same for every kind but for the form of the name.

use serde_json::Value;

use super::field_error::{Errors, Path};
use super::names;
use crate::kinds::Kind;

/// The most bytes of all annotations together, as in Kubernetes.
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;
/// Bounds that Kubernetes leaves to the size of the request.
const MAX_FINALIZERS: usize = 100;
const MAX_OWNERS: usize = 100;

pub(crate) fn metadata_on_create(kind: &Kind, object: &Value, errors: &mut Errors) {
    let metadata = &object["metadata"];
    let path = Path::root("metadata");
    let name = metadata["name"].as_str().unwrap_or_default();
    let generate_name = metadata["generateName"].as_str().unwrap_or_default();
    if !generate_name.is_empty() {
        // What is appended makes any end of the prefix right.
        let filled = format!("{generate_name}a");
        for why in name_problems(kind, &filled) {
            errors.invalid(&path.child("generateName"), generate_name, &why);
        }
    }
    if name.is_empty() {
        if generate_name.is_empty() {
            errors.required(&path.child("name"), "name or generateName is required");
        }
    } else {
        for why in name_problems(kind, name) {
            errors.invalid(&path.child("name"), name, &why);
        }
    }
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    if kind.namespaced {
        if namespace.is_empty() {
            errors.required(&path.child("namespace"), "");
        } else {
            for why in names::rfc1123_label(namespace) {
                errors.invalid(&path.child("namespace"), namespace, &why);
            }
        }
    } else if !namespace.is_empty() {
        errors.forbidden(&path.child("namespace"), "not allowed on this type");
    }
    accessories(metadata, &path, errors);
}

/// That an object on its way out takes no new finalizers is told by the caller, who knows that it
/// is.
pub(crate) fn metadata_on_update(new: &Value, old: &Value, errors: &mut Errors) {
    let (metadata, before) = (&new["metadata"], &old["metadata"]);
    let path = Path::root("metadata");
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let (is, was) = (&metadata[field], &before[field]);
        // What is left out is filled in by the server.
        if !is.is_null() && *is != "" && is != was {
            errors.invalid(&path.child(field), is.clone(), "field is immutable");
        }
    }
    accessories(metadata, &path, errors);
}

/// Labels of a template or of an object.
pub(super) fn labels(labels: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        for why in names::qualified_name(key) {
            errors.invalid(path, key.as_str(), &why);
        }
        let value = value.as_str().unwrap_or_default();
        for why in names::label_value(value) {
            errors.invalid(path, value, &why);
        }
    }
}

pub(super) fn annotations(annotations: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Keys of annotations may have capitals in their prefix.
        for why in names::qualified_name(&key.to_lowercase()) {
            errors.invalid(path, key.as_str(), &why);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS_BYTES {
        errors.too_long(path, MAX_ANNOTATIONS_BYTES);
    }
}

fn accessories(metadata: &Value, path: &Path<'_>, errors: &mut Errors) {
    labels(&metadata["labels"], &path.child("labels"), errors);
    annotations(&metadata["annotations"], &path.child("annotations"), errors);
    owner_references(&metadata["ownerReferences"], &path.child("ownerReferences"), errors);
    let finalizers = path.child("finalizers");
    let count = texts(&metadata["finalizers"]).count();
    if count > MAX_FINALIZERS {
        errors.too_many(&finalizers, count, MAX_FINALIZERS);
    }
    for (index, finalizer) in texts(&metadata["finalizers"]).enumerate() {
        for why in names::qualified_name(finalizer) {
            errors.invalid(&finalizers.index(index), finalizer, &why);
        }
    }
}

fn owner_references(owners: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(owners) = owners.as_array() else { return };
    if owners.len() > MAX_OWNERS {
        errors.too_many(path, owners.len(), MAX_OWNERS);
    }
    let mut controller: Option<String> = None;
    for (index, owner) in owners.iter().enumerate() {
        let path = path.index(index);
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                errors.invalid(&path.child(field), owner[field].as_str().unwrap_or(""), why);
            }
        }
        if owner["controller"] == true {
            let (kind, name) = (owner["kind"].as_str(), owner["name"].as_str());
            let this = format!("{}/{}", kind.unwrap_or_default(), name.unwrap_or_default());
            match &controller {
                Some(first) => errors.invalid(
                    &path,
                    owner.clone(),
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in \
                         references for {first} and {this}"
                    ),
                ),
                None => controller = Some(this),
            }
        }
    }
}

fn name_problems(kind: &Kind, name: &str) -> Vec<String> {
    match kind.kind {
        "Namespace" => names::rfc1123_label(name),
        "Service" => names::rfc1035_label(name),
        _ => names::rfc1123_subdomain(name),
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn problems(group: &str, plural: &str, metadata: Value) -> Vec<String> {
        let kind = kinds::find(group, "v1", plural).unwrap();
        let mut errors = Errors::default();
        metadata_on_create(kind, &json!({ "metadata": metadata }), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_have_the_form_of_their_kind() {
        assert!(problems("", "pods", json!({"name": "a.b", "namespace": "x"})).is_empty());
        let service = problems("", "services", json!({"name": "1a", "namespace": "x"}));
        assert!(service[0].starts_with("metadata.name: Invalid value: \"1a\": a DNS-1035 label"));
        let none = problems("", "pods", json!({"namespace": "x"}));
        assert_eq!(none, ["metadata.name: Required value: name or generateName is required"]);
        assert!(problems("", "pods", json!({"generateName": "a-", "namespace": "x"})).is_empty());
        let namespaced = problems("", "nodes", json!({"name": "a", "namespace": "x"}));
        assert_eq!(namespaced, ["metadata.namespace: Forbidden: not allowed on this type"]);
    }

    #[test]
    fn labels_and_owners_are_checked() {
        let found = problems(
            "",
            "pods",
            json!({"name": "a", "namespace": "x", "labels": {"a b": "c", "d": "-"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "a"}]}),
        );
        assert!(found[0].starts_with("metadata.labels: Invalid value: \"a b\": name part"));
        assert!(found[1].starts_with("metadata.labels: Invalid value: \"-\": a valid label"));
        assert_eq!(
            found[2],
            "metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty"
        );
    }

    #[test]
    fn identity_does_not_change() {
        let mut errors = Errors::default();
        let old = json!({"metadata": {"name": "a", "uid": "1"}});
        metadata_on_update(&json!({"metadata": {"name": "b"}}), &old, &mut errors);
        let expected = "metadata.name: Invalid value: \"b\": field is immutable";
        assert_eq!(errors.0[0].to_string(), expected);
        assert_eq!(errors.0.len(), 1);
    }
}
