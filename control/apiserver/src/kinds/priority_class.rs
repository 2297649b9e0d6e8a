//! PriorityClass.

use serde_json::{Value, json};

use super::strategy::default_field;
use super::{ALL_VERBS, Kind, Strategy};
use crate::{table, validate};

/// The classes of the cluster's own components, and their values: above all that users may give.
pub(crate) const SYSTEM_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another \
         node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

pub(super) static PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    version: "v1",
    api_version: "scheduling.k8s.io/v1",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    categories: &[],
    subresources: &[],
    verbs: ALL_VERBS,
    field_selectors: &[],
    definition: "io.k8s.api.scheduling.v1.PriorityClass",
    strategy: Strategy {
        default: |class: &mut Value| {
            default_field(class, "preemptionPolicy", json!("PreemptLowerPriority"));
        },
        validate: validate::priority_class,
        validate_update: validate::priority_class_update,
        ..Strategy::PLAIN
    },
    columns: table::PRIORITY_CLASS,
};
