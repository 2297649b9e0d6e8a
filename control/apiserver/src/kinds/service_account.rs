//! ServiceAccount: so that clients that look for it find it; tokens are not issued.

use super::{ALL_VERBS, Kind, Strategy};
use crate::table;

pub(super) static SERVICE_ACCOUNT: Kind = Kind {
    group: "",
    version: "v1",
    api_version: "v1",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    namespaced: true,
    categories: &[],
    subresources: &[],
    verbs: ALL_VERBS,
    field_selectors: &[],
    definition: "io.k8s.api.core.v1.ServiceAccount",
    strategy: Strategy::PLAIN,
    columns: table::SERVICE_ACCOUNT,
};
