//! `metav1.Status`: every failure as the API tells it, in Kubernetes' own words.
//!
//! Clients read `reason`, `code` and `details` and people read `message`, so all four are those of
//! `k8s.io/apimachinery/pkg/api/errors`.

use std::{borrow::Cow, fmt};

use serde_json::{Map, Value, json};

use crate::kinds::Kind;
use crate::validate::FieldError;

/// Why an update that carries an old resourceVersion is refused.
pub(crate) const MODIFIED: &str = "the object has been modified; please apply your changes to the latest \
                            version and try again";

/// Of a Status, on its way to the client.
const MAX_MESSAGE_BYTES: usize = 32 << 10;
const MAX_TEXT_BYTES: usize = 1 << 10;
const MAX_CAUSES: usize = 32;

/// One entry of `details.causes`: what is wrong with which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired` and so on; empty where the cause has none.
    pub reason: String,
    pub message: String,
    /// The path of the field, as `spec.ports[0].port`; empty where no field is meant.
    pub field: String,
}

/// A failure on its way to the client as a `Status` object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusError {
    /// The HTTP status code.
    pub code: u16,
    /// `NotFound`, `Conflict` and so on; the word clients switch on.
    pub reason: &'static str,
    pub message: String,
    /// Boxed, so that a `Result` with it stays small.
    pub details: Option<Box<Details>>,
}

/// What the failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    pub name: String,
    pub group: String,
    /// The resource (`pods`) for most failures and the kind (`Pod`) for `Invalid`.
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_secs: u32,
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StatusError {}

impl StatusError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: kind.group.to_owned(),
            kind: kind.plural.to_owned(),
            ..Details::default()
        }));
        self
    }

    /// 404 for an object that is not there: `pods "web" not found`.
    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.group_resource());
        Self::new(404, "NotFound", message).about(kind, name)
    }

    /// 404 for a path that nothing serves.
    pub(crate) fn unknown_path() -> Self {
        let mut error =
            Self::new(404, "NotFound", "the server could not find the requested resource");
        error.details = Some(Box::new(Details::default()));
        error
    }

    /// 409 for a create of what exists.
    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.group_resource());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    /// 409 for an update that was based on another state: `why` is [`MODIFIED`] or names the
    /// precondition that failed.
    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.group_resource());
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// 422 for an object whose content is wrong, with one cause for each field.
    pub(crate) fn invalid(kind: &Kind, name: &str, errors: impl AsRef<[FieldError]>) -> Self {
        let errors = errors.as_ref();
        let all = match errors {
            [one] => one.to_string(),
            many => {
                let texts: Vec<String> = many.iter().map(ToString::to_string).collect();
                format!("[{}]", texts.join(", "))
            }
        };
        let message = format!("{} \"{name}\" is invalid: {all}", kind.group_kind());
        let mut error = Self::new(422, "Invalid", message);
        error.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: kind.group.to_owned(),
            kind: kind.kind.to_owned(),
            causes: errors.iter().map(FieldError::cause).collect(),
            ..Details::default()
        }));
        error
    }

    /// 422 for a wrong `autoscaling/v1` Scale, which is no kind of its own.
    pub(crate) fn invalid_scale(name: &str, error: FieldError) -> Self {
        let message = format!("Scale.autoscaling \"{name}\" is invalid: {error}");
        let mut status = Self::new(422, "Invalid", message);
        status.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: "autoscaling".to_owned(),
            kind: "Scale".to_owned(),
            causes: vec![error.cause()],
            ..Details::default()
        }));
        status
    }

    /// 400 for a request that cannot be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 400 for a body that names fields which the kind does not have, or names one twice.
    pub(crate) fn strict_decoding(kind: &Kind, errors: &[String]) -> Self {
        Self::undecodable(kind, &format!("strict decoding error: {}", errors.join(", ")))
    }

    /// 400 for a body that does not fit the kind's types.
    pub(crate) fn undecodable(kind: &Kind, why: &str) -> Self {
        Self::bad_request(format!(
            "{0} in version \"{1}\" cannot be handled as a {0}: {why}",
            kind.kind, kind.version
        ))
    }

    /// 422 for a patch whose outcome does not fit the kind; `patch` is quoted back.
    pub(crate) fn invalid_patch(patch: &str, why: &str) -> Self {
        let error = FieldError::invalid("patch", patch.into(), why);
        let mut status = Self::new(422, "Invalid", format!(" \"\" is invalid: {error}"));
        status.details =
            Some(Box::new(Details { causes: vec![error.cause()], ..Details::default() }));
        status
    }

    /// 410 for a resourceVersion or continue token from before the last compaction.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 410 for a watch from a revision that is no longer kept.
    pub(crate) fn too_old_resource_version(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 403 with the reason in words: `pods "web" is forbidden: …`.
    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let resource = kind.group_resource();
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} \"{name}\" is forbidden: {why}")
        };
        Self::new(403, "Forbidden", message).about(kind, name)
    }

    /// 403 for a path that belongs to no kind.
    pub(crate) fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        let mut error = Self::new(
            403,
            "Forbidden",
            format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\""),
        );
        error.details = Some(Box::new(Details::default()));
        error
    }

    /// 401.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 405 for a verb that the kind does not have.
    pub(crate) fn method_not_allowed(kind: &Kind, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind \"{}\"", kind.group_resource());
        let mut error = Self::new(405, "MethodNotAllowed", message);
        error.details = Some(Box::new(Details {
            group: kind.group.to_owned(),
            kind: kind.plural.to_owned(),
            ..Details::default()
        }));
        error
    }

    /// 405 for a method that the path does not have.
    pub(crate) fn method_not_allowed_here() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 413 for a body over the limit.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit_bytes}"),
        )
    }

    /// 415 for a body in a format that we do not read.
    pub(crate) fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 {}",
                accepted.join(", ")
            ),
        )
    }

    /// 406 for an Accept header that we cannot serve.
    pub(crate) fn not_acceptable(offered: &[&str]) -> Self {
        Self::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {}", offered.join(", ")),
        )
    }

    /// 429, with the seconds after which to try again.
    pub(crate) fn too_many_requests(message: impl Into<String>, retry_after_secs: u32) -> Self {
        let mut error = Self::new(429, "TooManyRequests", message);
        error.details = Some(Box::new(Details { retry_after_secs, ..Details::default() }));
        error
    }

    /// 500.
    pub(crate) fn internal(what: impl fmt::Display) -> Self {
        let what = what.to_string();
        let mut error = Self::new(500, "InternalError", format!("Internal error occurred: {what}"));
        error.details = Some(Box::new(Details {
            causes: vec![Cause { reason: String::new(), message: what, field: String::new() }],
            ..Details::default()
        }));
        error
    }

    /// 503, for a server that is not ready yet or on its way down.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 507, for a disk that is full.
    pub(crate) fn insufficient_storage(message: impl Into<String>) -> Self {
        Self::new(507, "InsufficientStorage", message)
    }

    /// 504 for a request that took longer than it may.
    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// The `Status` object. What quotes a hostile object is cut short: a refusal is not larger than
    /// what it refuses.
    pub(crate) fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": short(&self.message, MAX_MESSAGE_BYTES),
            "reason": self.reason,
        });
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        status["code"] = self.code.into();
        status
    }
}

