//! What a page is sent: the whole picture, then each section that has changed, as Server-Sent
//! Events.
//!
//! Sections rather than differences within them: a section is some kilobytes of JSON, and the page
//! has nothing to apply that could go wrong.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{StatusCode, body::Frame};
use tokio::sync::watch;

use super::{assets, picture::Sections};
use crate::{
    api::Api,
    http::{
        Response,
        body::{Body, BoxError},
        respond,
    },
    status_error::StatusError,
};

pub(super) fn events(api: &Arc<Api>) -> Result<Response, StatusError> {
    let permit = api.ui.pages.clone().try_acquire_owned().map_err(|error| {
        StatusError::too_many_requests(format!("too many pages are open: {error}"), 5)
    })?;
    let mut picture = api.ui.picture.subscribe();
    // What there is from an earlier page is older than a round, or there is nothing.
    if !picture.borrow().is_empty() {
        picture.mark_changed();
    }
    api.ui.opened.notify_one();
    let sent = Sections::new();
    let events = stream::unfold((picture, sent), next);
    let stopping = api.stopping.clone();
    let frames = events
        .map(move |text| {
            // Held for as long as the stream is.
            let _permit = &permit;
            Ok::<_, BoxError>(Frame::data(text))
        })
        .take_until(stopping.cancelled_owned());
    let body: Body = StreamBody::new(frames).boxed_unsync();
    Ok(assets::guarded(respond::with_type(StatusCode::OK, "text/event-stream", body)))
}

/// A server that is started again is back at once; browsers would wait for three seconds.
const RETRY: &str = "retry: 1000\n";

type State = (watch::Receiver<Arc<Sections>>, Sections);

async fn next((mut picture, sent): State) -> Option<(Bytes, State)> {
    picture.changed().await.ok()?;
    let now = picture.borrow_and_update().clone();
    let mut text = difference(&sent, &now);
    if sent.is_empty() {
        text.insert_str(0, RETRY);
    }
    Some((text.into(), (picture, (*now).clone())))
}

/// An event for each section that is another than was sent, and one that says that all is told.
fn difference(sent: &Sections, now: &Sections) -> String {
    let mut text = String::new();
    for (name, json) in now {
        if sent.get(name) != Some(json) {
            // JSON as we write it is one line.
            text += &format!("event: {name}\ndata: {json}\n\n");
        }
    }
    text + "event: told\ndata: {}\n\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_sent_again() {
        let sections = |nodes: &str| -> Sections {
            [("nodes", nodes), ("pods", "[]")].map(|(name, json)| (name, Arc::from(json))).into()
        };
        let first = difference(&Sections::new(), &sections("[1]"));
        let told = "event: told\ndata: {}\n\n";
        assert_eq!(first, format!("event: nodes\ndata: [1]\n\nevent: pods\ndata: []\n\n{told}"));
        let second = difference(&sections("[1]"), &sections("[2]"));
        assert_eq!(second, format!("event: nodes\ndata: [2]\n\n{told}"));
        assert_eq!(difference(&sections("[2]"), &sections("[2]")), told);
    }
}
