//! Node.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, age, joined, list, name, text_or_none};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

pub(crate) const NODE: Columns = Columns {
    columns: &[
        NAME,
        Column::new("Status", "string", "Whether the node takes pods."),
        Column::new("Roles", "string", "The roles named by its labels."),
        AGE,
        Column::new("Version", "string", "The version of its kubelet."),
        Column::wide("Internal-IP", "string", "Its address within the cluster."),
        Column::wide("External-IP", "string", "Its address outside."),
        Column::wide("OS-Image", "string", "Its operating system."),
        Column::wide("Kernel-Version", "string", "Its kernel."),
        Column::wide("Container-Runtime", "string", "What runs its containers."),
    ],
    cells: |node, now| {
        let info = &node["status"]["nodeInfo"];
        let or_unknown = |value: &Value| match value.as_str() {
            Some(text) if !text.is_empty() => Value::from(text),
            _ => "<unknown>".into(),
        };
        vec![
            name(node),
            status(node).into(),
            roles(node).into(),
            age(node, now),
            info["kubeletVersion"].as_str().unwrap_or_default().into(),
            address(node, "InternalIP").into(),
            address(node, "ExternalIP").into(),
            or_unknown(&info["osImage"]),
            or_unknown(&info["kernelVersion"]),
            or_unknown(&info["containerRuntimeVersion"]),
        ]
    },
};

fn status(node: &Value) -> String {
    let ready = list(&node["status"]["conditions"]).find(|one| one["type"] == "Ready");
    let mut words = vec![match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if node["spec"]["unschedulable"] == true {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role).filter(|role| !role.is_empty()),
            None if key == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()),
            None => None,
        })
        .collect();
    roles.sort_unstable();
    joined(roles)
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    list(&node["status"]["addresses"])
        .find(|one| one["type"] == kind)
        .map_or("<none>", |one| text_or_none(&one["address"]))
}
