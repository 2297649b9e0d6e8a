//! PUT and PATCH of an object, its status or another part of it.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::Value;

use super::{
    create::{self, check_namespace, content_type, has_generation},
    render::answer,
    write,
};
use crate::{
    admission, allocate,
    api::Call,
    http::Response,
    kinds::Kind,
    object,
    patch::{self, PatchType},
    status_error::{MODIFIED, StatusError},
    validate::{self, FieldError},
};

/// How often a patch that says no resourceVersion is tried against what others write meanwhile.
const TRIES: usize = 16;

/// Which part of an object an update is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
    /// The finalizers in the spec of a namespace.
    Finalize,
}

impl Part {
    pub(crate) fn of(subresource: &str) -> Option<Self> {
        match subresource {
            "" => Some(Self::Main),
            "status" => Some(Self::Status),
            "finalize" => Some(Self::Finalize),
            _ => None,
        }
    }
}

pub(crate) async fn put(call: &Call, part: Part, body: Bytes) -> Result<Response, StatusError> {
    let (mut new, warnings) = create::decode(call, &body)?;
    check_name(call, &mut new)?;
    let given = object::resource_version(&new).to_owned();
    if given.is_empty() && part == Part::Main && !allows_unconditional(call.kind) {
        let error = FieldError::invalid(
            "metadata.resourceVersion",
            0.into(),
            "must be specified for an update",
        );
        return Err(StatusError::invalid(call.kind, &call.path.name, [error]));
    }
    let updated = change(call, part, |_| Ok(Some(new.clone()))).await?;
    answer(call, StatusCode::OK, updated, &warnings)
}

pub(crate) async fn patch(call: &Call, part: Part, body: Bytes) -> Result<Response, StatusError> {
    let Some(patch_type) = PatchType::of_media_type(content_type(call)) else {
        return Err(StatusError::unsupported_media_type(&PatchType::MEDIA_TYPES));
    };
    let mut warnings = Vec::new();
    if patch_type == PatchType::Apply && part == Part::Main {
        let found = call.registry().find(call.kind, &call.path.namespace, &call.path.name).await?;
        if found.is_none() {
            let mut new = patched(call, patch_type, &Value::Null, &body, &mut warnings)?;
            check_name(call, &mut new)?;
            let created = create::insert(call, new).await?;
            return answer(call, StatusCode::CREATED, created, &warnings);
        }
    }
    let updated = change(call, part, |current| {
        let mut new = patched(call, patch_type, current, &body, &mut warnings)?;
        check_name(call, &mut new)?;
        Ok(Some(new))
    })
    .await?;
    answer(call, StatusCode::OK, updated, &warnings)
}

fn patched(
    call: &Call,
    patch_type: PatchType,
    current: &Value,
    body: &[u8],
    warnings: &mut Vec<String>,
) -> Result<Value, StatusError> {
    let mut new = patch::apply(call.kind, patch_type, current, body)?;
    let strict = validate::conform(call.kind, &mut new)?;
    *warnings = create::judge(call, strict)?;
    Ok(new)
}

/// The name of the path rules, as the namespace does.
fn check_name(call: &Call, new: &mut Value) -> Result<(), StatusError> {
    check_namespace(call, new)?;
    let name = object::name(new);
    if name == call.path.name {
        return Ok(());
    }
    Err(StatusError::bad_request(if name.is_empty() {
        "the name of the object must be provided".to_owned()
    } else {
        format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.path.name
        )
    }))
}

fn allows_unconditional(kind: &Kind) -> bool {
    !kind.is_custom() && kind.plural != "leases"
}

/// Reads the object, lets `edit` make of it what it shall be and stores that; again from the start
/// where somebody else was faster and the new object names no resourceVersion of its own. `None`
/// leaves the object as it is.
pub(crate) async fn change(
    call: &Call,
    part: Part,
    mut edit: impl FnMut(&Value) -> Result<Option<Value>, StatusError>,
) -> Result<Value, StatusError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let old = call.registry().get(call.kind, &call.path.namespace, &call.path.name).await?;
        let Some(mut new) = edit(&old)? else { return Ok(old) };
        // A patch that does not touch it has the current one here, and is tried again.
        let given = object::resource_version(&new);
        let pinned = !given.is_empty() && given != object::resource_version(&old);
        if pinned {
            return Err(StatusError::conflict(call.kind, &call.path.name, MODIFIED));
        }
        check_uid(call.kind, &new, &old)?;
        prepare(call, part, &mut new, &old).await?;
        let stored = if is_done(&new) {
            write::remove(call, &old).await.map(|_| new)
        } else {
            write::replace(call, &old, new).await
        };
        match stored {
            Err(error) if error.reason == "Conflict" && tries < TRIES => {}
            other => return other,
        }
    }
}

