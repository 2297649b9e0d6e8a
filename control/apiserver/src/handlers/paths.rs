//! Paths that belong to no kind: version, health, metrics, discovery and schemas.

use hyper::{Method, StatusCode, header, header::HeaderValue};
use serde_json::json;

use crate::{
    api::Api,
    discovery::discovery,
    http::{Response, respond},
    openapi::{openapi, openapi_v2},
    status_error::StatusError,
};

/// What kubectl of this minor version expects is what is served.
const MAJOR: &str = "1";
const MINOR: &str = "32";

/// Whether anybody at all may ask.
pub(crate) fn is_public(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz" | "/version" | "/version/")
}

pub(crate) async fn answer(
    api: &Api,
    method: &Method,
    path: &str,
    headers: &hyper::HeaderMap,
) -> Result<Response, StatusError> {
    if method != Method::GET && method != Method::HEAD {
        return Err(StatusError::method_not_allowed_here());
    }
    match path.trim_end_matches('/') {
        "/version" => Ok(respond::json(StatusCode::OK, &version())),
        "/healthz" | "/livez" => Ok(respond::text(StatusCode::OK, "ok")),
        "/readyz" => Ok(ready(api).await),
        "/metrics" => {
            let revision = api.registry.store().revision().await.unwrap_or_default();
            let body = crate::http::body::full(api.metrics.render(revision));
            Ok(respond::with_type(StatusCode::OK, "text/plain; version=0.0.4", body))
        }
        other => described(other, headers).unwrap_or_else(|| Err(StatusError::unknown_path())),
    }
}

fn version() -> serde_json::Value {
    let git = format!("v{MAJOR}.{MINOR}.0+viaduct{}", env!("CARGO_PKG_VERSION"));
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": git,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }),
    })
}

async fn ready(api: &Api) -> Response {
    if api.stopping.is_cancelled() {
        return respond::text(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    match api.registry.store().revision().await {
        Ok(_) => respond::text(StatusCode::OK, "ok"),
        Err(error) => respond::text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

/// Discovery and OpenAPI; `None` where the path is neither.
fn described(path: &str, headers: &hyper::HeaderMap) -> Option<Result<Response, StatusError>> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let document = match discovery(path, &super::accept(headers)) {
        Some(Ok(document)) => document,
        Some(Err(error)) => return Some(Err(error)),
        None if path == "/openapi/v2" => openapi_v2(text(header::ACCEPT)),
        None => openapi(path)?,
    };
    let Some(etag) = document.etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) else {
        let body = crate::http::body::full(document.body);
        return Some(Ok(respond::with_type(StatusCode::OK, document.content_type, body)));
    };
    let unchanged = text(header::IF_NONE_MATCH).split(',').any(|known| known.trim() == etag);
    let (code, body) = if unchanged {
        (StatusCode::NOT_MODIFIED, bytes::Bytes::new())
    } else {
        (StatusCode::OK, document.body)
    };
    let body = crate::http::body::full(body);
    let mut response = respond::with_type(code, document.content_type, body);
    response.headers_mut().insert(header::ETAG, etag);
    Some(Ok(response))
}
