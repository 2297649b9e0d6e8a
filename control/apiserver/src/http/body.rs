//! Bodies: read with a limit on size and time, written whole or as a stream.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, header};
use serde_json::Value;

use crate::{protobuf, status_error::StatusError};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The largest body that is read. Kubernetes has the same limit.
pub(crate) const MAX_BODY_BYTES: usize = 3 << 20;
/// A body that takes longer is refused.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Reads a whole body.
pub(crate) async fn read(body: Incoming) -> Result<Bytes, StatusError> {
    let limited = Limited::new(body, MAX_BODY_BYTES);
    match tokio::time::timeout(READ_TIMEOUT, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(StatusError::too_large(MAX_BODY_BYTES))
        }
        Ok(Err(error)) => Err(StatusError::bad_request(format!("unable to read body: {error}"))),
        Err(elapsed) => Err(StatusError::timeout(format!("unable to read body: {elapsed}"))),
    }
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

    /// The object of a body. Nesting is limited by both parsers to 128 levels, and YAML aliases
    /// cannot blow up: they are counted by the parser.
    pub(crate) fn parse(self, body: &[u8]) -> Result<Value, StatusError> {
        let parsed = match self {
            Self::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
            Self::Yaml => serde_norway::from_slice(body).map_err(|error| error.to_string()),
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
