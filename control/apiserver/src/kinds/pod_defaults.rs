//! The defaults of a pod's spec, as `pkg/apis/core/v1/defaults.go` of Kubernetes sets them.

use serde_json::{Value, json};

use super::strategy::default_field;

/// Defaults the pod of `spec.template`.
pub(super) fn default_template(spec: &mut Value) {
    if let Some(template) = spec.get_mut("template")
        && let Some(pod_spec) = template.get_mut("spec")
    {
        default_pod_spec(pod_spec);
    }
}

pub(super) fn default_pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    for field in ["initContainers", "containers"] {
        for container in items(spec, field) {
            default_container(container);
        }
    }
    for volume in items(spec, "volumes") {
        default_volume(volume);
    }
    default_field(spec, "restartPolicy", "Always");
    default_field(spec, "terminationGracePeriodSeconds", 30);
    default_field(spec, "dnsPolicy", "ClusterFirst");
    default_field(spec, "securityContext", json!({}));
    default_field(spec, "schedulerName", "default-scheduler");
    default_field(spec, "enableServiceLinks", true);
    // Kubernetes writes the old name of the field beside the new one.
    if let Some(account) = spec["serviceAccountName"].as_str().map(str::to_owned) {
        default_field(spec, "serviceAccount", account);
    } else if let Some(account) = spec["serviceAccount"].as_str().map(str::to_owned) {
        default_field(spec, "serviceAccountName", account);
    }
    if spec["hostNetwork"] == true {
        for field in ["initContainers", "containers"] {
            for container in items(spec, field) {
                for port in items(container, "ports") {
                    let number = port["containerPort"].clone();
                    default_field(port, "hostPort", number);
                }
            }
        }
    }
}

fn default_container(container: &mut Value) {
    let policy = default_pull_policy(container["image"].as_str().unwrap_or_default());
    default_field(container, "terminationMessagePath", "/dev/termination-log");
    default_field(container, "terminationMessagePolicy", "File");
    default_field(container, "imagePullPolicy", policy);
    default_field(container, "resources", json!({}));
    for port in items(container, "ports") {
        default_field(port, "protocol", "TCP");
    }
    default_requests(container);
    for env in items(container, "env") {
        if let Some(field_ref) = env.get_mut("valueFrom").and_then(|from| from.get_mut("fieldRef"))
        {
            default_field(field_ref, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = container.get_mut("lifecycle").and_then(|all| all.get_mut(hook)) {
            default_handler(handler);
        }
    }
}

/// What a container may use at most is what it asks for, where it does not say.
fn default_requests(container: &mut Value) {
    let resources = &mut container["resources"];
    let Some(limits) = resources["limits"].as_object().cloned() else { return };
    default_field(resources, "requests", json!({}));
    for (resource, limit) in limits {
        default_field(&mut resources["requests"], &resource, limit);
    }
}

fn default_probe(probe: &mut Value) {
    default_handler(probe);
    default_field(probe, "timeoutSeconds", 1);
    default_field(probe, "periodSeconds", 10);
    default_field(probe, "successThreshold", 1);
    default_field(probe, "failureThreshold", 3);
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        // Go cannot tell 0 from unset, so neither means anything else here.
        if probe[field] == 0 {
            probe[field] = value.into();
        }
    }
}

fn default_handler(handler: &mut Value) {
    if let Some(http) = handler.get_mut("httpGet").filter(|http| http.is_object()) {
        default_field(http, "path", "/");
        default_field(http, "scheme", "HTTP");
    }
    if let Some(grpc) = handler.get_mut("grpc").filter(|grpc| grpc.is_object()) {
        default_field(grpc, "service", "");
    }
}

/// `Always` for an image that names no tag or `latest`, for it may change behind its name.
fn default_pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        None | Some((_, "latest" | "")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn default_volume(volume: &mut Value) {
    const FILE_MODE: i64 = 0o644;
    let sources = ["configMap", "secret", "downwardAPI", "projected"];
    for source in sources {
        if let Some(source) = volume.get_mut(source).filter(|source| source.is_object()) {
            default_field(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").filter(|path| path.is_object()) {
        default_field(path, "type", "");
    }
    for source in ["downwardAPI", "projected"] {
        let Some(source) = volume.get_mut(source) else { continue };
        default_downward_items(source);
        for projected in items(source, "sources") {
            if let Some(downward) = projected.get_mut("downwardAPI") {
                default_downward_items(downward);
            }
            if let Some(token) =
                projected.get_mut("serviceAccountToken").filter(|token| token.is_object())
            {
                default_field(token, "expirationSeconds", 3600);
            }
        }
    }
    // A volume without a source is an empty folder.
    let has_source =
        volume.as_object().is_some_and(|volume| volume.keys().any(|key| key != "name"));
    if !has_source {
        default_field(volume, "emptyDir", json!({}));
    }
}

fn default_downward_items(source: &mut Value) {
    for item in items(source, "items") {
        if let Some(field_ref) = item.get_mut("fieldRef").filter(|field| field.is_object()) {
            default_field(field_ref, "apiVersion", "v1");
        }
    }
}

fn items<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_defaulted() {
        let mut spec = json!({
            "containers": [{
                "name": "a",
                "image": "registry:5000/echo:1.0",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}},
                "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1},
            }],
            "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}],
        });
        default_pod_spec(&mut spec);
        let container = &spec["containers"][0];
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        assert_eq!(container["terminationMessagePath"], "/dev/termination-log");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["resources"]["requests"], json!({"cpu": "1"}));
        let probe = json!({
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "periodSeconds": 1, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3,
        });
        assert_eq!(container["readinessProbe"], probe);
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["configMap"]["defaultMode"], 420);
        assert_eq!(spec["restartPolicy"], "Always");
        assert_eq!(spec["dnsPolicy"], "ClusterFirst");
        assert_eq!(spec["terminationGracePeriodSeconds"], 30);

        let mut again = spec.clone();
        default_pod_spec(&mut again);
        assert_eq!(again, spec, "defaulting twice changes nothing");
    }

    #[test]
    fn images_that_may_change_are_pulled() {
        for image in ["echo", "host:5000/echo", "echo:latest"] {
            assert_eq!(default_pull_policy(image), "Always", "{image}");
        }
        for image in ["echo:1", "host:5000/a/echo:1", "echo@sha256:00"] {
            assert_eq!(default_pull_policy(image), "IfNotPresent", "{image}");
        }
    }
}
