//! What only pods have: binding to a node.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{create::success, update};
use crate::{
    api::Call,
    clock,
    http::{Media, Response, respond},
    object,
    status_error::StatusError,
    validate::FieldError,
};

/// POST of a Binding: the scheduler's word on where a pod runs.
pub(crate) async fn bind(call: &Call, body: Bytes) -> Result<Response, StatusError> {
    let binding = Media::of(&call.headers)?.parse(&body)?;
    let name = call.path.name.as_str();
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        let error = FieldError::required("target.name", "");
        return Err(StatusError::invalid(call.kind, name, [error]));
    }
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        let error = FieldError::not_supported("target.kind", kind.into(), &["Node", "<empty>"]);
        return Err(StatusError::invalid(call.kind, name, [error]));
    }
    update::amend(call, |pod| {
        let uid = object::uid(&binding);
        if !uid.is_empty() && uid != object::uid(pod) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                object::uid(pod)
            );
            return Err(StatusError::conflict(call.kind, name, &why));
        }
        if object::is_terminating(pod) {
            let why = format!("pod {name} is being deleted, cannot be assigned to a host");
            return Err(StatusError::conflict(call.kind, name, &why));
        }
        if let Some(assigned) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
            let why = format!("pod {name} is already assigned to node \"{assigned}\"");
            return Err(StatusError::conflict(call.kind, name, &why));
        }
        let mut bound = pod.clone();
        bound["spec"]["nodeName"] = node.into();
        set_scheduled(&mut bound);
        if let Some(status) = bound["status"].as_object_mut() {
            status.shift_remove("nominatedNodeName");
        }
        Ok(bound)
    })
    .await?;
    Ok(respond::json(StatusCode::CREATED, &success(StatusCode::CREATED)))
}

fn set_scheduled(pod: &mut Value) {
    let status = &mut pod["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(json!({
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": null,
            "lastTransitionTime": clock::now(),
        }));
    }
}