fn check_uid(kind: &Kind, new: &Value, old: &Value) -> Result<(), StatusError> {
    let (given, is) = (object::uid(new), object::uid(old));
    if given.is_empty() || given == is {
        return Ok(());
    }
    let why =
        format!("Precondition failed: UID in precondition: {given}, UID in object meta: {is}");
    Err(StatusError::conflict(kind, object::name(old), &why))
}

/// Makes of what the client sent what may be stored.
async fn prepare(call: &Call, part: Part, new: &mut Value, old: &Value) -> Result<(), StatusError> {
    let kind = call.kind;
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ] {
        match &old["metadata"][field] {
            Value::Null => object::unset(new, field),
            value => object::set(new, field, value.clone()),
        }
    }
    for field in ["selfLink", "managedFields"] {
        object::unset(new, field);
    }
    admission::restrict_node(call, new, old)?;
    let errors = match part {
        Part::Main => {
            kind.default(new);
            admission::update(call, new, old).await?;
            if write::is_service(kind) {
                allocate::carry_over(new, old);
            }
            kind.prepare_update(new, old);
            kind.validate_update(new, old)
        }
        Part::Status => {
            kind.prepare_status_update(new, old);
            kind.validate_status_update(new, old)
        }
        Part::Finalize => {
            let finalizers = new["spec"]["finalizers"].take();
            let metadata = new["metadata"]["finalizers"].take();
            *new = old.clone();
            new["spec"]["finalizers"] = finalizers;
            if !metadata.is_null() {
                object::set(new, "finalizers", metadata);
            }
            Vec::new()
        }
    };
    let mut errors = errors;
    errors.extend(new_finalizers(new, old));
    if !errors.is_empty() {
        return Err(StatusError::invalid(kind, object::name(old), &errors));
    }
    if has_generation(kind) && is_wanted_changed(kind, part, new, old) {
        object::set(new, "generation", object::generation(old) + 1);
    }
    Ok(())
}

/// An object on its way out takes no new finalizers.
fn new_finalizers(new: &Value, old: &Value) -> Option<FieldError> {
    if !object::is_terminating(old) {
        return None;
    }
    let added: Vec<String> = object::finalizers(new)
        .filter(|one| !object::finalizers(old).any(|known| known == *one))
        .map(|one| format!("\"{one}\""))
        .collect();
    (!added.is_empty()).then(|| {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers \
             []string{{{}}}",
            added.join(", ")
        );
        FieldError::forbidden("metadata.finalizers", &why)
    })
}

/// Whether anything but metadata and status differs. Annotations of a Deployment go on to its
/// ReplicaSets, so they are something to be done, too.
fn is_wanted_changed(kind: &Kind, part: Part, new: &Value, old: &Value) -> bool {
    if kind.kind == "Deployment" && part == Part::Main {
        let (is, was) = (&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
        if is != was {
            return true;
        }
    }
    let wanted = |object: &Value| {
        let mut object = object.clone();
        if let Some(map) = object.as_object_mut() {
            map.shift_remove("metadata");
            map.shift_remove("status");
        }
        object
    };
    wanted(new) != wanted(old)
}

/// Whether nothing holds an object any more that is being deleted: neither finalizers nor a grace
/// period, which only a pod's kubelet ends.
pub(crate) fn is_done(object: &Value) -> bool {
    let spec_finalizers = object["spec"]["finalizers"].as_array();
    object::is_terminating(object)
        && object::finalizers(object).next().is_none()
        && spec_finalizers.is_none_or(|finalizers| finalizers.is_empty())
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}

/// Reads the object, lets `edit` change it and stores that as it is; for changes that are the
/// server's own. Again from the start where somebody else was faster.
pub(crate) async fn amend(
    call: &Call,
    edit: impl Fn(&Value) -> Result<Value, StatusError>,
) -> Result<Value, StatusError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let old = call.registry().get(call.kind, &call.path.namespace, &call.path.name).await?;
        match write::replace(call, &old, edit(&old)?).await {
            Err(error) if error.reason == "Conflict" && tries < TRIES => {}
            other => return other,
        }
    }
}
