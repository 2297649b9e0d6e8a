//! PodDisruptionBudget.

use super::{ALL_VERBS, Kind, Strategy};
use crate::{table, validate};

pub(super) static POD_DISRUPTION_BUDGET: Kind = Kind {
    group: "policy",
    version: "v1",
    api_version: "policy/v1",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    namespaced: true,
    categories: &[],
    subresources: &["status"],
    verbs: ALL_VERBS,
    field_selectors: &[],
    definition: "io.k8s.api.policy.v1.PodDisruptionBudget",
    strategy: Strategy { validate: validate::disruption_budget, ..Strategy::WITH_STATUS },
    columns: table::POD_DISRUPTION_BUDGET,
};
