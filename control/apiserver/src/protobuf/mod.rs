//! `application/vnd.kubernetes.protobuf`, for the few objects that kubectl sends in no other form:
//! those of `kubectl create namespace|configmap|secret|service|serviceaccount|deployment|pdb|
//! priorityclass`, `drain` and `auth can-i`.
//!
//! A message is read by a table of its fields (`generated.proto` of `k8s.io/api`) into the value
//! that JSON would have given. A field that no table knows is refused, never dropped.

mod messages;
mod wire;
mod workload;

use serde_json::{Map, Value};

use crate::status_error::StatusError;
use messages::{Field, Form, Message};
use wire::{Reader, WireError, WireValue};

/// What stands before the `runtime.Unknown` that holds the object.
const MAGIC: &[u8] = b"k8s\0";

pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// How deep messages may lie in each other; the deepest that we know is 6.
const MAX_DEPTH: usize = 16;

#[derive(Debug, thiserror::Error)]
enum DecodeError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("field {number} of {message} is not read in this form")]
    Unknown { message: &'static str, number: u32 },
    #[error("field {number} of {message} has another type")]
    Mismatch { message: &'static str, number: u32 },
    #[error("messages lie too deep in each other")]
    TooDeep,
}

/// The object in the envelope, with its `apiVersion` and `kind`.
///
/// # Errors
/// 415 for a kind or a field that is not read in this form, 400 for what is no such message.
pub(crate) fn decode(body: &[u8]) -> Result<Value, StatusError> {
    let malformed = |why: &dyn std::fmt::Display| {
        StatusError::bad_request(format!("couldn't decode the protobuf message: {why}"))
    };
    let envelope = body.strip_prefix(MAGIC).ok_or_else(|| {
        malformed(&"the body does not start with the bytes of a Kubernetes message")
    })?;
    let envelope = read(&messages::UNKNOWN, envelope, 0).map_err(|error| malformed(&error))?;
    let text = |field: &str| envelope["typeMeta"][field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let Some(message) = messages::of_kind(api_version, kind) else {
        return Err(StatusError::unsupported_media_type(&["application/json", "application/yaml"]));
    };
    let raw = wire::field_bytes(&body[MAGIC.len()..], messages::UNKNOWN_RAW);
    let raw = raw.map_err(|error| malformed(&error))?;
    let mut object = read(message, raw, 0).map_err(|error| match error {
        DecodeError::Unknown { .. } => {
            StatusError { message: error.to_string(), ..StatusError::unsupported_media_type(&[]) }
        }
        other => malformed(&other),
    })?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

fn read(message: &'static Message, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    let mut out = Map::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next_field()? {
        let Some(field) = message.fields.iter().find(|field| field.number == number) else {
            return Err(DecodeError::Unknown { message: message.name, number });
        };
        put(&mut out, message, field, &value, depth)?;
    }
    Ok(Value::Object(out))
}

fn put(
    out: &mut Map<String, Value>,
    message: &'static Message,
    field: &Field,
    value: &WireValue<'_>,
    depth: usize,
) -> Result<(), DecodeError> {
    let mismatch = DecodeError::Mismatch { message: message.name, number: field.number };
    let name = field.name;
    // Go writes every field that is no pointer, so an empty one means that none was given.
    let value = match (field.form, value) {
        (Form::Ignored, _) => return Ok(()),
        (Form::Text, WireValue::Bytes(bytes)) => match text(bytes)? {
            "" => return Ok(()),
            text => text.into(),
        },
        (Form::Integer, WireValue::Varint(0)) => return Ok(()),
        // Negative numbers are sent in two's complement of 64 bits.
        (Form::Integer | Form::OptionalInteger, WireValue::Varint(number)) => {
            number.cast_signed().into()
        }
        (Form::Flag, WireValue::Varint(0)) => return Ok(()),
        (Form::Flag | Form::OptionalFlag, WireValue::Varint(number)) => (*number != 0).into(),
        (Form::IntOrString, WireValue::Bytes(bytes)) => int_or_string(bytes, depth)?,
        (Form::Message(inner), WireValue::Bytes(bytes)) => read(inner, bytes, depth + 1)?,
        (Form::Texts, WireValue::Bytes(bytes)) => {
            push(out, name, text(bytes)?.into());
            return Ok(());
        }
        (Form::Messages(inner), WireValue::Bytes(bytes)) => {
            push(out, name, read(inner, bytes, depth + 1)?);
            return Ok(());
        }
        (Form::TextMap, WireValue::Bytes(bytes)) => {
            let (key, value) = entry(bytes)?;
            let value = text(value)?.into();
            insert(out, name, text(key)?, value);
            return Ok(());
        }
        (Form::QuantityMap, WireValue::Bytes(bytes)) => {
            let (key, quantity) = entry(bytes)?;
            let value = text(wire::field_bytes(quantity, 1)?)?.into();
            insert(out, name, text(key)?, value);
            return Ok(());
        }
        (Form::BytesMap, WireValue::Bytes(bytes)) => {
            use base64::{Engine, engine::general_purpose::STANDARD};
            let (key, value) = entry(bytes)?;
            insert(out, name, text(key)?, STANDARD.encode(value).into());
            return Ok(());
        }
        _ => return Err(mismatch),
    };
    out.insert(name.to_owned(), value);
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    Ok(std::str::from_utf8(bytes).map_err(WireError::Text)?)
}

fn push(out: &mut Map<String, Value>, name: &str, value: Value) {
    let list = out.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.push(value);
    }
}

fn insert(out: &mut Map<String, Value>, name: &str, key: &str, value: Value) {
    let map = out.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(map) = map {
        map.insert(key.to_owned(), value);
    }
}

/// An entry of a map: a message of key (1) and value (2).
fn entry(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    Ok((wire::field_bytes(bytes, 1)?, wire::field_bytes(bytes, 2)?))
}

fn int_or_string(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let parts = read(&messages::INT_OR_STRING, bytes, depth + 1)?;
    // Type 0 is a number, 1 a text.
    Ok(if parts["type"] == 1 {
        parts["strVal"].as_str().unwrap_or_default().into()
    } else {
        parts["intVal"].as_i64().unwrap_or_default().into()
    })
}

#[cfg(test)]
mod tests;
