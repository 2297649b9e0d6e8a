//! Objects for tests, and an API that takes everything.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Node, Pod},
    jiff::Timestamp,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    kinds::{Key, Kind, Object, Ref},
    operation::{Now, Operation, Outcome},
    world::World,
};

pub(crate) const NOW: Now =
    Now { wall: Timestamp::constant(1_767_225_600, 0), uptime: Duration::from_secs(1000) };

impl Now {
    pub(crate) fn after_secs(self, secs: u64) -> Self {
        let passed = Duration::from_secs(secs);
        Self { wall: self.wall + passed, uptime: self.uptime + passed }
    }
}

/// RFC 7386.
pub(crate) fn merge(base: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *base = patch.clone();
        return;
    };
    if !base.is_object() {
        *base = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => {
                base.as_object_mut().unwrap().remove(key);
            }
            value => merge(&mut base[key], value),
        }
    }
}

pub(crate) fn object<K: DeserializeOwned>(mut base: Value, changes: Value) -> K {
    if base["metadata"]["uid"].is_null() {
        let name = base["metadata"]["name"].as_str().unwrap().to_owned();
        base["metadata"]["uid"] = format!("uid-{name}").into();
    }
    merge(&mut base, &changes);
    serde_json::from_value(base).unwrap()
}

pub(crate) fn pod(name: &str, changes: Value) -> Pod {
    object(
        json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"phase": "Pending"},
        }),
        changes,
    )
}

/// Running and ready on a node, with one address of each family.
pub(crate) fn running_pod(name: &str, node: &str, number: u8) -> Pod {
    let v4 = format!("10.244.0.{number}");
    pod(
        name,
        json!({
            "spec": {"nodeName": node},
            "status": {
                "phase": "Running",
                "podIP": v4,
                "podIPs": [{"ip": v4}, {"ip": format!("fd00::{number:x}")}],
                "conditions": [{"type": "Ready", "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        }),
    )
}

pub(crate) fn node(name: &str, changes: Value) -> Node {
    object(
        json!({
            "metadata": {"name": name},
            "status": {
                "allocatable": {"cpu": "4", "memory": "4Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }),
        changes,
    )
}

pub(crate) fn ready_node(name: &str) -> Node {
    node(name, json!({}))
}

pub(crate) fn world<const N: usize>(nodes: [Node; N]) -> World {
    let mut world = World::default();
    for node in nodes {
        world.observe(node, NOW);
    }
    world
}

fn to_json(object: &Object) -> Value {
    match object {
        Object::Namespace(o) => json!(**o),
        Object::Node(o) => json!(**o),
        Object::Pod(o) => json!(**o),
        Object::Service(o) => json!(**o),
        Object::Deployment(o) => json!(**o),
        Object::ReplicaSet(o) => json!(**o),
        Object::EndpointSlice(o) => json!(**o),
        Object::PodDisruptionBudget(o) => json!(**o),
        Object::Lease(o) => json!(**o),
        Object::ConfigMap(o) => json!(**o),
        Object::Secret(o) => json!(**o),
        Object::ServiceAccount(o) => json!(**o),
        Object::IPPool(o) => json!(**o),
        Object::IPBlock(o) => json!(**o),
        Object::VIPPool(o) => json!(**o),
    }
}

/// Does what is asked, as a server would whose every answer comes back at once.
pub(crate) fn apply(world: &mut World, outcome: &Outcome) {
    for step in &outcome.steps {
        match &step.operation {
            Operation::Create { kind, object, .. } => {
                let mut object = object.clone();
                let metadata = &mut object["metadata"];
                static MADE: AtomicU64 = AtomicU64::new(0);
                let unique = MADE.fetch_add(1, Relaxed);
                if metadata["name"].is_null() {
                    let prefix = metadata["generateName"].as_str().unwrap();
                    metadata["name"] = format!("{prefix}{unique:08}").into();
                }
                metadata["uid"] = format!("made-{unique}").into();
                world.wrote(Object::decode(*kind, object).unwrap(), NOW);
            }
            Operation::Patch { target, patch, .. } => {
                let object = world.objects.get(target.kind, &target.key).expect("is there");
                let mut value = to_json(&object);
                merge(&mut value, patch);
                world.wrote(Object::decode(target.kind, value).unwrap(), NOW);
            }
            Operation::Delete { target, uid, .. } | Operation::Collect { target, uid, .. } => {
                world.deleting(target, uid, NOW);
                world.remove(target, uid, NOW);
            }
            Operation::Disrupt { pod, uid, .. } => {
                let target = Ref { kind: Kind::Pod, key: pod.clone() };
                world.deleting(&target, uid, NOW);
            }
            Operation::Bind { pod, node, .. } => {
                let mut bound = (*world.objects.pods[pod]).clone();
                bound.spec.as_mut().unwrap().node_name = Some(node.clone());
                world.wrote(bound, NOW);
            }
            Operation::Finalize { namespace } => {
                let key = Key::new("", namespace.as_str());
                let uid = world.objects.namespaces[&key].metadata.uid.clone().unwrap();
                let reference = Ref { kind: Kind::Namespace, key };
                world.remove(&reference, &uid, NOW);
            }
        }
    }
}
