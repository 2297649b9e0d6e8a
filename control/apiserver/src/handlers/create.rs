//! POST of a new object.

use bytes::Bytes;
use hyper::{StatusCode, header};
use serde_json::{Value, json};

use super::{render::answer, write};
use crate::{
    admission,
    api::Call,
    auth::{authorize::Condition, authorize::denial},
    clock,
    http::{Response, query::FieldValidation},
    kinds::{self, Kind},
    object,
    status_error::StatusError,
    validate,
};

/// Names that are tried for one `generateName`.
const GENERATE_TRIES: usize = 8;

pub(crate) fn content_type(call: &Call) -> &str {
    call.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Reads the object of a create or update. What is strictly wrong with it is an error or comes
/// back as warnings, as the client wishes.
pub(crate) fn decode(call: &Call, body: &[u8]) -> Result<(Value, Vec<String>), StatusError> {
    let decoded = validate::decode(call.kind, content_type(call), body)?;
    let warnings = judge(call, decoded.strict_errors)?;
    Ok((decoded.object, warnings))
}

/// What becomes of unknown and duplicate fields.
pub(crate) fn judge(call: &Call, strict: Vec<String>) -> Result<Vec<String>, StatusError> {
    match FieldValidation::of(&call.query)? {
        FieldValidation::Strict if !strict.is_empty() => {
            Err(StatusError::strict_decoding(call.kind, &strict))
        }
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Strict | FieldValidation::Warn => Ok(strict),
    }
}

pub(crate) async fn create(
    call: &Call,
    body: Bytes,
    condition: Option<Condition>,
) -> Result<Response, StatusError> {
    let (object, warnings) = decode(call, &body)?;
    if condition == Some(Condition::NamedAsNode)
        && call.identity.node() != Some(object::name(&object))
    {
        return Err(denial(&call.identity, call.kind, &super::attributes(call, "create")));
    }
    let created = insert(call, object).await?;
    answer(call, StatusCode::CREATED, created, &warnings)
}

/// Makes a new object; also what a server-side apply does where there is none.
pub(crate) async fn insert(call: &Call, mut object: Value) -> Result<Value, StatusError> {
    check_namespace(call, &mut object)?;
    if !object::resource_version(&object).is_empty() {
        return Err(StatusError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    check_is_open(call, &object).await?;
    let generate = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
    let generated = object::name(&object).is_empty() && !generate.is_empty();
    let mut tries = 0;
    loop {
        let mut new = object.clone();
        if generated {
            object::set(&mut new, "name", clock::generate_name(&generate));
        }
        prepare(call.kind, &mut new);
        admission::create(call, &mut new).await?;
        let errors = call.kind.validate_create(&new);
        if !errors.is_empty() {
            return Err(StatusError::invalid(call.kind, object::name(&new), &errors));
        }
        tries += 1;
        match write::create(call, new).await {
            Err(error)
                if generated && error.reason == "AlreadyExists" && tries < GENERATE_TRIES => {}
            other => return other,
        }
    }
}

/// Defaults and what the server says of every object.
fn prepare(kind: &Kind, object: &mut Value) {
    kind.default(object);
    kind.prepare_create(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"] {
        object::unset(object, field);
    }
    object::set(object, "uid", clock::uid());
    object::set(object, "creationTimestamp", clock::now());
    if has_generation(kind) {
        object::set(object, "generation", 1);
    } else {
        object::unset(object, "generation");
    }
}

/// Whether objects of the kind count the changes of what is wanted of them.
pub(crate) fn has_generation(kind: &Kind) -> bool {
    kind.is_custom()
        || matches!(
            kind.plural,
            "pods" | "deployments" | "replicasets" | "endpointslices" | "poddisruptionbudgets"
        )
}

/// The namespace of the path rules; the object may repeat it but not differ.
pub(crate) fn check_namespace(call: &Call, object: &mut Value) -> Result<(), StatusError> {
    if !call.kind.namespaced {
        object::unset(object, "namespace");
        return Ok(());
    }
    let given = object::namespace(object);
    if !given.is_empty() && given != call.path.namespace {
        return Err(StatusError::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the \
             request ({given} != {})",
            call.path.namespace
        )));
    }
    object::set(object, "namespace", call.path.namespace.as_str());
    Ok(())
}

/// Nothing is made in a namespace that is not there or is on its way out.
async fn check_is_open(call: &Call, object: &Value) -> Result<(), StatusError> {
    if !call.kind.namespaced {
        return Ok(());
    }
    let Some(namespaces) = kinds::find("", "v1", "namespaces") else { return Ok(()) };
    let name = call.path.namespace.as_str();
    let namespace = call.registry().get(namespaces, "", name).await?;
    if object::is_terminating(&namespace) {
        let why = format!(
            "unable to create new content in namespace {name} because it is being terminated"
        );
        let mut error = StatusError::forbidden(call.kind, object::name(object), &why);
        if let Some(details) = &mut error.details {
            details.causes.push(crate::status_error::Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {name} is being terminated"),
                field: "metadata.namespace".to_owned(),
            });
        }
        return Err(error);
    }
    Ok(())
}

/// A `Status` of success without an object.
pub(crate) fn success(code: StatusCode) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": code.as_u16(),
    })
}
