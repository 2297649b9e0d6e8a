//! Deployment.

use serde_json::Value;

use super::replica_set::containers;
use super::{AGE, Column, Columns, NAME, age, name, selector_text};

pub(crate) const DEPLOYMENT: Columns = Columns {
    columns: &[
        NAME,
        Column::new("Ready", "string", "How many pods are ready, of how many wished for."),
        Column::new("Up-to-date", "string", "How many pods have the newest template."),
        Column::new("Available", "string", "How many pods have been ready for long enough."),
        AGE,
        Column::wide("Containers", "string", "The names of the template's containers."),
        Column::wide("Images", "string", "The images of the template's containers."),
        Column::wide("Selector", "string", "The pods that are counted."),
    ],
    cells: |deployment, now| {
        let (spec, status) = (&deployment["spec"], &deployment["status"]);
        let (names, images) = containers(&spec["template"]["spec"]);
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        vec![
            name(deployment),
            format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"])).into(),
            number(&status["updatedReplicas"]).into(),
            number(&status["availableReplicas"]).into(),
            age(deployment, now),
            names.into(),
            images.into(),
            selector_text(&spec["selector"]).into(),
        ]
    },
};
