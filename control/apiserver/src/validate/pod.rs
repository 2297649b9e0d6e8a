//! Pod, and the template of a pod.

mod affinity;
mod container;
mod dns;
mod scheduling;
mod volume;

use serde_json::Value;

use super::field_error::{Errors, Path};
use super::{metadata, names};
use crate::kinds::Kind;

pub(crate) use scheduling::preemption_policy;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const TOLERATION_OPERATORS: [&str; 2] = ["Equal", "Exists"];
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
/// Bounds of ours; Kubernetes has none but the size of the request.
const MAX_CONTAINERS: usize = 100;

pub(crate) fn pod(_: &Kind, pod: &Value, errors: &mut Errors) {
    let path = Path::root("spec");
    match &pod["spec"] {
        Value::Null => errors.required(&path.child("containers"), ""),
        spec => pod_spec(spec, &path, errors),
    }
}

/// The pod of a ReplicaSet.
pub(crate) fn pod_template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("metadata");
    metadata::labels(&template["metadata"]["labels"], &at.child("labels"), errors);
    metadata::annotations(&template["metadata"]["annotations"], &at.child("annotations"), errors);
    let at = path.child("spec");
    match &template["spec"] {
        Value::Null => errors.required(&at.child("containers"), ""),
        spec => pod_spec(spec, &at, errors),
    }
}

fn pod_spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let volumes = volume::volumes(&spec["volumes"], &path.child("volumes"), errors);
    containers(spec, &volumes, path, errors);
    let policy = text(spec, "restartPolicy");
    if policy.is_empty() {
        errors.required(&path.child("restartPolicy"), "");
    } else if !RESTART_POLICIES.contains(&policy) {
        errors.not_supported(&path.child("restartPolicy"), policy, &RESTART_POLICIES);
    }
    dns::dns(spec, path, errors);
    if let Some(secs) = spec["terminationGracePeriodSeconds"].as_i64()
        && secs < 0
    {
        let at = path.child("terminationGracePeriodSeconds");
        errors.invalid(&at, secs, "must be greater than or equal to 0");
    }
    if let Some(secs) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&secs)
    {
        let at = path.child("activeDeadlineSeconds");
        errors.invalid(&at, secs, "must be between 1 and 2147483647, inclusive");
    }
    metadata::labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    tolerations(&spec["tolerations"], &path.child("tolerations"), errors);
    scheduling::scheduling(spec, path, errors);
    for (field, check) in [
        ("nodeName", names::rfc1123_subdomain as fn(&str) -> Vec<String>),
        ("serviceAccountName", names::rfc1123_subdomain),
        ("hostname", names::rfc1123_label),
        ("subdomain", names::rfc1123_label),
    ] {
        let value = text(spec, field);
        if !value.is_empty() {
            for why in check(value) {
                errors.invalid(&path.child(field), value, &why);
            }
        }
    }
}

fn containers(spec: &Value, volumes: &[String], path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("containers");
    let all = list(&spec["containers"]);
    if all.is_empty() {
        errors.required(&at, "");
    }
    let host_network = spec["hostNetwork"] == true;
    let mut names = Vec::new();
    for field in ["initContainers", "containers"] {
        let at = path.child(field);
        let all = list(&spec[field]);
        if all.len() > MAX_CONTAINERS {
            errors.too_many(&at, all.len(), MAX_CONTAINERS);
            continue;
        }
        for (index, one) in all.iter().enumerate() {
            let at = at.index(index);
            container::container(one, field == "initContainers", volumes, &at, errors);
            if host_network {
                container::host_network_ports(one, &at, errors);
            }
            let name = text(one, "name");
            if !name.is_empty() {
                if names.contains(&name) {
                    errors.duplicate(&at.child("name"), name);
                }
                names.push(name);
            }
        }
    }
    container::host_port_conflicts(list(&spec["containers"]), &at, errors);
}

fn tolerations(tolerations: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (index, toleration) in list(tolerations).iter().enumerate() {
        let path = path.index(index);
        let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
        let effect = text(toleration, "effect");
        if !key.is_empty() {
            for why in names::qualified_name(key) {
                errors.invalid(&path.child("key"), key, &why);
            }
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all \
                       values and all keys\"";
            errors.invalid(&path.child("operator"), operator, why);
        }
        match operator {
            "Exists" if !text(toleration, "value").is_empty() => errors.invalid(
                &path.child("operator"),
                toleration.clone(),
                "value must be empty when `operator` is 'Exists'",
            ),
            "" | "Equal" | "Exists" => {}
            _ => {
                errors.not_supported(&path.child("operator"), operator, &TOLERATION_OPERATORS);
            }
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.not_supported(&path.child("effect"), effect, &EFFECTS);
        }
        if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
            errors.invalid(
                &path.child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
    }
}

/// What may change in a pod that runs: images, the deadline, more tolerations.
pub(crate) fn pod_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::root("spec");
    let (is, was) = (&new["spec"], &old["spec"]);
    for field in ["initContainers", "containers"] {
        if list(&is[field]).len() != list(&was[field]).len() {
            let why = "pod updates may not add or remove containers";
            return errors.forbidden(&path.child(field), why);
        }
        let at = path.child(field);
        for (index, one) in list(&is[field]).iter().enumerate() {
            if text(one, "image").is_empty() {
                let at = at.index(index);
                errors.required(&at.child("image"), "");
            }
        }
    }
    active_deadline(is, was, &path, errors);
    if !list(&was["tolerations"]).iter().all(|had| list(&is["tolerations"]).contains(had)) {
        errors.forbidden(
            &path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
    scheduling::gates_update(is, was, &path, errors);
    // Bound by the binding subresource, never by an update.
    let mut rest = is.clone();
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy_field(&mut rest, was, field);
    }
    if was["terminationGracePeriodSeconds"].as_i64().is_some_and(|secs| secs < 0)
        && is["terminationGracePeriodSeconds"] == 1
    {
        copy_field(&mut rest, was, "terminationGracePeriodSeconds");
    }
    for field in ["initContainers", "containers"] {
        let containers = rest.get_mut(field).and_then(Value::as_array_mut);
        for (index, one) in containers.into_iter().flatten().enumerate() {
            copy_field(one, &was[field][index], "image");
        }
    }
    if rest != *was {
        errors.forbidden(
            &path,
            &format!(
                "pod updates may not change fields other than `spec.containers[*].image`,\
                 `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                 `spec.tolerations` (only additions to existing tolerations),\
                 `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                 previously negative)\n{}",
                difference(was, &rest)
            ),
        );
    }
}

fn active_deadline(is: &Value, was: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("activeDeadlineSeconds");
    match (is["activeDeadlineSeconds"].as_i64(), was["activeDeadlineSeconds"].as_i64()) {
        (Some(new), Some(old)) if new > old => {
            errors.invalid(&at, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            errors.invalid(&at, Value::Null, "must not update from a positive integer to nil value")
        }
        _ => {}
    }
}

/// The fields that differ, before and after; names only the top of each difference.
fn difference(was: &Value, is: &Value) -> String {
    let (Some(before), Some(after)) = (was.as_object(), is.as_object()) else {
        return String::new();
    };
    let mut lines = Vec::new();
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        let (old, new) = (before.get(key), after.get(key));
        if old != new {
            let show = |value: Option<&Value>| value.map_or("<unset>".into(), Value::to_string);
            lines.push(format!("- {key}: {}", show(old)));
            lines.push(format!("+ {key}: {}", show(new)));
        }
    }
    lines.join("\n")
}

fn copy_field(object: &mut Value, from: &Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        crate::kinds::carry_over(object, from, field);
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
