//! The four ways of a PATCH request.

mod json;
mod merge;
mod server_side_apply;
mod strategic;

use serde_json::Value;

use crate::kinds::Kind;
use crate::status_error::StatusError;

/// The form of a patch, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    /// `application/json-patch+json` (RFC 6902).
    Json,
    /// `application/merge-patch+json` (RFC 7386).
    Merge,
    /// `application/strategic-merge-patch+json`; not for custom resources.
    Strategic,
    /// `application/apply-patch+yaml`: server-side apply.
    Apply,
}

impl PatchType {
    /// Every media type of a patch, in the order in which errors and OpenAPI list them.
    pub(crate) const MEDIA_TYPES: [&'static str; 4] = [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ];

    /// The type of a Content-Type header, parameters ignored.
    pub(crate) fn of_media_type(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// Comparisons that merging one list may cost at most, to be done in a fraction of a second: each
/// item of the patch is compared with each that is there. No list that people write comes near.
const MAX_COMPARISONS: usize = 4_000_000;

/// The object after the patch. `current` is what is stored; `Null` where a server-side apply makes
/// the object. Nothing is defaulted, pruned or validated yet: [`crate::validate::conform`] and the
/// kind's strategy follow.
///
/// # Errors
/// 400 for what is no patch, 422 for one that does not fit the object, 415 for a strategic merge
/// patch on a custom resource, 413 for a patch with too many operations or with lists that are too
/// long to be merged.
pub(crate) fn apply(
    kind: &Kind,
    patch_type: PatchType,
    current: &Value,
    patch: &[u8],
) -> Result<Value, StatusError> {
    match patch_type {
        PatchType::Json => json::apply(current, patch),
        PatchType::Merge => merge::apply(current, &parse(patch)?),
        PatchType::Strategic if kind.is_custom() => Err(StatusError::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ])),
        PatchType::Strategic => {
            let patch = parse(patch)?;
            check_lists(current, &patch)?;
            strategic::apply(kind, current, &patch)
        }
        PatchType::Apply => server_side_apply::apply(kind, current, patch),
    }
}

/// Refuses what would take long to merge.
fn check_lists(current: &Value, patch: &Value) -> Result<(), StatusError> {
    let (is, comes) = (longest_list(current), longest_list(patch));
    if comes.saturating_mul(is.saturating_add(comes)) <= MAX_COMPARISONS {
        return Ok(());
    }
    Err(StatusError {
        message: format!(
            "a list of {comes} items is too long to be merged into one of up to {is}; replace it \
             with a PUT or a JSON patch"
        ),
        ..StatusError::too_large(0)
    })
}

fn longest_list(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(longest_list).fold(items.len(), usize::max),
        Value::Object(fields) => fields.values().map(longest_list).max().unwrap_or(0),
        _ => 0,
    }
}

fn parse(patch: &[u8]) -> Result<Value, StatusError> {
    let patch: Value = serde_json::from_slice(patch)
        .map_err(|error| StatusError::bad_request(format!("error decoding patch: {error}")))?;
    if patch.is_object() {
        return Ok(patch);
    }
    Err(StatusError::bad_request("error decoding patch: the patch must be an object"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_lists_are_not_merged() {
        let finalizers = |count: usize| -> Value {
            let names: Vec<String> = (0..count).map(|n| format!("example.com/{n}")).collect();
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"finalizers": names}})
        };
        let maps = crate::kinds::find("", "v1", "configmaps").unwrap();
        let (long, short) = (finalizers(100_000), finalizers(100));
        for form in [PatchType::Strategic, PatchType::Apply] {
            let merged = |current: &Value, patch: &Value| {
                apply(maps, form, current, patch.to_string().as_bytes())
            };
            for (current, patch) in [(&long, &short), (&short, &long), (&long, &long)] {
                assert_eq!(merged(current, patch).unwrap_err().code, 413);
            }
            assert_eq!(merged(&finalizers(1000), &short).unwrap(), finalizers(1000));
        }
    }
}
