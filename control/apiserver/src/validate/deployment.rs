//! Deployment.

use serde_json::Value;

use super::field_error::{Errors, Path};
use super::percent::{int_or_percent, percent};
use super::replica_set::selector_and_template;
use crate::kinds::Kind;

const STRATEGIES: [&str; 2] = ["Recreate", "RollingUpdate"];

pub(crate) fn deployment(_: &Kind, deployment: &Value, errors: &mut Errors) {
    let spec = &deployment["spec"];
    let path = Path::root("spec");
    not_negative(spec, &path, &["replicas"], errors);
    selector_and_template(spec, &path, "deployment", errors);
    strategy(&spec["strategy"], &path.child("strategy"), errors);
    let fields = ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
    not_negative(spec, &path, &fields, errors);
    if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64()
        && deadline <= spec["minReadySeconds"].as_i64().unwrap_or_default()
    {
        let at = path.child("progressDeadlineSeconds");
        errors.invalid(&at, deadline, "must be greater than minReadySeconds");
    }
}

pub(crate) fn deployment_update(new: &Value, old: &Value, errors: &mut Errors) {
    super::replica_set_update(new, old, errors);
}

pub(crate) fn deployment_status(new: &Value, old: &Value, errors: &mut Errors) {
    let status = &new["status"];
    let path = Path::root("status");
    let fields = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    not_negative(status, &path, &fields, errors);
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    for (field, bound, why) in [
        ("updatedReplicas", "replicas", "cannot be greater than status.replicas"),
        ("readyReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ] {
        if number(field) > number(bound) {
            errors.invalid(&path.child(field), number(field), why);
        }
    }
    // Names of ReplicaSets that were taken once would be tried again.
    if number("collisionCount") < old["status"]["collisionCount"].as_i64().unwrap_or_default() {
        errors.invalid(
            &path.child("collisionCount"),
            number("collisionCount"),
            "cannot be decremented",
        );
    }
}

fn not_negative(object: &Value, path: &Path<'_>, fields: &[&str], errors: &mut Errors) {
    for field in fields {
        if let Some(number) = object[*field].as_i64()
            && number < 0
        {
            errors.invalid(&path.child(field), number, "must be greater than or equal to 0");
        }
    }
}

fn strategy(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rolling = &strategy["rollingUpdate"];
    let at = path.child("rollingUpdate");
    match strategy["type"].as_str().unwrap_or_default() {
        "Recreate" if !rolling.is_null() => {
            errors.forbidden(&at, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.is_null() => {
            errors.required(&at, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => rolling_update(rolling, &at, errors),
        _ => errors.not_supported(path, strategy.clone(), &STRATEGIES),
    }
}

fn rolling_update(rolling: &Value, path: &Path<'_>, errors: &mut Errors) {
    let fields = ["maxUnavailable", "maxSurge"];
    let [unavailable, surge] = fields.map(|field| {
        let (value, at) = (&rolling[field], path.child(field));
        int_or_percent(value, &at, errors);
        value
    });
    let at = path.child("maxUnavailable");
    if amount(unavailable) == Some(0) && amount(surge) == Some(0) {
        errors.invalid(&at, unavailable.clone(), "may not be 0 when `maxSurge` is 0");
    }
    if percent(unavailable).is_some_and(|percent| percent > 100) {
        errors.invalid(&at, unavailable.clone(), "must not be greater than 100%");
    }
}

/// The number or the percents.
fn amount(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| percent(value).map(i64::from))
}

#[cfg(test)]
mod tests;
