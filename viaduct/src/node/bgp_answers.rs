//! What the admin socket says of the speaker where an answer may be long: in pieces, each taken from the
//! speaker when the one before is on its way.

use std::fmt::Write;

use axum::{
    Json,
    body::Body,
    extract::Query,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bgpd::{DumpError, Events, PathQueryError, Paths, PathsError, TrialError};
use futures::stream;
use serde::Serialize;
use viaduct_api::admin::{BgpPath, EventQuery, PathQuery, PeerQuery, PolicyTrialQuery};

use super::admin::Shared;

/// A JSON array with a line for each element, so that it can be read whole or line by line.
#[derive(Debug, Default)]
struct Lines {
    begun: bool,
}

impl Lines {
    fn more<T: Serialize>(&mut self, items: &[T]) -> serde_json::Result<String> {
        let mut text = String::new();
        for item in items {
            let between = if std::mem::replace(&mut self.begun, true) { ",\n" } else { "[\n" };
            // A String takes whatever it is given.
            let _infallible = write!(text, "{between}{}", serde_json::to_string(item)?);
        }
        Ok(text)
    }

    fn all<T: Serialize>(items: &[T]) -> serde_json::Result<String> {
        let mut lines = Self::default();
        let text = lines.more(items)?;
        Ok(text + lines.end())
    }

    const fn end(&self) -> &'static str {
        if self.begun { "\n]\n" } else { "[]\n" }
    }
}

/// Where the speaker ends, or the peer that is asked for is gone, the answer ends without its last line.
pub(super) async fn paths(
    axum::extract::State(state): Shared,
    Query(query): Query<PathQuery>,
) -> Response {
    let begun = async {
        let mut paths = state.speaker.paths(&query)?;
        let first = paths.next().await?;
        Ok((paths, first))
    };
    let (paths, first) = match begun.await {
        Ok(begun) => begun,
        Err(error) => return refusal(&error).into_response(),
    };
    let telling = Telling { first, paths, lines: Lines::default() };
    let pieces = stream::try_unfold(Some(telling), piece);
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response()
}

/// The table as MRT. Where the speaker ends the answer breaks off.
pub(super) async fn mrt(axum::extract::State(state): Shared) -> Response {
    let pieces = stream::try_unfold(state.speaker.dump(), async |mut dump| {
        let piece = dump.next().await?;
        Ok::<_, DumpError>(piece.map(|piece| (piece, dump)))
    });
    ([(CONTENT_TYPE, "application/octet-stream")], Body::from_stream(pieces)).into_response()
}

fn refusal(error: &PathsError) -> (StatusCode, String) {
    let status = match error {
        PathsError::Ended(_) => StatusCode::SERVICE_UNAVAILABLE,
        PathsError::Query(PathQueryError::NoSuchPeer(_)) => StatusCode::NOT_FOUND,
        PathsError::Query(_) => StatusCode::BAD_REQUEST,
    };
    (status, error.to_string())
}

/// What is to be said first, and behind it what is left to be asked.
struct Telling {
    first: Option<Vec<BgpPath>>,
    paths: Paths,
    lines: Lines,
}

/// The next piece, which is never empty; `None` behind the last one.
async fn piece(telling: Option<Telling>) -> anyhow::Result<Option<(String, Option<Telling>)>> {
    let Some(mut telling) = telling else { return Ok(None) };
    loop {
        let some = match telling.first.take() {
            Some(first) => Some(first),
            None => telling.paths.next().await?,
        };
        let Some(some) = some else { return Ok(Some((telling.lines.end().to_owned(), None))) };
        let text = telling.lines.more(&some)?;
        if !text.is_empty() {
            return Ok(Some((text, Some(telling))));
        }
    }
}

/// The BFD session of the peer is seen by another thread, and its state asked for there.
pub(super) async fn peer(
    axum::extract::State(state): Shared,
    Query(query): Query<PeerQuery>,
) -> Response {
    let Some(address) = query.peer else {
        return (StatusCode::BAD_REQUEST, "peer: which one is not said").into_response();
    };
    let bfd = async {
        let peers = state.speaker.peers().await?;
        let found = peers.into_iter().find(|peer| peer.address == address);
        Ok::<_, bgpd::Ended>(found.and_then(|peer| peer.bfd))
    };
    match futures::try_join!(state.speaker.peer(address), bfd) {
        Ok((Some(mut detail), bfd)) => {
            detail.status.bfd = bfd;
            Json(detail).into_response()
        }
        Ok((None, _)) => refusal(&PathQueryError::NoSuchPeer(address).into()).into_response(),
        Err(ended) => refusal(&ended.into()).into_response(),
    }
}

pub(super) async fn policy(
    axum::extract::State(state): Shared,
    Query(query): Query<PeerQuery>,
) -> Response {
    match (state.speaker.policies(query.peer).await, query.peer) {
        (Ok(none), Some(peer)) if none.is_empty() => {
            refusal(&PathQueryError::NoSuchPeer(peer).into()).into_response()
        }
        (Ok(policies), _) => Json(policies).into_response(),
        (Err(ended), _) => refusal(&ended.into()).into_response(),
    }
}

pub(super) async fn policy_test(
    axum::extract::State(state): Shared,
    Query(query): Query<PolicyTrialQuery>,
) -> Response {
    match state.speaker.policy_trial(&query).await {
        Ok(trial) => Json(trial).into_response(),
        Err(error) => {
            let status = match error {
                TrialError::NoSuchPeer { .. } | TrialError::NotInTable(_) => StatusCode::NOT_FOUND,
                TrialError::Ended(_) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, error.to_string()).into_response()
        }
    }
}

/// To be followed they are lines and no array, for that would never be whole.
pub(super) async fn events(
    axum::extract::State(state): Shared,
    Query(query): Query<EventQuery>,
) -> Response {
    let mut events = state.speaker.events(&query);
    if query.follow {
        let pieces = stream::try_unfold(events, followed);
        return ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pieces))
            .into_response();
    }
    let told = events.next().await.unwrap_or_default();
    match Lines::all(&told) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn followed(mut events: Events) -> serde_json::Result<Option<(String, Events)>> {
    let Some(told) = events.next().await else { return Ok(None) };
    let mut text = String::new();
    for event in &told {
        text += &serde_json::to_string(event)?;
        text.push('\n');
    }
    Ok(Some((text, events)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_an_array_however_they_are_cut() {
        for pieces in [&[&[1, 2][..], &[], &[3]][..], &[&[]], &[&[1, 2, 3]]] {
            let mut lines = Lines::default();
            let mut text: String = pieces.iter().map(|piece| lines.more(piece).unwrap()).collect();
            text += lines.end();
            let all: Vec<i32> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            assert_eq!(serde_json::from_str::<Vec<i32>>(&text).unwrap(), all, "{text}");
            let cut = text.lines().filter(|line| !matches!(*line, "[" | "]" | "[]"));
            assert_eq!(cut.count(), all.len());
        }
    }
}
