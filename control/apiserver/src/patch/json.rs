//! JSON patch (RFC 6902), with bounds.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::status_error::StatusError;

/// The most operations of one patch, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;

/// The largest outcome, in bytes of JSON: `copy` can double an object with every operation.
const MAX_OUTCOME_BYTES: usize = 3 * 1024 * 1024;

pub(super) fn apply(current: &Value, patch: &[u8]) -> Result<Value, StatusError> {
    let operations: Vec<PatchOperation> = serde_json::from_slice(patch)
        .map_err(|error| StatusError::bad_request(format!("error decoding patch: {error}")))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(StatusError {
            message: format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                operations.len()
            ),
            ..StatusError::too_large(0)
        });
    }
    let mut object = current.clone();
    let mut budget_bytes = MAX_OUTCOME_BYTES;
    for operation in &operations {
        if let PatchOperation::Copy(copy) = operation {
            let copied = object.pointer(copy.from.as_str()).map_or(0, size_bytes);
            budget_bytes = budget_bytes
                .checked_sub(copied)
                .ok_or_else(|| StatusError::too_large(MAX_OUTCOME_BYTES))?;
        }
        json_patch::patch_unsafe(&mut object, std::slice::from_ref(operation)).map_err(
            |error| {
                StatusError::invalid_patch(&String::from_utf8_lossy(patch), &error.kind.to_string())
            },
        )?;
    }
    Ok(object)
}

fn size_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size_bytes(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => {
            fields.iter().map(|(key, item)| key.len() + size_bytes(item) + 4).sum::<usize>() + 2
        }
    }
}
