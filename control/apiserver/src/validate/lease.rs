//! Lease.

use serde_json::Value;

use super::field_error::{Errors, Path};
use crate::kinds::Kind;

pub(crate) fn lease(_: &Kind, lease: &Value, errors: &mut Errors) {
    let spec = &lease["spec"];
    let path = Path::root("spec");
    if let Some(duration) = spec["leaseDurationSeconds"].as_i64()
        && duration <= 0
    {
        let field = path.child("leaseDurationSeconds");
        errors.invalid(&field, duration, "must be greater than 0");
    }
    if let Some(transitions) = spec["leaseTransitions"].as_i64()
        && transitions < 0
    {
        let field = path.child("leaseTransitions");
        errors.invalid(&field, transitions, "must be greater than or equal to 0");
    }
}
