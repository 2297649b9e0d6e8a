//! One container of a pod.

use serde_json::Value;

use super::{list, text};
use crate::validate::field_error::{Errors, Path};
use crate::validate::names;
use crate::validate::quantity::Quantity;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];
const SCHEMES: [&str; 2] = ["HTTP", "HTTPS"];
const FIELDS_FOR_ENV: [&str; 10] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
    "status.podIPs",
];

pub(super) fn container(
    container: &Value,
    is_init: bool,
    volumes: &[String],
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        for why in names::rfc1123_label(name) {
            errors.invalid(&path.child("name"), name, &why);
        }
    }
    let image = text(container, "image");
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.invalid(&path.child("image"), image, why);
    }
    one_of(container, "imagePullPolicy", &PULL_POLICIES, path, errors);
    one_of(container, "terminationMessagePolicy", &MESSAGE_POLICIES, path, errors);
    ports(list(&container["ports"]), &path.child("ports"), errors);
    env(list(&container["env"]), &path.child("env"), errors);
    env_from(list(&container["envFrom"]), &path.child("envFrom"), errors);
    mounts(list(&container["volumeMounts"]), volumes, &path.child("volumeMounts"), errors);
    resources(&container["resources"], &path.child("resources"), errors);
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (value, path) = (&container[field], path.child(field));
        if value.is_null() {
            continue;
        }
        if is_init && container["restartPolicy"] != "Always" {
            errors.forbidden(
                &path,
                "may not be set for init containers without restartPolicy=Always",
            );
            continue;
        }
        probe(value, field != "readinessProbe", &path, errors);
    }
    let path = path.child("lifecycle");
    for field in ["postStart", "preStop"] {
        let value = &container["lifecycle"][field];
        if !value.is_null() {
            handler(value, &["exec", "httpGet", "sleep", "tcpSocket"], &path.child(field), errors);
        }
    }
}

/// A port of a pod on the host's network is a port of the host.
pub(super) fn host_network_ports(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("ports");
    for (index, port) in list(&container["ports"]).iter().enumerate() {
        if port["hostPort"] != port["containerPort"] {
            errors.invalid(
                &path.index(index).child("containerPort"),
                port["containerPort"].clone(),
                "must match `hostPort` when `hostNetwork` is true",
            );
        }
    }
}

pub(super) fn host_port_conflicts(containers: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        let path = path.child("ports");
        for (index, port) in list(&container["ports"]).iter().enumerate() {
            let number = port["hostPort"].as_i64().unwrap_or_default();
            if number == 0 {
                continue;
            }
            let key = (number, text(port, "protocol"), text(port, "hostIP"));
            if seen.contains(&key) {
                let shown = format!("{}/{}/{}", key.1, key.2, key.0);
                errors.duplicate(&path.index(index).child("hostPort"), shown);
            }
            seen.push(key);
        }
    }
}

fn one_of(object: &Value, field: &str, known: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let value = text(object, field);
    if !value.is_empty() && !known.contains(&value) {
        errors.not_supported(&path.child(field), value, known);
    }
}

fn ports(ports: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            for why in names::port_name(name) {
                errors.invalid(&path.child("name"), name, &why);
            }
            if seen.contains(&name) {
                errors.duplicate(&path.child("name"), name);
            }
            seen.push(name);
        }
        let number = port["containerPort"].as_i64().unwrap_or_default();
        if number == 0 {
            errors.required(&path.child("containerPort"), "");
        } else {
            for why in names::port_number(number) {
                errors.invalid(&path.child("containerPort"), number, &why);
            }
        }
        let host_port = port["hostPort"].as_i64().unwrap_or_default();
        if host_port != 0 {
            for why in names::port_number(host_port) {
                errors.invalid(&path.child("hostPort"), host_port, &why);
            }
        }
        let protocol = text(port, "protocol");
        if protocol.is_empty() {
            errors.required(&path.child("protocol"), "");
        } else if !PROTOCOLS.contains(&protocol) {
            errors.not_supported(&path.child("protocol"), protocol, &PROTOCOLS);
        }
    }
}

fn env(env: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for (index, variable) in env.iter().enumerate() {
        let path = path.index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        for why in names::environment_variable(name) {
            errors.invalid(&path.child("name"), name, &why);
        }
        let source = &variable["valueFrom"];
        if source.is_null() {
            continue;
        }
        let path = path.child("valueFrom");
        if !text(variable, "value").is_empty() {
            errors.invalid(&path, "", "may not be specified when `value` is not empty");
        }
        env_source(source, &path, errors);
    }
}

fn env_source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];
    let given = kinds.iter().filter(|kind| !source[**kind].is_null()).count();
    if given == 0 {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or \
                   `secretKeyRef`";
        errors.invalid(path, "", why);
    } else if given > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let reference = &source[kind];
        if reference.is_null() {
            continue;
        }
        let path = path.child(kind);
        if text(reference, "key").is_empty() {
            errors.required(&path.child("key"), "");
        } else {
            for why in names::config_map_key(text(reference, "key")) {
                errors.invalid(&path.child("key"), text(reference, "key"), &why);
            }
        }
        if text(reference, "name").is_empty() {
            errors.required(&path.child("name"), "");
        }
    }
    let field = &source["fieldRef"];
    if !field.is_null() {
        let path = path.child("fieldRef");
        let path = path.child("fieldPath");
        let name = text(field, "fieldPath");
        // `metadata.labels['a']` asks for one of them.
        let base = name.split('[').next().unwrap_or_default();
        let subscript = base != name;
        let subscribable = matches!(base, "metadata.labels" | "metadata.annotations");
        if name.is_empty() {
            errors.required(&path, "");
        } else if !FIELDS_FOR_ENV.contains(&base) || subscript != subscribable {
            let known: Vec<&str> = FIELDS_FOR_ENV[2..].to_vec();
            errors.not_supported(&path, name, &known);
        }
    }
}

