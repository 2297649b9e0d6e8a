//! The registry of kinds: what the server serves, and how each kind is treated.
//!
//! A kind is one static [`Kind`]: its names for discovery, and the functions by which its objects
//! are defaulted, prepared and validated (Kubernetes calls them the strategy of a registry).

mod config;
mod custom;
mod deployment;
mod endpoint_slice;
mod event;
mod lease;
mod merge_keys;
mod namespace;
mod node;
mod pod;
mod pod_defaults;
mod pod_disruption_budget;
mod priority_class;
mod replica_set;
pub(crate) mod schema;
mod service;
mod service_account;
mod strategy;

use serde_json::Value;

use crate::table::Columns;
use crate::validate::{Errors, FieldError};

pub(crate) use priority_class::SYSTEM_CLASSES;
pub(crate) use strategy::{Strategy, carry_over};

/// A kind of object and everything the server knows of it.
pub(crate) struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    /// What objects carry: `v1`, `apps/v1`.
    pub api_version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub namespaced: bool,
    pub categories: &'static [&'static str],
    /// `status`, `scale`, `log`, …: the last part of the path of an object.
    pub subresources: &'static [&'static str],
    pub verbs: &'static [&'static str],
    /// What a field selector may name besides `metadata.name` and `metadata.namespace`.
    pub field_selectors: &'static [&'static str],
    /// The name of the schema: `io.k8s.api.core.v1.Pod`.
    pub definition: &'static str,
    pub(crate) strategy: Strategy,
    /// The columns of its table.
    pub columns: Columns,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.definition == other.definition
    }
}

impl Eq for Kind {}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}, Resource={}", self.group, self.version, self.plural)
    }
}

/// The verbs of a kind that has all of them.
pub(crate) const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Namespaces are not deleted by the collection.
pub(crate) const VERBS_WITHOUT_COLLECTION: &[&str] =
    &["create", "delete", "get", "list", "patch", "update", "watch"];

/// The kinds in the order in which discovery lists them.
static KINDS: &[&Kind] = &[
    &config::CONFIG_MAP,
    &event::EVENT,
    &namespace::NAMESPACE,
    &node::NODE,
    &pod::POD,
    &config::SECRET,
    &service_account::SERVICE_ACCOUNT,
    &service::SERVICE,
    &deployment::DEPLOYMENT,
    &replica_set::REPLICA_SET,
    &lease::LEASE,
    &endpoint_slice::ENDPOINT_SLICE,
    &pod_disruption_budget::POD_DISRUPTION_BUDGET,
    &priority_class::PRIORITY_CLASS,
    &custom::BGP_CONFIGURATION,
    &custom::BGP_PEER,
    &custom::IP_BLOCK,
    &custom::IP_POOL,
    &custom::VIP_POOL,
];

/// Every kind that is served.
pub(crate) fn all() -> &'static [&'static Kind] {
    KINDS
}

/// The kind of a path: `find("apps", "v1", "replicasets")`.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .copied()
        .find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
}

impl Kind {
    /// `pods`, `replicasets.apps`.
    pub(crate) fn group_resource(&self) -> String {
        with_group(self.plural, self.group)
    }

    /// `Pod`, `ReplicaSet.apps`.
    pub(crate) fn group_kind(&self) -> String {
        with_group(self.kind, self.group)
    }

    /// The kind of its lists: `PodList`.
    pub(crate) fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    pub(crate) fn has_subresource(&self, name: &str) -> bool {
        self.subresources.contains(&name)
    }

    /// Whether the kind is one of ours, which Kubernetes would call a custom resource.
    pub(crate) fn is_custom(&self) -> bool {
        self.group == viaduct_api::v1alpha1::GROUP
    }

    /// Whether a field selector may name the field.
    pub(crate) fn selects_by(&self, field: &str) -> bool {
        field == "metadata.name"
            || field == "metadata.namespace"
            || self.field_selectors.contains(&field)
    }

    /// Fills in what was left out.
    pub(crate) fn default(&self, object: &mut Value) {
        (self.strategy.default)(object);
    }

    /// Makes the object of a create fit to be stored: no status from outside. Metadata that the
    /// server owns (uid, resourceVersion, creationTimestamp, generation) is left to the caller.
    pub(crate) fn prepare_create(&self, object: &mut Value) {
        (self.strategy.prepare_create)(object);
    }

    /// Makes the object of an update fit to be stored: the status stays what it was.
    pub(crate) fn prepare_update(&self, new: &mut Value, old: &Value) {
        (self.strategy.prepare_update)(new, old);
    }

    /// Makes the object of an update of the status fit: all but the status stays what it was.
    pub(crate) fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        (self.strategy.prepare_status_update)(new, old);
    }

    /// What is wrong with a new object.
    pub(crate) fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        crate::validate::metadata_on_create(self, object, &mut errors);
        (self.strategy.validate)(self, object, &mut errors);
        errors.0
    }

    /// What is wrong with a change, fields that must not change included.
    pub(crate) fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        crate::validate::metadata_on_update(new, old, &mut errors);
        (self.strategy.validate)(self, new, &mut errors);
        (self.strategy.validate_update)(new, old, &mut errors);
        errors.0
    }

    /// What is wrong with a change of the status.
    pub(crate) fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        crate::validate::metadata_on_update(new, old, &mut errors);
        (self.strategy.validate_status)(new, old, &mut errors);
        errors.0
    }
}

fn with_group(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

#[cfg(test)]
mod hostile_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (index, kind) in all().iter().enumerate() {
            for other in &all()[index + 1..] {
                assert_ne!(kind.definition, other.definition);
                assert_ne!(kind.plural, other.plural);
                for short in kind.short_names {
                    assert!(!other.short_names.contains(short), "{short}");
                }
            }
        }
    }

    #[test]
    fn a_kind_is_found_by_its_path() {
        let kind = find("discovery.k8s.io", "v1", "endpointslices").unwrap();
        assert_eq!(kind.group_resource(), "endpointslices.discovery.k8s.io");
        assert_eq!(kind.list_kind(), "EndpointSliceList");
        assert_eq!(find("", "v1", "replicasets"), None);
    }

    #[test]
    fn api_versions_are_group_and_version() {
        for kind in all() {
            let expected = if kind.group.is_empty() {
                kind.version.to_owned()
            } else {
                format!("{}/{}", kind.group, kind.version)
            };
            assert_eq!(kind.api_version, expected);
        }
    }
}
