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

/// The domain of the labels that a node may not give itself (the admission plugin NodeRestriction).
const RESTRICTED: &str = "node-restriction.kubernetes.io";
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// The labels of a node that it may not give itself.
pub(crate) fn restricted_labels(node: &Value) -> BTreeMap<String, String> {
    let labels = &node["metadata"]["labels"];
    let mut labels = BTreeMap::<String, String>::deserialize(labels).unwrap_or_default();
    labels.retain(|key, _| {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        domain.strip_suffix(RESTRICTED).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
    });
    labels
}

/// Whether the peer is one of the node and has a password or key from the Secret, which is in the namespace
/// of such Secrets. What the node says of itself makes it nobody's: only its name counts, and the labels
/// that others give it.
pub(crate) fn peers_by(peer: &Value, secret: &str, name: &str, node: &Value) -> bool {
    let mut labels = restricted_labels(node);
    labels.insert(HOSTNAME_LABEL.to_owned(), name.to_owned());
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
            "address": "192.0.2.1", "asn": 64999, "nodeSelector": {RACK: "a"},
            "tcpAo": [
                {"sendId": 1, "keySecretRef": {"name": "s1", "key": "k"}},
                {"sendId": 2, "keyFile": "/s2"},
                {"sendId": 3, "keySecretRef": {"name": "s3"}},
            ],
        }});
        let here = labelled(json!({RACK: "a", "more": ""}));
        for (name, expected) in [("s1", true), ("s3", true), ("k", false), ("/s2", false)] {
            assert_eq!(peers_by(&peer, name, "n", &here), expected, "{name}");
        }
        for elsewhere in [json!({RACK: "b"}), json!({}), Value::Null] {
            assert!(!peers_by(&peer, "s1", "n", &labelled(elsewhere.clone())), "{elsewhere}");
        }
        let everywhere = json!({"spec": {
            "address": "192.0.2.1", "asn": 1, "passwordSecretRef": {"name": "s1"},
        }});
        assert!(peers_by(&everywhere, "s1", "n", &Value::Null));
        assert!(!peers_by(&everywhere, "", "n", &Value::Null));
        assert!(!peers_by(&json!({"spec": {}}), "s1", "n", &here));
    }

    #[test]
    fn what_a_node_says_of_itself_opens_nothing() {
        let of = |selector: Value| {
            json!({"spec": {"address": "192.0.2.1", "asn": 1, "nodeSelector": selector,
                "passwordSecretRef": {"name": "s"}}})
        };
        let itself = labelled(json!({
            "rack": "a", HOSTNAME_LABEL: "other", "node-restriction.kubernetes.io": "a",
            "notnode-restriction.kubernetes.io/rack": "a",
        }));
        for (key, value) in [
            ("rack", "a"),
            (HOSTNAME_LABEL, "other"),
            ("node-restriction.kubernetes.io", "a"),
            ("notnode-restriction.kubernetes.io/rack", "a"),
        ] {
            assert!(!peers_by(&of(json!({key: value})), "s", "n", &itself), "{key}");
        }
        assert!(peers_by(&of(json!({HOSTNAME_LABEL: "n"})), "s", "n", &itself));
        let sub = "dc.node-restriction.kubernetes.io/rack";
        assert!(peers_by(&of(json!({sub: "a"})), "s", "n", &labelled(json!({sub: "a"}))));
    }

    const RACK: &str = "node-restriction.kubernetes.io/rack";

    fn labelled(labels: Value) -> Value {
        json!({"metadata": {"labels": labels}})
    }
}
