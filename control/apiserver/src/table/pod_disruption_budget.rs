//! PodDisruptionBudget.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, age, name};

pub(crate) const POD_DISRUPTION_BUDGET: Columns = Columns {
    columns: &[
        NAME,
        Column::new("Min Available", "string", "How many pods must stay."),
        Column::new("Max Unavailable", "string", "How many pods may be missing."),
        Column::new("Allowed Disruptions", "integer", "How many pods may go now."),
        AGE,
    ],
    cells: |budget, now| {
        let spec = &budget["spec"];
        let allowed = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or_default();
        vec![
            name(budget),
            amount(&spec["minAvailable"]),
            amount(&spec["maxUnavailable"]),
            allowed.into(),
            age(budget, now),
        ]
    },
};

fn amount(value: &Value) -> Value {
    match value {
        Value::Null => "N/A".into(),
        Value::String(percent) => percent.as_str().into(),
        number => number.to_string().into(),
    }
}
