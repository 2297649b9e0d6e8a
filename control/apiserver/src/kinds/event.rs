//! Event.

use super::{ALL_VERBS, Kind, Strategy};
use crate::table;

pub(super) static EVENT: Kind = Kind {
    group: "",
    version: "v1",
    api_version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    namespaced: true,
    categories: &[],
    subresources: &[],
    verbs: ALL_VERBS,
    field_selectors: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    definition: "io.k8s.api.core.v1.Event",
    strategy: Strategy::PLAIN,
    columns: table::EVENT,
};
