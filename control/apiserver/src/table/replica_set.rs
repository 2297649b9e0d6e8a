//! ReplicaSet.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, age, joined, list, name, selector_text};

pub(crate) const REPLICA_SET: Columns = Columns {
    columns: &[
        NAME,
        Column::new("Desired", "integer", "How many pods are wished for."),
        Column::new("Current", "integer", "How many pods there are."),
        Column::new("Ready", "integer", "How many pods are ready."),
        AGE,
        Column::wide("Containers", "string", "The names of the template's containers."),
        Column::wide("Images", "string", "The images of the template's containers."),
        Column::wide("Selector", "string", "The pods that are counted."),
    ],
    cells: |set, now| {
        let spec = &set["spec"];
        let (names, images) = containers(&spec["template"]["spec"]);
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        vec![
            name(set),
            number(&spec["replicas"]).into(),
            number(&set["status"]["replicas"]).into(),
            number(&set["status"]["readyReplicas"]).into(),
            age(set, now),
            names.into(),
            images.into(),
            selector_text(&spec["selector"]).into(),
        ]
    },
};

/// The names and the images of a pod's containers.
pub(super) fn containers(pod_spec: &Value) -> (String, String) {
    let field = |field: &'static str| {
        joined(list(&pod_spec["containers"]).filter_map(move |one| one[field].as_str()))
    };
    (field("name"), field("image"))
}
