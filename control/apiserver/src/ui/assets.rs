//! The files of the page. They are a part of the program, and ask for nothing from elsewhere.

use hyper::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};

use crate::http::{Response, body::full, respond};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type and text of each.
const FILES: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("assets/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("/main.js", SCRIPT, include_str!("assets/main.js")),
    ("/dom.js", SCRIPT, include_str!("assets/dom.js")),
    ("/topology.js", SCRIPT, include_str!("assets/topology.js")),
    ("/nodes.js", SCRIPT, include_str!("assets/nodes.js")),
    ("/services.js", SCRIPT, include_str!("assets/services.js")),
    ("/sessions.js", SCRIPT, include_str!("assets/sessions.js")),
    ("/events.js", SCRIPT, include_str!("assets/events.js")),
];

/// Nothing from elsewhere, nothing inline, in no frame.
const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

pub(super) fn asset(path: &str) -> Option<Response> {
    let (_, kind, text) = FILES.into_iter().find(|(name, ..)| *name == path)?;
    Some(guarded(respond::with_type(StatusCode::OK, kind, full(text))))
}

/// For people, since it is in a browser that they see it.
pub(super) fn refusal() -> Response {
    let text = include_str!("assets/refused.html");
    guarded(respond::with_type(StatusCode::FORBIDDEN, HTML, full(text)))
}

pub(super) fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a file refers to is one of ours, and no rule of the policy is broken by a file.
    #[test]
    fn the_files_need_nothing_else() {
        for (name, _, text) in FILES {
            for wrong in ["https://", "//cdn", "style=\"", "onclick=", "onload=", "<script>"] {
                assert!(!text.contains(wrong), "{name} contains {wrong}");
            }
            let imports = text.split("from \"./").skip(1).chain(text.split("src=\"").skip(1));
            for import in imports.chain(text.split("href=\"").skip(1)) {
                let file = import.split('"').next().unwrap_or_default();
                assert!(asset(&format!("/{file}")).is_some(), "{name} refers to {file}");
            }
        }
        assert!(asset("/main.ts").is_none() && asset("").is_none());
    }

    #[test]
    fn a_refusal_is_a_page_that_says_why() {
        let refused = refusal();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert_eq!(refused.headers()["content-type"], HTML);
        assert!(refused.headers().contains_key("content-security-policy"));
    }
}
