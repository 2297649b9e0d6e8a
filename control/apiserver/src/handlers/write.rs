//! The last step of every change: services get and give back what is allocated, and the store
//! takes it, unless the request is only a question.

use serde_json::Value;
use tokio::sync::MutexGuard;

use crate::{allocate::Allocator, api::Call, kinds::Kind, object, status_error::StatusError};

/// The allocator, held for as long as a service is being written.
async fn lock<'a>(call: &'a Call, kind: &Kind) -> Option<MutexGuard<'a, Allocator>> {
    if is_service(kind) { Some(call.api.allocator.lock().await) } else { None }
}

pub(crate) fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "services"
}

fn complete(allocator: &Allocator, kind: &Kind, service: &mut Value) -> Result<(), StatusError> {
    match allocator.complete(service) {
        errors if errors.is_empty() => Ok(()),
        errors => Err(StatusError::invalid(kind, object::name(service), &errors)),
    }
}

pub(crate) async fn create(call: &Call, mut object: Value) -> Result<Value, StatusError> {
    let mut allocator = lock(call, call.kind).await;
    if let Some(allocator) = &allocator {
        complete(allocator, call.kind, &mut object)?;
    }
    if call.dry_run {
        let (namespace, name) = (object::namespace(&object), object::name(&object));
        return match call.registry().find(call.kind, namespace, name).await? {
            Some(_) => Err(StatusError::already_exists(call.kind, name)),
            None => Ok(object),
        };
    }
    let created = call.registry().create(call.kind, object).await?;
    if let Some(allocator) = &mut allocator {
        allocator.record(None, Some(&created));
    }
    Ok(created)
}

/// Stores `new` in place of `old`. A change that changes nothing is not stored.
pub(crate) async fn replace(
    call: &Call,
    old: &Value,
    mut new: Value,
) -> Result<Value, StatusError> {
    let mut allocator = lock(call, call.kind).await;
    if let Some(allocator) = &allocator {
        complete(allocator, call.kind, &mut new)?;
    }
    object::set(&mut new, "resourceVersion", object::resource_version(old));
    if call.dry_run || new == *old {
        return Ok(new);
    }
    let replaced = call.registry().replace(call.kind, old, new).await?;
    if let Some(allocator) = &mut allocator {
        allocator.record(Some(old), Some(&replaced));
    }
    Ok(replaced)
}

pub(crate) async fn remove(call: &Call, old: &Value) -> Result<Value, StatusError> {
    if call.dry_run {
        return Ok(old.clone());
    }
    let mut allocator = lock(call, call.kind).await;
    let gone = call.registry().remove(call.kind, old).await?;
    if let Some(allocator) = &mut allocator {
        allocator.record(Some(old), None);
    }
    Ok(gone)
}
