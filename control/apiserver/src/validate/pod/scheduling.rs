//! What a pod says of where, when and before whom it is to be placed.

use serde_json::{Value, json};

use super::{
    affinity::{affinity, label_keys, topology_key},
    list, text,
};
use crate::validate::{
    field_error::{Errors, Path},
    names,
    replica_set::label_selector,
};

const ACTIONS: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
const POLICIES: [&str; 2] = ["Honor", "Ignore"];
pub(crate) const PREEMPTION_POLICIES: [&str; 2] = ["PreemptLowerPriority", "Never"];

pub(super) fn scheduling(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    affinity(&spec["affinity"], &path.child("affinity"), errors);
    let at = path.child("topologySpreadConstraints");
    let constraints = list(&spec["topologySpreadConstraints"]);
    for (index, one) in constraints.iter().enumerate() {
        let at = at.index(index);
        spread_constraint(one, &at, errors);
        let (key, action) = (&one["topologyKey"], &one["whenUnsatisfiable"]);
        let same =
            |other: &Value| &other["topologyKey"] == key && &other["whenUnsatisfiable"] == action;
        if constraints[index + 1..].iter().any(same) {
            let value = format!(
                "{{{}, {}}}",
                key.as_str().unwrap_or_default(),
                action.as_str().unwrap_or_default()
            );
            errors.duplicate(&at.child("{topologyKey, whenUnsatisfiable}"), value);
        }
    }
    gates(spec, path, errors);
    let class = text(spec, "priorityClassName");
    if !class.is_empty() {
        for why in names::rfc1123_subdomain(class) {
            errors.invalid(&path.child("priorityClassName"), class, &why);
        }
    }
    preemption_policy(&spec["preemptionPolicy"], &path.child("preemptionPolicy"), errors);
}

pub(crate) fn preemption_policy(policy: &Value, path: &Path<'_>, errors: &mut Errors) {
    match policy.as_str() {
        None => {}
        Some("") => errors.required(path, ""),
        Some(known) if PREEMPTION_POLICIES.contains(&known) => {}
        Some(other) => errors.not_supported(path, other, &PREEMPTION_POLICIES),
    }
}

fn spread_constraint(constraint: &Value, path: &Path<'_>, errors: &mut Errors) {
    let positive = "must be greater than zero";
    let skew = constraint["maxSkew"].as_i64().unwrap_or_default();
    if skew <= 0 {
        errors.invalid(&path.child("maxSkew"), skew, positive);
    }
    topology_key(constraint, path, errors);
    let action = text(constraint, "whenUnsatisfiable");
    if !ACTIONS.contains(&action) {
        errors.not_supported(&path.child("whenUnsatisfiable"), action, &ACTIONS);
    }
    if let Some(domains) = constraint["minDomains"].as_i64() {
        let at = path.child("minDomains");
        if domains <= 0 {
            errors.invalid(&at, domains, positive);
        }
        if action != "DoNotSchedule" {
            let why =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            errors.invalid(&at, domains, &why);
        }
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        if let Some(policy) = constraint[field].as_str()
            && !POLICIES.contains(&policy)
        {
            errors.not_supported(&path.child(field), policy, &POLICIES);
        }
    }
    let selector = &constraint["labelSelector"];
    let at = path.child("matchLabelKeys");
    label_keys(&constraint["matchLabelKeys"], selector, &at, errors);
    label_selector(selector, &path.child("labelSelector"), errors);
}

fn gates(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let gates = list(&spec["schedulingGates"]);
    let at = path.child("schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        let (name, at) = (text(gate, "name"), at.index(index));
        for why in names::qualified_name(name) {
            errors.invalid(&at, name, &why);
        }
        if gates[..index].iter().any(|other| other["name"] == name) {
            errors.duplicate(&at.child("name"), json!(name));
        }
    }
    if !gates.is_empty() && !text(spec, "nodeName").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden(&path.child("nodeName"), why);
    }
}

/// Gates are opened one by one and never closed again.
pub(super) fn gates_update(is: &Value, was: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("schedulingGates");
    for gate in list(&is["schedulingGates"]) {
        if !list(&was["schedulingGates"]).contains(gate) {
            let why = format!(
                "only deletion is allowed, but found new scheduling gate '{}'",
                text(gate, "name")
            );
            errors.forbidden(&at, &why);
        }
    }
}
