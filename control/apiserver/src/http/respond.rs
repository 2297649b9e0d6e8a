//! Answers.

use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use serde_json::Value;

use super::{
    Response,
    body::{Body, full},
};
use crate::status_error::StatusError;

pub(crate) const JSON: &str = "application/json";

/// Warnings in one answer; the rest is left out, as by Kubernetes.
const MAX_WARNINGS: usize = 16;
/// Of the text of one.
const MAX_WARNING_BYTES: usize = 256;

pub(crate) fn with_type(code: StatusCode, content_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

pub(crate) fn json(code: StatusCode, value: &Value) -> Response {
    // A `Value` has nothing that JSON cannot say.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    with_type(code, JSON, full(bytes))
}

pub(crate) fn text(code: StatusCode, text: impl Into<String>) -> Response {
    with_type(code, "text/plain; charset=utf-8", full(text.into()))
}

pub(crate) fn error(error: &StatusError) -> Response {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &error.to_value());
    let retry_after_secs = error.details.as_ref().map_or(0, |details| details.retry_after_secs);
    if retry_after_secs > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after_secs.into());
    }
    response
}

/// Adds a `Warning` header (RFC 7234 §5.5) for each text; kubectl prints them.
pub(crate) fn warn(response: &mut Response, warnings: &[String]) {
    for warning in warnings.iter().take(MAX_WARNINGS) {
        let mut text = String::with_capacity(warning.len());
        for c in warning.chars() {
            if text.len() >= MAX_WARNING_BYTES {
                break;
            }
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_ascii_graphic() || c == ' ' => text.push(c),
                _ => text.push('?'),
            }
        }
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
