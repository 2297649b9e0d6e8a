//! Watches: what happens to the objects of a list from some revision on, as a stream of events.
//!
//! A watch holds a place in the store's history and nothing else. It reads on only when the client
//! has taken what it was sent, so a slow client costs no memory; when the history has gone on
//! without it, it is told so with `410 Expired`.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use control_store::{Entry, Event, Revision, StoreError, Watch};
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{StatusCode, body::Frame};
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};

use crate::{
    api::{Api, Call, StreamPermit},
    auth::Identity,
    clock,
    handlers::{
        read::{self, Selection, revision_of},
        render::Form,
    },
    http::{
        Response,
        body::{Body, BoxError, full},
        respond,
    },
    object,
    registry::{self, decode, decode_at},
    status_error::StatusError,
};

/// How often a client that takes bookmarks is told how far it has seen.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(30);
/// Without a timeout from the client a watch lasts between one and two of these.
const MIN_TIMEOUT_SECS: u64 = 1800;
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

struct Stream {
    call: Call,
    selection: Selection,
    form: Form,
    watch: Box<dyn Watch>,
    /// Objects that are there when the watch begins, to be sent as ADDED.
    initial: std::vec::IntoIter<Arc<Entry>>,
    /// The bookmark that ends these is still to be sent.
    announces_end: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    told: Revision,
    deadline: Pin<Box<Sleep>>,
    with_columns: bool,
    ended: bool,
    _open: Open,
}

/// Counts the watch for as long as it is open.
struct Open {
    api: Arc<Api>,
    _permit: StreamPermit,
}

impl Open {
    fn new(api: Arc<Api>, identity: &Identity) -> Result<Self, StatusError> {
        let permit = api.stream(identity)?;
        api.metrics.watches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Self { api, _permit: permit })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.api.metrics.watches.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

pub(crate) async fn watch(call: Call) -> Result<Response, StatusError> {
    let open = Open::new(call.api.clone(), &call.identity)?;
    let selection = Selection::of(call.kind, &call.query)?;
    let form = Form::of(&call)?;
    let initial = initial_events(&call)?;
    let asked = revision_of(&call.query)?.filter(|revision| *revision > 0);
    let timeout = match call.query.number("timeoutSeconds")? {
        Some(secs) if secs > 0 => secs.min(MIN_TIMEOUT_SECS * 2),
        _ => MIN_TIMEOUT_SECS + clock::random_below(MIN_TIMEOUT_SECS),
    };
    let prefix = match selection.exact_name() {
        Some(name) if !call.path.namespace.is_empty() || !call.kind.namespaced => {
            registry::key(call.kind, &call.path.namespace, name)
        }
        _ => selection.prefix(&call),
    };
    let (items, after) = match (initial, asked) {
        (InitialEvents::No, Some(revision)) => (Vec::new(), revision),
        (InitialEvents::No, None) | (InitialEvents::Yes, _) => {
            let found = read::select(&call, &selection).await?;
            (found.entries, found.revision)
        }
        // Nothing of what is there, only what comes.
        (InitialEvents::Omitted, None) => {
            let newest = call.registry().store().revision().await;
            (Vec::new(), newest.map_err(|error| registry::status(&error, call.kind, ""))?)
        }
        (InitialEvents::Omitted, Some(revision)) => (Vec::new(), revision),
    };
    let watch = match call.registry().store().watch(prefix, after).await {
        Ok(watch) => watch,
        // Clients expect this as an event: an error of the request they would only try again. A
        // revision that is yet to come is from the history of another store.
        Err(
            StoreError::Compacted { requested, oldest: known }
            | StoreError::Future { requested, current: known },
        ) => {
            let error = StatusError::too_old_resource_version(requested, known);
            let body = full(line("ERROR", error.to_value()));
            return Ok(respond::with_type(StatusCode::OK, respond::JSON, body));
        }
        Err(error) => return Err(registry::status(&error, call.kind, "")),
    };
    let stream = Stream {
        bookmarks: call.query.flag("allowWatchBookmarks"),
        announces_end: initial == InitialEvents::Yes,
        call,
        selection,
        form,
        watch,
        initial: items.into_iter(),
        next_bookmark: Instant::now() + BOOKMARK_INTERVAL,
        told: after,
        deadline: Box::pin(tokio::time::sleep(Duration::from_secs(timeout))),
        with_columns: true,
        ended: false,
        _open: open,
    };
    let frames = stream::unfold(stream, |mut stream| async {
        let bytes = stream.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(bytes)), stream))
    });
    let body: Body = StreamBody::new(frames.fuse()).boxed_unsync();
    Ok(respond::with_type(StatusCode::OK, respond::JSON, body))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InitialEvents {
    /// As ever: what is there is sent only if the client names no resourceVersion.
    No,
    /// `sendInitialEvents=true`: what is there, then a bookmark that says so.
    Yes,
    /// `sendInitialEvents=false`.
    Omitted,
}

