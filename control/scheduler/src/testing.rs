//! Objects for tests.

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

pub(crate) fn merge(base: &mut Value, changes: Value) {
    match (base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, changes) => *base = changes,
    }
}

/// Two processors, 1 Gi and room for ten pods.
pub(crate) fn node(name: &str, changes: Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    merge(&mut node, changes);
    serde_json::from_value(node).unwrap()
}

pub(crate) fn zoned(name: &str, zone: &str) -> Node {
    node(name, json!({"metadata": {"labels": {"zone": zone}}}))
}

/// Asks for half a processor and 64 Mi.
pub(crate) fn pod(name: &str, changes: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}}},
        ]},
    });
    merge(&mut pod, changes);
    serde_json::from_value(pod).unwrap()
}

pub(crate) fn on(name: &str, node: &str) -> Pod {
    pod(name, json!({"spec": {"nodeName": node}}))
}

pub(crate) fn labelled(name: &str, node: &str, app: &str) -> Pod {
    pod(name, json!({"metadata": {"labels": {"app": app}}, "spec": {"nodeName": node}}))
}
