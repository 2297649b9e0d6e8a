//! The operator's view of the cluster: a page, and the picture that it draws.
//!
//! ```text
//!   store ─────────────┐
//!   kubelets' relays ──┼──poll──▶ picture ──watch──▶ a stream of events for each page
//!   other speakers ────┘
//! ```
//! Nobody is asked for anything while no page is open. One poller serves all pages; a page that is
//! slow to read gets the newest picture when it comes to it, and costs no memory meanwhile.

mod assets;
mod link;
mod picture;
mod poll;
mod stream;

use std::{path::PathBuf, sync::Arc};

use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use tokio::sync::{Notify, Semaphore, watch};

use self::picture::Sections;
pub(crate) use self::poll::run;
use crate::{
    api::Api,
    auth::{Peer, authorize::may_see_path},
    http::{Query, Response, body::full, respond},
    status_error::StatusError,
};

const ROOT: &str = "/ui";
/// Pages that are open at once; the next gets 429.
const MAX_PAGES: usize = 16;
/// Tables of routes that are fetched at once; the next gets 429.
const MAX_TABLES: usize = 4;

/// A BGP speaker that is no node: a router or a reflector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    pub name: String,
    /// Its admin socket.
    pub socket: PathBuf,
}

/// What the pages share.
pub(crate) struct Ui {
    pages: Arc<Semaphore>,
    tables: Semaphore,
    /// A page has subscribed to the picture.
    opened: Notify,
    picture: watch::Sender<Arc<Sections>>,
    speakers: Vec<Speaker>,
}

impl Ui {
    pub(crate) fn new(speakers: Vec<Speaker>) -> Self {
        Self {
            pages: Arc::new(Semaphore::new(MAX_PAGES)),
            tables: Semaphore::new(MAX_TABLES),
            opened: Notify::new(),
            picture: watch::Sender::default(),
            speakers,
        }
    }
}

pub(crate) fn is_ours(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request for a path of the page, to whoever may read the whole API and to nobody else.
/// Nothing here changes anything.
pub(crate) async fn answer(
    api: &Arc<Api>,
    peer: &Peer,
    request: &Request<Incoming>,
) -> Result<Response, StatusError> {
    let known = match peer {
        Peer::Known(identity) => may_see_path(identity, ROOT),
        Peer::Anonymous | Peer::Refused => false,
    };
    if !known || !is_named_by_address(request) {
        return Ok(assets::refusal());
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(StatusError::method_not_allowed_here());
    }
    match request.uri().path().strip_prefix(ROOT).unwrap_or_default() {
        "" => Ok(redirect()),
        "/events" => stream::events(api),
        "/routes" => {
            let query = Query::parse(request.uri().query());
            Ok(respond::json(StatusCode::OK, &poll::routes(api, query.text("of")).await?))
        }
        file => assets::asset(file).ok_or_else(StatusError::unknown_path),
    }
}

fn redirect() -> Response {
    let mut response = respond::with_type(StatusCode::PERMANENT_REDIRECT, "text/plain", full(""));
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/ui/"));
    response
}

/// A page of another site can make root's browser ask us, under a name of its own that it lets
/// point here; it cannot make it call us by an address.
fn is_named_by_address(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(hyper::http::uri::Authority::as_str);
    authority.or(host).is_some_and(is_address)
}

fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || ip.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_may_lead_elsewhere_is_refused() {
        for host in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "127.0.0.1", "localhost"] {
            assert!(is_address(host), "{host}");
        }
        for host in ["evil.example:8080", "127.0.0.1.evil.example", "", ":8080"] {
            assert!(!is_address(host), "{host}");
        }
    }

    #[test]
    fn paths_of_the_page() {
        assert!(is_ours("/ui") && is_ours("/ui/") && is_ours("/ui/main.js"));
        assert!(!is_ours("/uid") && !is_ours("/api/v1/nodes"));
    }
}
