use serde_json::json;

use super::*;
use crate::kinds;

fn pod(body: &str) -> Result<Decoded, StatusError> {
    decode(kinds::find("", "v1", "pods").unwrap(), "application/json", body.as_bytes())
}

#[test]
fn unknown_and_repeated_fields_are_named_and_dropped() {
    let decoded =
        pod(r#"{"metadata": {"name": "a", "nam": 1}, "spec": {"foo": 1, "hostNetwork": true,
            "hostNetwork": false, "containers": [{"name": "a"}, {"name": "b", "bar": {}}]}}"#)
        .unwrap();
    assert_eq!(
        decoded.strict_errors,
        [
            "duplicate field \"spec.hostNetwork\"",
            "unknown field \"metadata.nam\"",
            "unknown field \"spec.foo\"",
            "unknown field \"spec.containers[1].bar\"",
        ]
    );
    let expected = json!({
        "metadata": {"name": "a"},
        "spec": {"hostNetwork": false, "containers": [{"name": "a"}, {"name": "b"}]},
        "apiVersion": "v1",
        "kind": "Pod",
    });
    assert_eq!(decoded.object, expected);
}

#[test]
fn wrong_types_are_told_as_go_tells_them() {
    for (body, why) in [
        (
            r#"{"spec": {"hostNetwork": "yes"}}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type \
             bool",
        ),
        (
            r#"{"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}"#,
            "json: cannot unmarshal string into Go struct field \
             ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            r#"{"spec": {"containers": {}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type \
             []v1.Container",
        ),
        (
            r#"{"metadata": {"labels": {"a": 1}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type \
             string",
        ),
        (
            r#"{"spec": {"terminationGracePeriodSeconds": 1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field \
             PodSpec.spec.terminationGracePeriodSeconds of type int64",
        ),
        (
            r#"{"spec": []}"#,
            "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec",
        ),
        (
            r#"{"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}"#,
            "quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        let error = pod(body).unwrap_err();
        assert_eq!(
            error.message,
            format!("Pod in version \"v1\" cannot be handled as a Pod: {why}"),
            "{body}"
        );
        assert_eq!(error.code, 400);
    }
}

#[test]
fn nulls_vanish_and_quantities_are_canonical() {
    let decoded = pod(
        r#"{"metadata": {"creationTimestamp": null, "labels": {"a": null}},
            "spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}}"#,
    )
    .unwrap();
    assert_eq!(decoded.object["metadata"], json!({"labels": {"a": ""}}));
    let limits = &decoded.object["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(*limits, json!({"cpu": "500m", "memory": "1Gi"}));
    assert!(decoded.strict_errors.is_empty());
}

#[test]
fn a_body_of_another_kind_is_refused() {
    for body in [
        r#"{"apiVersion": "apps/v1", "kind": "Pod"}"#,
        r#"{"apiVersion": "v1", "kind": "Service"}"#,
        "[]",
        "{",
        r#"{"kind": 1}"#,
    ] {
        assert_eq!(pod(body).unwrap_err().code, 400, "{body}");
    }
    let pods = kinds::find("", "v1", "pods").unwrap();
    assert_eq!(decode(pods, "text/plain", b"{}").unwrap_err().code, 415);
}

#[test]
fn yaml_is_read_as_well() {
    let pods = kinds::find("", "v1", "pods").unwrap();
    let body = b"metadata: {name: a}\nspec:\n  hostNetwork: true\n  foo: 1\n  hostNetwork: false\n";
    let decoded = decode(pods, "application/yaml", body).unwrap();
    assert_eq!(
        decoded.strict_errors,
        ["duplicate field \"spec.hostNetwork\"", "unknown field \"spec.foo\""]
    );
    assert_eq!(decoded.object["spec"], json!({"hostNetwork": false}));
}

#[test]
fn the_spec_of_a_custom_resource_is_left_to_validation() {
    let peers = kinds::find("viaduct.dev", "v1alpha1", "bgppeers").unwrap();
    let body = br#"{"metadata": {"name": "a"}, "spec": {"asn": "x", "foo": 1}}"#;
    let decoded = decode(peers, "application/json", body).unwrap();
    assert_eq!(decoded.strict_errors, ["unknown field \"spec.foo\""]);
    assert_eq!(decoded.object["spec"], json!({"asn": "x"}));
    let body = br#"{"metadata": {"name": 1}}"#;
    assert_eq!(decode(peers, "application/json", body).unwrap_err().code, 400);
}

#[test]
fn deep_nesting_is_an_error() {
    let body = "[".repeat(100_000);
    assert_eq!(pod(&body).unwrap_err().code, 400);
}
