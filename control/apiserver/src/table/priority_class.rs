//! PriorityClass.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, age, name};

pub(crate) const PRIORITY_CLASS: Columns = Columns {
    columns: &[
        NAME,
        Column::new("Value", "integer", "The priority of its pods."),
        Column::new("Global-Default", "boolean", "Whether pods without a class have this one."),
        AGE,
        Column::new("PreemptionPolicy", "string", "Whether its pods displace others."),
    ],
    cells: |class, now| {
        vec![
            name(class),
            class["value"].as_i64().unwrap_or_default().into(),
            class["globalDefault"].as_bool().unwrap_or_default().into(),
            age(class, now),
            class["preemptionPolicy"].as_str().map_or(Value::Null, Value::from),
        ]
    },
};
