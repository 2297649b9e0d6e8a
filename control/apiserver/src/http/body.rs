//! Bodies: read with a limit on size and time, written whole or as a stream.

use std::{convert::Infallible, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body as _, Incoming},
    header,
};
use serde_json::Value;

use crate::{
    api::{Api, too_many},
    auth::Identity,
    protobuf,
    share::Held,
    status_error::StatusError,
    yaml,
};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The largest body that is read. Kubernetes has the same limit.
pub(crate) const MAX_BODY_BYTES: usize = 3 << 20;
/// A body that takes longer is refused.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body of at most this size takes no room of those that are counted.
const SMALL_BYTES: usize = 16 << 10;

/// Reads a whole body; the room that is counted for it is to be held as long as it is in use.
///
/// # Errors
/// 413 for one that is too large, at once where it says so itself; 429 while too much is being
/// read; 504 where it does not come in time.
pub(crate) async fn read(
    api: &Api,
    identity: &Identity,
    body: Incoming,
) -> Result<(Bytes, Option<Held<String>>), StatusError> {
    match tokio::time::timeout(READ_TIMEOUT, read_all(api, identity, body)).await {
        Ok(read) => read,
        Err(elapsed) => Err(StatusError::timeout(format!("unable to read body: {elapsed}"))),
    }
}

async fn read_all(
    api: &Api,
    identity: &Identity,
    mut body: Incoming,
) -> Result<(Bytes, Option<Held<String>>), StatusError> {
    let hint = body.size_hint();
    if hint.lower() > MAX_BODY_BYTES as u64 {
        return Err(StatusError::too_large(MAX_BODY_BYTES));
    }
    // One without a length may become as large as it likes, up to the limit.
    let most = hint.exact().and_then(|exact| usize::try_from(exact).ok()).unwrap_or(MAX_BODY_BYTES);
    let mut room = None;
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| StatusError::bad_request(format!("unable to read body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > MAX_BODY_BYTES {
            return Err(StatusError::too_large(MAX_BODY_BYTES));
        }
        if length > SMALL_BYTES && room.is_none() {
            let taken = api.bodies.take(&identity.user, most);
            room = Some(taken.map_err(|why| too_many("bytes in bodies of requests", why))?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), room))
}

/// The form of a body that holds an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    /// Kubernetes' own envelope; few kinds are read in it.
    Protobuf,
}

impl Media {
    const ACCEPTED: [&str; 2] = ["application/json", "application/yaml"];

    /// By the Content-Type; JSON where there is none.
    pub(crate) fn of(headers: &hyper::HeaderMap) -> Result<Self, StatusError> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Self::Json) };
        let text = value.to_str().unwrap_or_default();
        match text.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Ok(Self::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Self::Yaml),
            protobuf::MEDIA_TYPE => Ok(Self::Protobuf),
            _ => Err(StatusError::unsupported_media_type(&Self::ACCEPTED)),
        }
    }

    /// The object of a body. Nesting is limited by both parsers to 128 levels.
    pub(crate) fn parse(self, body: &[u8]) -> Result<Value, StatusError> {
        let parsed = match self {
            Self::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
            Self::Yaml => yaml::parse(body).map_err(|error| error.to_string()),
            Self::Protobuf => return protobuf::decode(body),
        };
        let object: Value = parsed.map_err(|error| {
            StatusError::bad_request(format!(
                "the object provided is unrecognized (must be of a known type): couldn't get \
                 version/kind; json parse error: {error}"
            ))
        })?;
        if object.is_object() {
            return Ok(object);
        }
        Err(StatusError::bad_request(
            "the object provided is unrecognized (must be of a known type): it is no object",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_and_aliased_documents_are_refused() {
        let deep = "[".repeat(10_000);
        assert_eq!(Media::Json.parse(deep.as_bytes()).unwrap_err().code, 400);
        assert_eq!(Media::Yaml.parse(deep.as_bytes()).unwrap_err().code, 400);
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..12 {
            let alias = format!("*a{},", n - 1).repeat(10);
            laughs.push_str(&format!("a{n}: &a{n} [{alias}]\n"));
        }
        assert_eq!(Media::Yaml.parse(laughs.as_bytes()).unwrap_err().code, 400);
    }

    #[test]
    fn yaml_and_json_read_the_same() {
        let json = Media::Json.parse(br#"{"a": {"b": [1, "x", true]}}"#).unwrap();
        assert_eq!(Media::Yaml.parse(b"a:\n  b: [1, x, true]\n").unwrap(), json);
        assert_eq!(Media::Yaml.parse(b"just text").unwrap_err().code, 400);
    }
}
