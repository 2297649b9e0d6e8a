//! The page over HTTP; how it looks is seen in a browser, on a whole cluster.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, header};
use serde_json::json;

use crate::common::{PODS, Server, pod};

const PAGES_MAX: usize = 16;
const LIMIT: Duration = Duration::from_secs(20);

async fn stream(server: &Server) -> Response<Incoming> {
    let request = Request::get("/ui/events").header(header::HOST, "localhost");
    server.send(request.body(Full::new(Bytes::new())).unwrap()).await
}

/// What comes until a picture is whole.
async fn picture(stream: &mut Response<Incoming>) -> String {
    let mut text = String::new();
    while !text.contains("event: told") {
        let frame = stream.body_mut().frame().await.unwrap().unwrap();
        text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
    }
    text
}

#[tokio::test]
async fn the_files_are_given_and_nothing_can_be_changed() {
    let server = Server::start().await;
    for (path, kind) in [("/ui/", "text/html"), ("/ui/main.js", "text/javascript")] {
        let answer = server.get(path).await;
        assert_eq!(answer.code, 200, "{path}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(server.get("/ui").await.headers["location"], "/ui/");
    assert_eq!(server.get("/ui/nothing").await.code, 404);
    assert_eq!(server.get("/ui/routes?of=nobody").await.code, 404);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for path in ["/ui/", "/ui/events", "/ui/routes?of=node-1"] {
            let answer = server.request(method.clone(), path, "application/json", "{}").await;
            assert_eq!(answer.code, 405, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_stream_tells_the_picture_and_what_changes() {
    let server = Server::start().await;
    let mut page = stream(&server).await;
    assert_eq!(page.headers()["content-type"], "text/event-stream");
    let first = picture(&mut page).await;
    for section in ["nodes", "unplaced", "speakers", "sessions", "services"] {
        assert!(first.contains(&format!("event: {section}\n")), "{first}");
    }
    server.post(PODS, &pod("late")).await.expect(201);
    let reason = "<b>\n\nevent: told\ndata: forged";
    let status = json!({"status": {"reason": reason}});
    server.patch(&format!("{PODS}/late/status"), &status).await.expect(200);
    let changed = tokio::time::timeout(LIMIT, async {
        loop {
            let text = picture(&mut page).await;
            if text.contains("forged") {
                return text;
            }
        }
    });
    let changed = changed.await.unwrap();
    assert!(!changed.contains("event: nodes\n"), "only what changed is sent: {changed}");
    let forged = changed.lines().filter(|line| line.starts_with("data: forged")).count();
    assert_eq!(forged, 0, "a text of an object is no event: {changed}");
}

#[tokio::test]
async fn so_many_pages_and_no_more() {
    let server = Server::start().await;
    let mut pages = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = stream(&server).await;
        assert_eq!(page.status(), 200);
        pages.push(page);
    }
    let refused = stream(&server).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "5");
    // Others are served as before, and a page that is closed makes room.
    server.get(PODS).await.expect(200);
    drop(pages.pop());
    let again = tokio::time::timeout(LIMIT, async {
        while stream(&server).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    again.await.unwrap();
}