fn initial_events(call: &Call) -> Result<InitialEvents, StatusError> {
    let forbidden = |why: &str| {
        let list_options = "ListOptions.meta.k8s.io \"\" is invalid";
        Err(StatusError::bad_request(format!("{list_options}: {why}")))
    };
    let matches = call.query.text("resourceVersionMatch");
    if call.query.text("sendInitialEvents").is_empty() {
        return if matches.is_empty() {
            Ok(InitialEvents::No)
        } else {
            forbidden(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch \
                 unless sendInitialEvents is provided",
            )
        };
    }
    if matches != "NotOlderThan" {
        return forbidden(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
             resourceVersionMatch to NotOlderThan",
        );
    }
    if call.query.flag("sendInitialEvents") {
        Ok(InitialEvents::Yes)
    } else {
        Ok(InitialEvents::Omitted)
    }
}

/// One event as it stands on the wire.
fn line(event: &str, object: Value) -> Bytes {
    let mut line =
        serde_json::to_vec(&json!({ "type": event, "object": object })).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// Events put together into one piece of the body, at most this many bytes or a little more.
const PIECE_BYTES: usize = 64 << 10;

impl Stream {
    /// The next piece of the body; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        match self.initial_piece().await {
            Ok(piece) if piece.is_empty() => {}
            Ok(piece) => return Some(piece),
            Err(error) => return Some(self.end(error)),
        }
        if self.announces_end {
            self.announces_end = false;
            return Some(self.bookmark(true));
        }
        let stopping = self.call.api.stopping.clone();
        loop {
            let events = tokio::select! {
                biased;
                () = stopping.cancelled() => return None,
                () = &mut self.deadline => {
                    self.ended = true;
                    // The client goes on from here without a list.
                    return self.bookmarks.then(|| self.bookmark(false));
                }
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    return Some(self.bookmark(false));
                }
                events = self.watch.next() => events,
            };
            let piece = match events {
                Ok(events) => self.piece(&events),
                Err(StoreError::Closed) => return None,
                Err(error) => Err(registry::status(&error, self.call.kind, "")),
            };
            match piece {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Some(piece),
                Err(error) => return Some(self.end(error)),
            }
        }
    }

    fn end(&mut self, error: StatusError) -> Bytes {
        self.ended = true;
        line("ERROR", error.to_value())
    }

    /// Empty when all have been sent.
    async fn initial_piece(&mut self) -> Result<Bytes, StatusError> {
        if self.initial.len() == 0 {
            return Ok(Bytes::new());
        }
        let api = self.call.api.clone();
        let _work = api.work.acquire().await.map_err(StatusError::internal)?;
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES
            && let Some(entry) = self.initial.next()
        {
            piece.extend_from_slice(&self.line("ADDED", decode(&entry)?));
        }
        Ok(piece.into())
    }

    fn line(&mut self, event: &str, object: Value) -> Bytes {
        let object = self.form.object(&self.call, object, self.with_columns);
        self.with_columns = false;
        line(event, object)
    }

    fn piece(&mut self, events: &[Arc<Event>]) -> Result<Bytes, StatusError> {
        let mut piece = Vec::new();
        for event in events {
            self.told = event.revision;
            if let Some((what, object)) = self.transition(event)? {
                piece.extend_from_slice(&self.line(what, object));
            }
        }
        Ok(piece.into())
    }

    /// What an event of the store is to a client that sees only what it selected: an object that
    /// begins to match is added, one that ceases to is deleted.
    fn transition(&self, event: &Event) -> Result<Option<(&'static str, Value)>, StatusError> {
        let current = event.current.as_deref().map(decode).transpose()?;
        let is_in = current.as_ref().is_some_and(|object| self.is_selected(object));
        let needs_previous = current.is_none() || !self.selection.is_all();
        let previous = match &event.previous {
            // A DELETED shows the last state, as of the revision that ended it.
            Some(entry) if needs_previous => Some(decode_at(&entry.value, event.revision)?),
            _ => None,
        };
        let was_in = match &previous {
            Some(object) => self.is_selected(object),
            None => event.previous.is_some(),
        };
        Ok(match (was_in, is_in, current, previous) {
            (false, true, Some(object), _) => Some(("ADDED", object)),
            (true, true, Some(object), _) => Some(("MODIFIED", object)),
            (true, false, _, Some(object)) => Some(("DELETED", object)),
            _ => None,
        })
    }

    /// The prefix of a watch for one name is that of longer names, too.
    fn is_selected(&self, object: &Value) -> bool {
        self.selection.matches(object)
    }

    fn bookmark(&mut self, ends_initial: bool) -> Bytes {
        self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
        self.told = self.told.max(self.watch.revision());
        let kind = self.call.kind;
        let mut object = json!({
            "kind": kind.kind,
            "apiVersion": kind.api_version,
            "metadata": { "resourceVersion": self.told.to_string() },
        });
        if ends_initial {
            object::set(&mut object, "annotations", json!({ INITIAL_EVENTS_END: "true" }));
        }
        self.line("BOOKMARK", object)
    }
}
