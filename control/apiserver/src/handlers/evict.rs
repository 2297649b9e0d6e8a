//! Eviction: the deletion of a pod that asks its disruption budget first.
//!
//! The budget's controller says how many pods may go; each eviction takes one of them by writing
//! the budget as it was read, so that two at once cannot have the same.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{
    create::success,
    delete::{self, DeleteOptions},
    write,
};
use crate::{
    api::Call,
    clock,
    http::{Media, Response, respond},
    kinds::{self, Kind},
    object,
    selector::labels_match,
    status_error::{Cause, StatusError},
};

/// How often a budget is read and written against what others write meanwhile.
const TRIES: usize = 20;
/// Evictions that the controller has not confirmed; as in Kubernetes.
const MAX_UNCONFIRMED: usize = 2000;
/// When to ask again about a budget that its controller has not looked at.
const PENDING_RETRY_SECS: u32 = 10;
const VIOLATION: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// POST of an Eviction.
pub(crate) async fn evict(call: &mut Call, body: Bytes) -> Result<Response, StatusError> {
    let eviction = Media::of(&call.headers)?.parse(&body)?;
    let name = call.path.name.clone();
    let given = object::name(&eviction);
    if !given.is_empty() && given != name {
        return Err(StatusError::bad_request(format!(
            "name in URL does not match name in Eviction object: {name} != {given}"
        )));
    }
    let mut options = DeleteOptions::of_body(&eviction["deleteOptions"], call.dry_run)?;
    call.dry_run |= options.dry_run;
    let (mut asked, mut tries) = (false, 0);
    loop {
        tries += 1;
        let pod = call.registry().get(call.kind, &call.path.namespace, &name).await?;
        options.check(call.kind, &pod)?;
        options.uid = Some(object::uid(&pod).to_owned());
        if !asked && !is_free(&pod) {
            ask(call, &pod).await?;
            asked = true;
        }
        if object::is_terminating(&pod) {
            break;
        }
        // As it was read: a pod that was free and has begun to serve is asked for after all.
        match write::replace(call, &pod, with_reason(&pod)).await {
            Err(error) if error.reason == "Conflict" && tries < TRIES => {}
            other => {
                other?;
                // That was ours.
                options.resource_version = None;
                break;
            }
        }
    }
    delete::remove(call, &call.path.namespace, &name, &options).await?;
    Ok(respond::json(StatusCode::CREATED, &success(StatusCode::CREATED)))
}

/// Pods that serve nobody: no budget counts on them.
fn is_free(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || object::is_terminating(pod)
}

/// Takes the pod from its budget's allowance.
async fn ask(call: &Call, pod: &Value) -> Result<(), StatusError> {
    let Some(kind) = kinds::find("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
    let budgets = call.registry().all(kind, &call.path.namespace).await?;
    let covers = |budget: &&Value| {
        let selector = &budget["spec"]["selector"];
        !selector.is_null() && labels_match(selector, &pod["metadata"]["labels"])
    };
    let mut covering = budgets.iter().filter(covers);
    let Some(budget) = covering.next() else { return Ok(()) };
    if covering.next().is_some() {
        let mut error = StatusError::internal("");
        error.message = "This pod has more than one PodDisruptionBudget, which the eviction \
                         subresource does not support."
            .to_owned();
        error.details = None;
        return Err(error);
    }
    let (mut budget, name) = (budget.clone(), object::name(budget).to_owned());
    let mut tries = 0;
    loop {
        tries += 1;
        let Some(charged) = charge(kind, &budget, pod)? else { return Ok(()) };
        if call.dry_run {
            return Ok(());
        }
        match call.registry().replace(kind, &budget, charged).await {
            Err(error) if error.reason == "Conflict" && tries < TRIES => {}
            other => return other.map(|_| ()),
        }
        // A budget that is gone forbids nothing.
        match call.registry().find(kind, &call.path.namespace, &name).await? {
            Some(again) => budget = again,
            None => return Ok(()),
        }
    }
}

/// The budget after the eviction; `None` where it does not count the pod anyway.
fn charge(kind: &Kind, budget: &Value, pod: &Value) -> Result<Option<Value>, StatusError> {
    let (name, status) = (object::name(budget), &budget["status"]);
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    if !is_ready(pod) {
        let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
        if always || healthy >= desired && desired > 0 {
            return Ok(None);
        }
    }
    if number("observedGeneration") < object::generation(budget) {
        let message =
            format!("The disruption budget {name} is still being processed by the server.");
        return Err(violation(message, PENDING_RETRY_SECS));
    }
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        let why = "pdb disruptions allowed is negative";
        return Err(StatusError::forbidden(kind, name, why));
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MAX_UNCONFIRMED) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(StatusError::forbidden(kind, name, why));
    }
    if allowed == 0 {
        return Err(violation(why_none(budget), 0));
    }
    let mut charged = budget.clone();
    let status = &mut charged["status"];
    status["disruptionsAllowed"] = (allowed - 1).into();
    status["disruptedPods"][object::name(pod)] = clock::now().into();
    if allowed == 1 {
        let conditions = status["conditions"].as_array_mut();
        let mut all = conditions.into_iter().flatten();
        if let Some(condition) = all.find(|one| one["type"] == "DisruptionAllowed") {
            condition["status"] = "False".into();
            condition["reason"] = "InsufficientPods".into();
            condition["lastTransitionTime"] = clock::now().into();
        }
    }
    Ok(Some(charged))
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn why_none(budget: &Value) -> String {
    let (name, status) = (object::name(budget), &budget["status"]);
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let failed = |one: &&Value| one["type"] == "DisruptionAllowed" && one["reason"] == "SyncFailed";
    match conditions.find(failed) {
        Some(condition) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed \
             sync: {}",
            condition["message"].as_str().unwrap_or_default()
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status["desiredHealthy"].as_i64().unwrap_or_default(),
            status["currentHealthy"].as_i64().unwrap_or_default()
        ),
    }
}

/// What a budget forbids (429). As in Kubernetes without a time to wait where that depends on other
/// pods: clients that are given one wait by themselves and tell nobody.
fn violation(message: String, retry_after_secs: u32) -> StatusError {
    let mut error = StatusError::too_many_requests(VIOLATION, retry_after_secs);
    let details = error.details.get_or_insert_default();
    let reason = "DisruptionBudget".to_owned();
    details.causes.push(Cause { reason, message, field: String::new() });
    error
}

/// Says on the pod why it goes.
fn with_reason(pod: &Value) -> Value {
    let mut told = pod.clone();
    let status = &mut told["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != "DisruptionTarget");
        conditions.push(json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastTransitionTime": clock::now(),
        }));
    }
    told
}
