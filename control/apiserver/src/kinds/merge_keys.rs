//! Which lists are merged by which keys: the `patchMergeKey` and `listMapKey` tags of Kubernetes'
//! types, which `k8s-openapi`'s schemas do not carry. Lists that are not named are replaced.

use serde_json::{Value, json};

use super::schema::Merge;

const CONTAINER: &str = "io.k8s.api.core.v1.Container";
const DEPLOYMENT_SPEC: &str = "io.k8s.api.apps.v1.DeploymentSpec";
const NODE_SPEC: &str = "io.k8s.api.core.v1.NodeSpec";
const NODE_STATUS: &str = "io.k8s.api.core.v1.NodeStatus";
const OBJECT_META: &str = super::schema::OBJECT_META;
const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";
const POD_STATUS: &str = "io.k8s.api.core.v1.PodStatus";
const SERVICE_ACCOUNT: &str = "io.k8s.api.core.v1.ServiceAccount";

const NAME: Merge = Merge::ByKeys(&["name"]);
const TYPE: Merge = Merge::ByKeys(&["type"]);

/// Definition, field, and how the field is merged.
pub(super) const TABLE: &[(&str, &str, Merge)] = &[
    (OBJECT_META, "finalizers", Merge::Set),
    (OBJECT_META, "ownerReferences", Merge::ByKeys(&["uid"])),
    (POD_SPEC, "containers", NAME),
    (POD_SPEC, "initContainers", NAME),
    (POD_SPEC, "ephemeralContainers", NAME),
    (POD_SPEC, "volumes", Merge::ByKeysRetainKeys(&["name"])),
    (POD_SPEC, "imagePullSecrets", NAME),
    (POD_SPEC, "hostAliases", Merge::ByKeys(&["ip"])),
    (POD_SPEC, "schedulingGates", NAME),
    (POD_SPEC, "resourceClaims", Merge::ByKeysRetainKeys(&["name"])),
    (POD_SPEC, "topologySpreadConstraints", Merge::ByKeys(&["topologyKey", "whenUnsatisfiable"])),
    (POD_SPEC, "nodeSelector", Merge::Atomic),
    (CONTAINER, "env", NAME),
    (CONTAINER, "ports", Merge::ByKeys(&["containerPort", "protocol"])),
    (CONTAINER, "volumeMounts", Merge::ByKeys(&["mountPath"])),
    (CONTAINER, "volumeDevices", Merge::ByKeys(&["devicePath"])),
    (POD_STATUS, "conditions", TYPE),
    (POD_STATUS, "podIPs", Merge::ByKeys(&["ip"])),
    (POD_STATUS, "hostIPs", Merge::ByKeys(&["ip"])),
    (NODE_SPEC, "podCIDRs", Merge::Set),
    (NODE_STATUS, "conditions", TYPE),
    (NODE_STATUS, "addresses", TYPE),
    ("io.k8s.api.core.v1.NamespaceStatus", "conditions", TYPE),
    ("io.k8s.api.core.v1.ServiceSpec", "ports", Merge::ByKeys(&["port", "protocol"])),
    ("io.k8s.api.core.v1.ServiceSpec", "selector", Merge::Atomic),
    ("io.k8s.api.core.v1.ServiceStatus", "conditions", TYPE),
    (SERVICE_ACCOUNT, "secrets", NAME),
    (DEPLOYMENT_SPEC, "strategy", Merge::RetainKeys),
    ("io.k8s.api.apps.v1.DeploymentStatus", "conditions", TYPE),
    ("io.k8s.api.policy.v1.PodDisruptionBudgetStatus", "conditions", TYPE),
    ("io.k8s.api.apps.v1.ReplicaSetStatus", "conditions", TYPE),
];

/// Writes the merge into a schema as the extensions that clients read.
pub(super) fn mark(schema: &mut Value, merge: Merge) {
    let mut by_keys = |keys: &[&str], strategy: &str| {
        schema["x-kubernetes-patch-strategy"] = strategy.into();
        schema["x-kubernetes-patch-merge-key"] = keys.first().copied().unwrap_or_default().into();
        schema["x-kubernetes-list-type"] = "map".into();
        schema["x-kubernetes-list-map-keys"] = json!(keys);
    };
    match merge {
        Merge::Usual => {}
        Merge::Set => {
            schema["x-kubernetes-patch-strategy"] = "merge".into();
            schema["x-kubernetes-list-type"] = "set".into();
        }
        Merge::ByKeys(keys) => by_keys(keys, "merge"),
        Merge::ByKeysRetainKeys(keys) => by_keys(keys, "merge,retainKeys"),
        Merge::Atomic => schema["x-kubernetes-map-type"] = "atomic".into(),
        Merge::RetainKeys => schema["x-kubernetes-patch-strategy"] = "retainKeys".into(),
    }
}
