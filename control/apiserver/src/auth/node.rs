//! Which Secrets and ConfigMaps a pod uses, and which Secrets a BGPPeer names: their nodes may read these
//! and no others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use viaduct_api::v1alpha1::BGPPeerSpec;

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|field| items(&pod["spec"], field))
}

/// Whether the pod's spec names the object; `plural` is `secrets` or `configmaps`.
pub(crate) fn uses(pod: &Value, plural: &str, name: &str) -> bool {
    // The same thing has a name of its own in each place that may refer to it.
    let (volume, volume_name, projected, from_env, key_ref) = match plural {
        "secrets" => ("secret", "secretName", "secret", "secretRef", "secretKeyRef"),
        "configmaps" => ("configMap", "name", "configMap", "configMapRef", "configMapKeyRef"),
        _ => return false,
    };
    let spec = &pod["spec"];
    let in_volumes = items(spec, "volumes").any(|one| {
        one[volume][volume_name] == name
            || items(&one["projected"], "sources").any(|source| source[projected]["name"] == name)
    });
    let in_env = containers(pod).any(|container| {
        items(container, "envFrom").any(|source| source[from_env]["name"] == name)
            || items(container, "env").any(|env| env["valueFrom"][key_ref]["name"] == name)
    });
    let pulls =
        plural == "secrets" && items(spec, "imagePullSecrets").any(|secret| secret["name"] == name);
    in_volumes || in_env || pulls
}

/// Whether the peer is one of nodes with these labels and has a password or key from the Secret, which
/// is in the namespace of such Secrets.
pub(crate) fn peers_by(peer: &Value, secret: &str, labels: &Value) -> bool {
    let labels = BTreeMap::deserialize(labels).unwrap_or_default();
    // What is not understood here is not by the node either.
    BGPPeerSpec::deserialize(&peer["spec"]).is_ok_and(|spec| {
        spec.selects(&labels) && spec.secrets().any(|reference| reference.name == secret)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reference_is_found() {
        let pod = json!({"spec": {
            "imagePullSecrets": [{"name": "s0"}],
            "volumes": [
                {"secret": {"secretName": "s1"}},
                {"configMap": {"name": "c1"}},
                {"projected": {"sources": [{"secret": {"name": "s2"}}, {"configMap": {"name": "c2"}}]}},
            ],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "s3"}}]}],
            "containers": [{
                "envFrom": [{"configMapRef": {"name": "c3"}}],
                "env": [
                    {"valueFrom": {"secretKeyRef": {"name": "s4"}}},
                    {"valueFrom": {"configMapKeyRef": {"name": "c4"}}},
                ],
            }],
        }});
        for name in ["s0", "s1", "s2", "s3", "s4"] {
            assert!(uses(&pod, "secrets", name), "{name}");
            assert!(!uses(&pod, "configmaps", name), "{name}");
        }
        for name in ["c1", "c2", "c3", "c4"] {
            assert!(uses(&pod, "configmaps", name), "{name}");
        }
        assert!(!uses(&pod, "secrets", "s9") && !uses(&pod, "secrets", ""));
    }

    #[test]
    fn a_peer_names_its_secrets_to_its_own_nodes() {
        let peer = json!({"spec": {
            "address": "192.0.2.1", "asn": 64999, "nodeSelector": {"rack": "a"},
            "tcpAo": [
                {"sendId": 1, "keySecretRef": {"name": "s1", "key": "k"}},
                {"sendId": 2, "keyFile": "/s2"},
                {"sendId": 3, "keySecretRef": {"name": "s3"}},
            ],
        }});
        let here = json!({"rack": "a", "more": ""});
        for (name, expected) in [("s1", true), ("s3", true), ("k", false), ("/s2", false)] {
            assert_eq!(peers_by(&peer, name, &here), expected, "{name}");
        }
        for elsewhere in [json!({"rack": "b"}), json!({}), Value::Null] {
            assert!(!peers_by(&peer, "s1", &elsewhere), "{elsewhere}");
        }
        let everywhere = json!({"spec": {
            "address": "192.0.2.1", "asn": 1, "passwordSecretRef": {"name": "s1"},
        }});
        assert!(peers_by(&everywhere, "s1", &Value::Null));
        assert!(!peers_by(&everywhere, "", &Value::Null));
        assert!(!peers_by(&json!({"spec": {}}), "s1", &here));
    }
}
