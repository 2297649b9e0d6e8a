//! Numbers that may be given as a share of something.

use serde_json::Value;

use super::field_error::{Errors, Path};

/// A number from zero on, or a percentage.
pub(super) fn int_or_percent(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.invalid(path, value.clone(), "must be greater than or equal to 0");
        }
        Value::String(_) if percent(value).is_none() => errors.invalid(
            path,
            value.clone(),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. \
             '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
        _ => {}
    }
}

/// Of `25%`; what is too large to be counted is as large as can be.
pub(super) fn percent(value: &Value) -> Option<u32> {
    let digits = value.as_str()?.strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u32::MAX))
}
