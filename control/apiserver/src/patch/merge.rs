//! JSON merge patch (RFC 7386).

use serde_json::Value;

use crate::status_error::StatusError;

pub(super) fn apply(current: &Value, patch: &Value) -> Result<Value, StatusError> {
    let mut object = current.clone();
    json_patch::merge(&mut object, patch);
    Ok(object)
}
