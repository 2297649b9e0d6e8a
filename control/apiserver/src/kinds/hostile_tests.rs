//! Any value in any place is taken or refused; nothing makes the server panic.

use serde_json::{Value, json};

use super::{Kind, all};
use crate::patch::{self, PatchType};
use crate::validate::conform;

/// An object with something in most of the fields that the code looks at.
fn sample(kind: &Kind) -> Value {
    let pod = json!({
        "containers": [{"name": "a", "image": "a", "ports": [{"name": "p", "containerPort": 1,
            "hostPort": 1}], "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "a"}}}],
            "envFrom": [{"configMapRef": {"name": "a"}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a"}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
            "readinessProbe": {"httpGet": {"port": 1}, "periodSeconds": 1},
            "lifecycle": {"preStop": {"exec": {"command": ["a"]}}}}],
        "initContainers": [{"name": "i", "image": "a", "restartPolicy": "Always"}],
        "volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "a", "path": "a"}]}},
            {"name": "w", "projected": {"sources": [{"downwardAPI": {"items": [{"path": "a",
                "fieldRef": {"fieldPath": "a"}}]}}]}}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "hostNetwork": true, "nodeSelector": {"a": "b"}, "readinessGates": [{"conditionType": "A"}],
    });
    let metadata = json!({"name": "a", "namespace": "b", "labels": {"a": "b"},
        "annotations": {"a": "b"}, "finalizers": ["a/b"], "creationTimestamp": "2026-01-01T00:00:00Z",
        "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1"}]});
    let rest = match kind.kind {
        "Pod" => json!({"spec": pod, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true,
                "restartCount": 1, "state": {"running": {}},
                "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}}],
            "initContainerStatuses": [{"name": "i", "image": "", "imageID": "", "ready": true,
                "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}]}}),
        "Deployment" => json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%",
            "maxUnavailable": 1}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}},
            "status": {"replicas": 1, "conditions": [{"type": "Progressing", "status": "True"}]}}),
        "ReplicaSet" => json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}},
            "status": {"replicas": 1}}),
        "Service" => json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "externalIPs": ["10.0.0.2"],
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {}},
            "loadBalancerSourceRanges": ["10.0.0.0/8"], "selector": {"a": "b"},
            "ports": [{"name": "a", "port": 1, "nodePort": 30000, "targetPort": "a"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.3"}]}}}),
        "Node" => json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}],
            "podCIDRs": ["10.0.0.0/24"]}, "status": {"addresses": [{"type": "InternalIP",
            "address": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": "True"}],
            "capacity": {"cpu": "1"}}}),
        "Namespace" => {
            json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
        }
        "ConfigMap" => json!({"data": {"a": "b"}, "binaryData": {"c": "eA=="}, "immutable": true}),
        "Secret" => json!({"data": {"a": "eA=="}, "stringData": {"b": "x"}, "type": "Opaque"}),
        "Event" => json!({"involvedObject": {"kind": "Pod", "name": "a"}, "count": 1,
            "series": {"count": 2}, "source": {"component": "a"}}),
        "Lease" => json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": 40}}),
        "EndpointSlice" => json!({"addressType": "IPv4", "ports": [{"name": "a", "port": 1}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]}),
        "BGPConfiguration" => json!({"spec": {"asn": 1}}),
        "BGPPeer" => json!({"spec": {"address": "10.0.0.1", "asn": 1, "nodeSelector": {"a": "b"},
            "import": {"rules": [{"action": "Accept", "prefixes": [{"prefix": "10.0.0.0/8"}],
                "sources": ["Local"]}]}}}),
        "IPPool" => json!({"spec": {"cidr": "10.0.0.0/8", "blockSize": 26}}),
        "IPBlock" => json!({"spec": {"cidr": "10.0.0.0/26", "pool": "a", "node": "b"}}),
        "VIPPool" => json!({"spec": {"cidrs": ["10.0.0.0/24"]}}),
        _ => json!({}),
    };
    let mut object = rest;
    object["metadata"] = metadata;
    object["apiVersion"] = kind.api_version.into();
    object["kind"] = kind.kind.into();
    object
}

fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            pointers(value, &format!("{at}/{}", key.replace('/', "~1")), out)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), out)),
        _ => {}
    }
}

fn put_through(kind: &Kind, mut object: Value, old: &Value) {
    if conform(kind, &mut object).is_err() {
        return;
    }
    kind.default(&mut object);
    let mut created = object.clone();
    kind.prepare_create(&mut created);
    kind.validate_create(&created);
    for (new, old) in [(&object, old), (old, &object)] {
        let mut updated = new.clone();
        kind.prepare_update(&mut updated, old);
        kind.validate_update(&updated, old);
        let mut status = new.clone();
        kind.prepare_status_update(&mut status, old);
        kind.validate_status_update(&status, old);
    }
    (kind.columns.cells)(&object, 0);
}

#[test]
fn any_value_in_any_place_is_taken_or_refused() {
    let values = [
        json!(null),
        json!(5),
        json!(-1),
        json!(i64::MAX),
        json!(1.5),
        json!("ä\u{0}/"),
        json!(""),
        json!(true),
        json!([]),
        json!({}),
        json!([5]),
        json!(["a"]),
        json!({"a": 5}),
        json!([{"a": {}}]),
        json!([null]),
    ];
    for kind in all() {
        let mut old = sample(kind);
        conform(kind, &mut old).unwrap();
        kind.default(&mut old);
        let mut places = Vec::new();
        pointers(&sample(kind), "", &mut places);
        for place in &places {
            for value in &values {
                let mut object = sample(kind);
                *object.pointer_mut(place).unwrap() = value.clone();
                let as_patch = object.to_string();
                put_through(kind, object, &old);
                // The same value as what a patch brings.
                for form in [PatchType::Merge, PatchType::Strategic, PatchType::Apply] {
                    if let Ok(patched) = patch::apply(kind, form, &old, as_patch.as_bytes()) {
                        put_through(kind, patched, &old);
                    }
                }
            }
        }
    }
}
