use serde_json::json;

use super::*;
use crate::kinds;

fn pod_of(spec: Value) -> Value {
    let kind = kinds::find("", "v1", "pods").unwrap();
    let mut pod = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec});
    kind.default(&mut pod);
    pod
}

fn problems(spec: Value) -> Vec<String> {
    let kind = kinds::find("", "v1", "pods").unwrap();
    kind.validate_create(&pod_of(spec)).iter().map(ToString::to_string).collect()
}

fn with(field: &str, value: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "a", "image": "a"}]});
    spec["containers"][0][field] = value;
    spec
}

#[test]
fn a_good_one_is_taken() {
    let spec = json!({
        "containers": [{
            "name": "a", "image": "a:1",
            "ports": [{"name": "http", "containerPort": 80}],
            "env": [{"name": "A", "value": "b"},
                {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
                {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "1", "memory": "1Gi"}},
            "readinessProbe": {"httpGet": {"port": "http"}},
            "livenessProbe": {"exec": {"command": ["true"]}},
        }],
        "initContainers": [{"name": "i", "image": "a"}],
        "volumes": [{"name": "v", "configMap": {"name": "c"}}],
        "tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b"}],
        "nodeSelector": {"a": "b"},
    });
    assert_eq!(problems(spec), Vec::<String>::new());
}

#[test]
fn wrong_ones_are_refused_in_the_words_of_kubernetes() {
    for (spec, expected) in [
        (json!({}), "spec.containers: Required value"),
        (
            with("ports", json!([{"containerPort": 70000}])),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 \
             and 65535, inclusive",
        ),
        (
            with(
                "ports",
                json!([{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]),
            ),
            "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
        ),
        (with("image", json!("")), "spec.containers[0].image: Required value"),
        (with("env", json!([{"value": "a"}])), "spec.containers[0].env[0].name: Required value"),
        (
            with("volumeMounts", json!([{"name": "v", "mountPath": "/v"}])),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            with("imagePullPolicy", json!("Sometimes")),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported \
             values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            with("resources", json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or \
             equal to cpu limit of 1",
        ),
        (
            with("readinessProbe", json!({})),
            "spec.containers[0].readinessProbe: Required value: must specify a handler type",
        ),
        (
            json!({"containers": [{"name": "a", "image": "a"}, {"name": "a", "image": "a"}]}),
            "spec.containers[1].name: Duplicate value: \"a\"",
        ),
        (
            json!({"containers": [{"name": "a", "image": "a"}], "restartPolicy": "Sometimes"}),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
             \"OnFailure\", \"Never\"",
        ),
        (
            json!({"containers": [{"name": "a", "image": "a"}],
                "volumes": [{"name": "v", "configMap": {}}]}),
            "spec.volumes[0].configMap.name: Required value",
        ),
    ] {
        assert_eq!(problems(spec), [expected]);
    }
}

#[test]
fn only_a_few_fields_of_a_running_pod_change() {
    let kind = kinds::find("", "v1", "pods").unwrap();
    let old = pod_of(json!({"containers": [{"name": "a", "image": "a:1"}]}));
    let change = |pointer: &str, value: Value| {
        let mut new = old.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        new.pointer_mut(parent).unwrap()[field] = value;
        kind.validate_update(&new, &old).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(change("/spec/containers/0/image", json!("a:2")), Vec::<String>::new());
    assert_eq!(change("/spec/tolerations", json!([{"operator": "Exists"}])), Vec::<String>::new());
    assert_eq!(change("/spec/activeDeadlineSeconds", json!(5)), Vec::<String>::new());
    let found = change("/spec/hostNetwork", json!(true));
    assert!(
        found[0].starts_with(
            "spec: Forbidden: pod updates may not change fields other than \
             `spec.containers[*].image`,`spec.initContainers[*].image`,"
        ),
        "{found:?}"
    );
    assert!(!change("/spec/containers/0/env", json!([{"name": "A"}])).is_empty());
}
