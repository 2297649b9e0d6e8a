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

/// The object after the patch. `current` is what is stored; `Null` where a server-side apply makes
/// the object. Nothing is defaulted, pruned or validated yet: [`crate::validate::conform`] and the
/// kind's strategy follow.
///
/// # Errors
/// 400 for what is no patch, 422 for one that does not fit the object, 415 for a strategic merge
/// patch on a custom resource, 413 for a patch with too many operations.
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
        PatchType::Strategic => strategic::apply(kind, current, &parse(patch)?),
        PatchType::Apply => server_side_apply::apply(kind, current, patch),
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
