//! EndpointSlice.

use serde_json::Value;

use super::strategy::default_field;
use super::{ALL_VERBS, Kind, Strategy};
use crate::{table, validate};

pub(super) static ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    version: "v1",
    api_version: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    namespaced: true,
    categories: &[],
    subresources: &[],
    verbs: ALL_VERBS,
    field_selectors: &[],
    definition: "io.k8s.api.discovery.v1.EndpointSlice",
    strategy: Strategy {
        default: default_endpoint_slice,
        validate: validate::endpoint_slice,
        validate_update: validate::endpoint_slice_update,
        ..Strategy::PLAIN
    },
    columns: table::ENDPOINT_SLICE,
};

fn default_endpoint_slice(slice: &mut Value) {
    for port in slice.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default_field(port, "name", "");
        default_field(port, "protocol", "TCP");
    }
}
