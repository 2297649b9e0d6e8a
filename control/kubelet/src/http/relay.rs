//! The node's network daemon, asked through the kubelet: it answers on a unix socket only.

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::Limited;
use viaduct_api::admin::{READ_PATHS, WITHDRAWN_PATH};

use super::Server;
use crate::network::NetworkError;

/// The largest answer that is handed on; all routes of a large cluster are some 100 MB.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// `GET /network/PATH`: what the daemon says to `GET /PATH`.
pub(super) async fn relay(
    State(server): State<Server>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    match READ_PATHS.contains(&path.as_str()) {
        true => hand_on(&server, &path, query.as_deref()).await,
        false => {
            let known = READ_PATHS.join(", ");
            (StatusCode::NOT_FOUND, format!("no {path} here; there are {known}")).into_response()
        }
    }
}

pub(super) async fn withdrawn(State(server): State<Server>, RawQuery(query): RawQuery) -> Response {
    hand_on(&server, WITHDRAWN_PATH, query.as_deref()).await
}

async fn hand_on(server: &Server, path: &str, query: Option<&str>) -> Response {
    let Some(network) = &server.node.network else {
        let why = "this kubelet knows no network daemon: start it with --network-socket";
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    let target = match query {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    };
    match network.daemon.get(&target).await {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            let kind = head.headers.get(header::CONTENT_TYPE).cloned();
            let mut response = Response::new(Body::new(Limited::new(body, ANSWER_BYTES_MAX)));
            *response.status_mut() = head.status;
            if let Some(kind) = kind {
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            response
        }
        Err(error @ NetworkError::Busy) => {
            (StatusCode::TOO_MANY_REQUESTS, error.to_string()).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
