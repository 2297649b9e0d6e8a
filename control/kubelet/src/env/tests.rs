use k8s_openapi::ByteString;
use serde_json::json;

use super::*;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "web-1", "namespace": "shop", "uid": "u",
                      "labels": { "app": "web" } },
        "spec": { "containers": [] },
    }))
    .unwrap()
}

fn container(env: serde_json::Value) -> Container {
    serde_json::from_value(json!({
        "name": "c", "env": env,
        "resources": { "limits": { "cpu": "1500m", "memory": "64Mi" } },
    }))
    .unwrap()
}

fn downward() -> Downward {
    Downward {
        node_name: "node-1".into(),
        node_addresses: vec!["192.0.2.1".parse().unwrap()],
        pod_addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
        cpu_capacity_millis: 4000,
        memory_capacity_bytes: 1 << 30,
    }
}

fn references() -> References {
    let map = ConfigMap {
        data: Some([("colour".to_owned(), "blue".to_owned())].into()),
        ..ConfigMap::default()
    };
    let secret = Secret {
        data: Some([("key".to_owned(), ByteString(b"s3".to_vec()))].into()),
        ..Secret::default()
    };
    References {
        config_maps: [("settings".to_owned(), map)].into(),
        secrets: [("keys".to_owned(), secret)].into(),
        services: None,
    }
}

fn resolved(env: serde_json::Value) -> Result<BTreeMap<String, String>, EnvError> {
    environment(&pod(), &container(env), &references(), &downward())
}

#[test]
fn the_downward_fields_are_filled_in() {
    let by_field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let env = resolved(json!([
        by_field("POD", "metadata.name"),
        by_field("NODE", "spec.nodeName"),
        by_field("IPS", "status.podIPs"),
        by_field("APP", "metadata.labels['app']"),
        { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
        { "name": "MEM", "valueFrom": {
            "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } } },
    ]))
    .unwrap();
    let pairs: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("APP", "web"),
            ("CPU", "2"),
            ("IPS", "10.0.0.5,fd00::5"),
            ("MEM", "64"),
            ("NODE", "node-1"),
            ("POD", "web-1"),
        ]
    );
    let unknown = resolved(json!([by_field("X", "spec.what")]));
    assert_eq!(unknown, Err(EnvError::Field("spec.what".into())));
}

#[test]
fn references_are_followed_and_missing_ones_named() {
    let key = |map: &str, key: &str, optional: bool| {
        json!([{ "name": "V", "valueFrom": {
            "configMapKeyRef": { "name": map, "key": key, "optional": optional } } }])
    };
    assert_eq!(resolved(key("settings", "colour", false)).unwrap()["V"], "blue");
    assert_eq!(resolved(key("other", "colour", true)).unwrap().get("V"), None);
    let missing = resolved(key("other", "colour", false));
    assert_eq!(missing, Err(EnvError::NoConfigMap("other".into())));
    let missing = resolved(key("settings", "size", false));
    let expected = EnvError::NoConfigMapKey { name: "settings".into(), key: "size".into() };
    assert_eq!(missing, Err(expected));
    let secret = resolved(json!([{ "name": "V", "valueFrom": {
        "secretKeyRef": { "name": "keys", "key": "key" } } }]));
    assert_eq!(secret.unwrap()["V"], "s3");
}

#[test]
fn whole_maps_come_with_a_prefix_and_are_overridden() {
    let container: Container = serde_json::from_value(json!({
        "name": "c",
        "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "settings" } },
                    { "secretRef": { "name": "keys" } }],
        "env": [{ "name": "key", "value": "own $(P_colour)" }],
    }))
    .unwrap();
    let env = environment(&pod(), &container, &references(), &downward()).unwrap();
    assert_eq!(env["P_colour"], "blue");
    assert_eq!(env["key"], "own blue");
}

#[test]
fn expansion_leaves_what_it_does_not_know() {
    let variables = [("A".to_owned(), "1".to_owned())].into();
    for (text, expected) in [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y$(B)"),
        ("$$(A)", "$(A)"),
        ("$A $", "$A $"),
        ("$(A", "$(A"),
        ("$$", "$"),
    ] {
        assert_eq!(expand(text, &variables), expected, "{text}");
    }
}