/// The text, or as much of its beginning as is allowed and how much more there is.
fn short(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if text.len() <= max_bytes {
        return text.into();
    }
    let end = text.floor_char_boundary(max_bytes);
    format!("{}… and {} more bytes", &text[..end], text.len() - end).into()
}

/// The `Status` that answers a delete, in place of the object.
pub(crate) fn deleted(kind: &Kind, name: &str, uid: &str) -> Value {
    let details = Details {
        name: name.to_owned(),
        group: kind.group.to_owned(),
        kind: kind.plural.to_owned(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details.to_value(),
    })
}

impl Details {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, text: &str| {
            if !text.is_empty() {
                out.insert(key.to_owned(), short(text, MAX_TEXT_BYTES).into());
            }
        };
        put("name", &self.name);
        put("group", &self.group);
        put("kind", &self.kind);
        put("uid", &self.uid);
        if !self.causes.is_empty() {
            let causes = self.causes.iter().take(MAX_CAUSES).map(Cause::to_value).collect();
            out.insert("causes".to_owned(), Value::Array(causes));
        }
        if self.retry_after_secs > 0 {
            out.insert("retryAfterSeconds".to_owned(), self.retry_after_secs.into());
        }
        Value::Object(out)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        for (key, text) in
            [("reason", &self.reason), ("message", &self.message), ("field", &self.field)]
        {
            if !text.is_empty() {
                out.insert(key.to_owned(), short(text, MAX_TEXT_BYTES).into());
            }
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    #[test]
    fn a_refusal_is_short() {
        let pods = kinds::find("", "v1", "pods").unwrap();
        let wrong = |n: usize| FieldError::invalid("ä".repeat(9000), n.into(), &"x".repeat(9000));
        let errors: Vec<FieldError> = (0..500).map(wrong).collect();
        let text = StatusError::invalid(pods, &"n".repeat(9000), errors).to_value().to_string();
        assert!(text.len() < 128 << 10, "{}", text.len());
        assert_eq!(short("äää", 3), "ä… and 4 more bytes");
    }

    #[test]
    fn messages_are_those_of_kubernetes() {
        let pods = kinds::find("", "v1", "pods").unwrap();
        let sets = kinds::find("apps", "v1", "replicasets").unwrap();
        assert_eq!(StatusError::not_found(pods, "web").message, "pods \"web\" not found");
        assert_eq!(
            StatusError::not_found(sets, "web").message,
            "replicasets.apps \"web\" not found"
        );
        assert_eq!(
            StatusError::conflict(sets, "web", MODIFIED).message,
            "Operation cannot be fulfilled on replicasets.apps \"web\": the object has been \
             modified; please apply your changes to the latest version and try again"
        );
        let error = StatusError::invalid(
            sets,
            "web",
            &[
                FieldError::required("spec.selector", ""),
                FieldError::invalid("spec.replicas", (-1).into(), "must be greater"),
            ],
        );
        assert_eq!(
            error.message,
            "ReplicaSet.apps \"web\" is invalid: [spec.selector: Required value, spec.replicas: \
             Invalid value: -1: must be greater]"
        );
        let status = error.to_value();
        assert_eq!(status["details"]["kind"], "ReplicaSet");
        assert_eq!(status["details"]["causes"][0]["reason"], "FieldValueRequired");
        assert_eq!(status["details"]["causes"][1]["message"], "Invalid value: -1: must be greater");
        assert_eq!(status["code"], 422);
    }

    #[test]
    fn details_name_the_resource() {
        let pods = kinds::find("", "v1", "pods").unwrap();
        let status = StatusError::not_found(pods, "web").to_value();
        assert_eq!(status["details"], json!({"name": "web", "kind": "pods"}));
        assert_eq!(status["status"], "Failure");
    }
}
