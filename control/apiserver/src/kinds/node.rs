//! Node.

use serde_json::{Value, json};

use super::strategy::default_field;
use super::{ALL_VERBS, Kind, Strategy};
use crate::{table, validate};

pub(super) static NODE: Kind = Kind {
    group: "",
    version: "v1",
    api_version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    categories: &[],
    subresources: &["status"],
    verbs: ALL_VERBS,
    field_selectors: &["spec.unschedulable"],
    definition: "io.k8s.api.core.v1.Node",
    strategy: Strategy {
        default: |node: &mut Value| default_field(node, "spec", json!({})),
        // A node that registers brings its first status along, as the kubelet does.
        prepare_create: |_| {},
        validate: validate::node,
        validate_update: validate::node_update,
        ..Strategy::WITH_STATUS
    },
    columns: table::NODE,
};
