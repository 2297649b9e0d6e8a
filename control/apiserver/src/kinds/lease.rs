//! Lease.

use super::{ALL_VERBS, Kind, Strategy};
use crate::{table, validate};

pub(super) static LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    api_version: "coordination.k8s.io/v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    namespaced: true,
    categories: &[],
    subresources: &[],
    verbs: ALL_VERBS,
    field_selectors: &[],
    definition: "io.k8s.api.coordination.v1.Lease",
    strategy: Strategy { validate: validate::lease, ..Strategy::PLAIN },
    columns: table::LEASE,
};
