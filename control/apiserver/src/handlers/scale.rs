//! The `scale` subresource: the number of replicas as an `autoscaling/v1` Scale.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{
    create::content_type,
    update::{self, Part},
};
use crate::{
    api::Call,
    auth::Verb,
    http::{Media, Response, respond},
    object,
    patch::{self, PatchType},
    status_error::{MODIFIED, StatusError},
    validate::FieldError,
};

pub(crate) async fn scale(call: &Call, verb: Verb, body: Bytes) -> Result<Response, StatusError> {
    let object = match verb {
        Verb::Get => call.registry().get(call.kind, &call.path.namespace, &call.path.name).await?,
        Verb::Update => {
            let wanted = Media::of(&call.headers)?.parse(&body)?;
            update::change(call, Part::Main, |current| scaled(call, current, &wanted).map(Some))
                .await?
        }
        Verb::Patch => {
            let patch_type = match PatchType::of_media_type(content_type(call)) {
                Some(PatchType::Json) => PatchType::Json,
                // A Scale has no lists that would be merged in another way.
                Some(PatchType::Merge | PatchType::Strategic) => PatchType::Merge,
                _ => return Err(StatusError::unsupported_media_type(&PatchType::MEDIA_TYPES[..3])),
            };
            update::change(call, Part::Main, |current| {
                let wanted = patch::apply(call.kind, patch_type, &scale_of(current), &body)?;
                scaled(call, current, &wanted).map(Some)
            })
            .await?
        }
        _ => return Err(StatusError::method_not_allowed(call.kind, verb.name())),
    };
    Ok(respond::json(StatusCode::OK, &scale_of(&object)))
}

fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": { "replicas": object["spec"]["replicas"] },
        "status": {
            "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
            "selector": selector_text(&object["spec"]["selector"]),
        },
    })
}

/// The object with the replicas of a Scale.
fn scaled(call: &Call, current: &Value, wanted: &Value) -> Result<Value, StatusError> {
    let name = call.path.name.as_str();
    let given = object::resource_version(wanted);
    if !given.is_empty() && given != object::resource_version(current) {
        return Err(StatusError::conflict(call.kind, name, MODIFIED));
    }
    let replicas = match &wanted["spec"]["replicas"] {
        Value::Null => 0,
        value => match value.as_i64().filter(|n| (0..=i64::from(i32::MAX)).contains(n)) {
            Some(replicas) => replicas,
            None => {
                let why = "must be greater than or equal to 0";
                let error = FieldError::invalid("spec.replicas", value.clone(), why);
                return Err(StatusError::invalid_scale(name, error));
            }
        },
    };
    let mut new = current.clone();
    new["spec"]["replicas"] = replicas.into();
    Ok(new)
}

/// A label selector as one line of text.
fn selector_text(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut terms: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        terms.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.join(",")
}
