//! ReplicaSet.

use serde_json::{Value, json};

use super::strategy::default_field;
use super::{ALL_VERBS, Kind, Strategy, pod_defaults};
use crate::{table, validate};

pub(super) static REPLICA_SET: Kind = Kind {
    group: "apps",
    version: "v1",
    api_version: "apps/v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    namespaced: true,
    categories: &["all"],
    subresources: &["scale", "status"],
    verbs: ALL_VERBS,
    field_selectors: &["status.replicas"],
    definition: "io.k8s.api.apps.v1.ReplicaSet",
    strategy: Strategy {
        default,
        prepare_create: |set| set["status"] = json!({ "replicas": 0 }),
        validate: validate::replica_set,
        validate_update: validate::replica_set_update,
        ..Strategy::WITH_STATUS
    },
    columns: table::REPLICA_SET,
};

fn default(set: &mut Value) {
    let Some(spec) = set.get_mut("spec") else { return };
    default_field(spec, "replicas", 1);
    pod_defaults::default_template(spec);
}