fn env_from(sources: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for (index, source) in sources.iter().enumerate() {
        let path = path.index(index);
        let given: Vec<&str> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|kind| !source[*kind].is_null())
            .collect();
        match given.as_slice() {
            [] => {
                errors.invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`");
            }
            [kind] => {
                if text(&source[*kind], "name").is_empty() {
                    errors.required(&path.child(kind).child("name"), "");
                }
            }
            _ => errors.invalid(&path, "", "may not have more than one field specified at a time"),
        }
    }
}

fn mounts(mounts: &[Value], volumes: &[String], path: &Path<'_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = path.index(index);
        let name = text(mount, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !volumes.iter().any(|volume| volume == name) {
            errors.not_found(&path.child("name"), name);
        }
        let at = text(mount, "mountPath");
        if at.is_empty() {
            errors.required(&path.child("mountPath"), "");
        } else if seen.contains(&at) {
            errors.invalid(&path.child("mountPath"), at, "must be unique");
        }
        seen.push(at);
        let sub_path = text(mount, "subPath");
        if sub_path.starts_with('/') {
            errors.invalid(&path.child("subPath"), sub_path, "must be a relative path");
        } else if sub_path.split('/').any(|part| part == "..") {
            errors.invalid(&path.child("subPath"), sub_path, "must not contain '..'");
        }
    }
}

fn resources(resources: &Value, path: &Path<'_>, errors: &mut Errors) {
    let parsed = |list: &str, name: &str| resources[list][name].as_str().and_then(Quantity::parse);
    for list in ["limits", "requests"] {
        let at = path.child(list);
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            let at = at.key(name);
            for why in names::qualified_name(name) {
                errors.invalid(&at, name.as_str(), &why);
            }
            let known = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-")
                || name.contains('/');
            if !known {
                errors.invalid(
                    &at,
                    name.as_str(),
                    "must be a standard resource type or fully qualified",
                );
            }
            let Some(amount) = parsed(list, name) else { continue };
            if amount.is_negative() {
                errors.invalid(&at, value.clone(), "must be greater than or equal to 0");
            }
            if name.contains('/') && !amount.is_whole() {
                errors.invalid(&at, value.clone(), "must be an integer");
            }
            if name == "cpu" && !amount.is_whole_millis() {
                errors.invalid(&at, value.clone(), "must be a multiple of 1m");
            }
        }
    }
    let at = path.child("requests");
    for (name, value) in resources["requests"].as_object().into_iter().flatten() {
        let (request, limit) = (parsed("requests", name), parsed("limits", name));
        if let (Some(request), Some(limit)) = (request, limit)
            && request > limit
        {
            let why =
                format!("must be less than or equal to {name} limit of {}", limit.canonical());
            errors.invalid(&at, value.clone(), &why);
        }
    }
}

fn probe(probe: &Value, only_one_success: bool, path: &Path<'_>, errors: &mut Errors) {
    handler(probe, &["exec", "grpc", "httpGet", "tcpSocket"], path, errors);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
        "terminationGracePeriodSeconds",
    ] {
        if let Some(number) = probe[field].as_i64()
            && number < 0
        {
            errors.invalid(&path.child(field), number, "must be greater than or equal to 0");
        }
    }
    let successes = probe["successThreshold"].as_i64().unwrap_or(1);
    if only_one_success && successes > 1 {
        errors.invalid(&path.child("successThreshold"), successes, "must be 1");
    }
}

fn handler(handler: &Value, kinds: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let given: Vec<&str> = kinds.iter().copied().filter(|kind| !handler[*kind].is_null()).collect();
    if given.is_empty() {
        errors.required(path, "must specify a handler type");
    }
    for kind in given.iter().skip(1) {
        errors.forbidden(&path.child(kind), "may not specify more than 1 handler type");
    }
    let Some(kind) = given.first() else { return };
    let path = path.child(kind);
    let action = &handler[*kind];
    match *kind {
        "exec" if list(&action["command"]).is_empty() => {
            errors.required(&path.child("command"), "");
        }
        "httpGet" => {
            if text(action, "path").is_empty() {
                errors.required(&path.child("path"), "");
            }
            one_of(action, "scheme", &SCHEMES, &path, errors);
            handler_port(&action["port"], &path.child("port"), errors);
        }
        "tcpSocket" | "grpc" => handler_port(&action["port"], &path.child("port"), errors),
        _ => {}
    }
}

fn handler_port(port: &Value, path: &Path<'_>, errors: &mut Errors) {
    match port {
        Value::String(name) => {
            for why in names::port_name(name) {
                errors.invalid(path, name.as_str(), &why);
            }
        }
        port => {
            let number = port.as_i64().unwrap_or_default();
            for why in names::port_number(number) {
                errors.invalid(path, number, &why);
            }
        }
    }
}
