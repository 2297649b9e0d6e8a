//! Namespace.

use serde_json::{Value, json};

use super::strategy::{default_field, keep_status};
use super::{Kind, Strategy, VERBS_WITHOUT_COLLECTION};
use crate::table;

pub(super) static NAMESPACE: Kind = Kind {
    group: "",
    version: "v1",
    api_version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    categories: &[],
    subresources: &["finalize", "status"],
    verbs: VERBS_WITHOUT_COLLECTION,
    field_selectors: &["status.phase"],
    definition: "io.k8s.api.core.v1.Namespace",
    strategy: Strategy { default, prepare_create, prepare_update, ..Strategy::WITH_STATUS },
    columns: table::NAMESPACE,
};

/// Every namespace carries its own name as a label, so that selectors can name it.
fn default(namespace: &mut Value) {
    let name = crate::object::name(namespace).to_owned();
    if !name.is_empty() {
        let metadata = crate::object::metadata_mut(namespace);
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
        }
    }
    default_field(namespace, "spec", json!({}));
    default_field(namespace, "status", json!({}));
    if let Some(status) = namespace.get_mut("status") {
        default_field(status, "phase", "Active");
    }
}

/// The finalizer in the spec holds the namespace until its objects are gone.
fn prepare_create(namespace: &mut Value) {
    namespace["status"] = json!({ "phase": "Active" });
    let spec = &mut namespace["spec"];
    if !spec.is_object() {
        *spec = json!({});
    }
    if !spec["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == "kubernetes")) {
        spec["finalizers"] = json!(["kubernetes"]);
    }
}

/// The finalizers of the spec are removed by the `finalize` subresource alone.
fn prepare_update(new: &mut Value, old: &Value) {
    keep_status(new, old);
    new["spec"] = old["spec"].clone();
}
