//! The body of a list: whole where it is small, else piece by piece as the client takes it.
//!
//! The objects stay in the form of the store, shared with it and with everybody else who lists
//! them, until their piece is made. A list of everything costs no more memory than one piece, and
//! however many are made at once, so many clients wait for their turn and nobody else does.

use std::sync::Arc;

use bytes::Bytes;
use control_store::Entry;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{StatusCode, body::Frame};
use serde_json::Value;

use super::render::Form;
use crate::{
    api::{Call, StreamPermit},
    http::{
        Response,
        body::{Body, BoxError, full},
        respond,
    },
    registry::decode,
    status_error::StatusError,
};

/// A piece ends with the item that fills it. As much is answered whole.
const PIECE_BYTES: usize = 64 << 10;

struct Listing {
    call: Call,
    form: Form,
    items: std::vec::IntoIter<Arc<Entry>>,
    /// What comes before the next item.
    before: String,
    end: Option<&'static str>,
    _permit: StreamPermit,
}

pub(crate) fn answer(
    call: Call,
    form: Form,
    items: Vec<Arc<Entry>>,
    metadata: Value,
) -> Result<Response, StatusError> {
    let size: usize = items.iter().map(|entry| entry.value.len()).sum();
    let (before, end) = form.frame(&call, metadata);
    if size <= PIECE_BYTES {
        let mut text = before.into_bytes();
        for (index, entry) in items.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            write_item(&call, form, entry, &mut text)?;
        }
        text.extend_from_slice(end.as_bytes());
        return Ok(respond::with_type(StatusCode::OK, respond::JSON, full(text)));
    }
    let permit = call.api.stream(&call.identity)?;
    let items = items.into_iter();
    let listing = Listing { call, form, items, before, end: Some(end), _permit: permit };
    let frames = stream::try_unfold(listing, |mut listing| async {
        let piece = listing.next().await?;
        Ok::<_, BoxError>(piece.map(|bytes| (Frame::data(bytes), listing)))
    });
    let body: Body = StreamBody::new(frames.fuse()).boxed_unsync();
    Ok(respond::with_type(StatusCode::OK, respond::JSON, body))
}

fn write_item(
    call: &Call,
    form: Form,
    entry: &Entry,
    out: &mut Vec<u8>,
) -> Result<(), StatusError> {
    let item = form.item(call, decode(entry)?);
    serde_json::to_writer(out, &item).map_err(StatusError::internal)
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        if self.end.is_none() {
            return Ok(None);
        }
        let work = self.call.api.work.acquire().await?;
        let mut piece = std::mem::take(&mut self.before).into_bytes();
        while piece.len() < PIECE_BYTES {
            let Some(entry) = self.items.next() else {
                piece.extend_from_slice(self.end.take().unwrap_or_default().as_bytes());
                break;
            };
            // An error ends the body before its end, which the client sees.
            write_item(&self.call, self.form, &entry, &mut piece).map_err(|error| error.message)?;
            if self.items.len() > 0 {
                piece.push(b',');
            }
        }
        drop(work);
        Ok(Some(piece.into()))
    }
}
