//! From the bytes of a request to an object whose fields are those of its kind.
//!
//! Kubernetes decodes into Go structs; here the same questions are put to the kind's schema: fields
//! that it does not have are reported and dropped, values of another type are an error.

mod duplicates;

pub(crate) use duplicates::read_yaml;
use serde_json::{Map, Value};

use super::field_error::Path;
use super::quantity::Quantity;
use crate::kinds::Kind;
use crate::kinds::schema::{Definitions, OBJECT_META, Schema, Shape, definitions};
use crate::protobuf;
use crate::status_error::StatusError;

/// The most strict errors that are told, as in Kubernetes.
const MAX_STRICT_ERRORS: usize = 100;

/// An object that fits the types of its kind.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub object: Value,
    /// `unknown field "spec.foo"`, `duplicate field "spec.bar"`: an error where the client asked
    /// for strict validation, a warning where it did not.
    pub strict_errors: Vec<String>,
}

/// Reads the body of a create or update in JSON or YAML; an empty `content_type` is JSON.
///
/// # Errors
/// 415 for another format; 400 for what cannot be parsed, is of another kind or does not fit the
/// kind's types.
pub(crate) fn decode(kind: &Kind, content_type: &str, body: &[u8]) -> Result<Decoded, StatusError> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let (mut object, mut strict_errors) = match media_type {
        "" | "application/json" => duplicates::read_json(body).map_err(|error| {
            StatusError::bad_request(format!(
                "couldn't get version/kind; json parse error: {error}"
            ))
        })?,
        "application/yaml" => read_yaml(body).map_err(|error| {
            StatusError::bad_request(format!("error converting YAML to JSON: yaml: {error}"))
        })?,
        protobuf::MEDIA_TYPE => (protobuf::decode(body)?, Vec::new()),
        _ => {
            return Err(StatusError::unsupported_media_type(&[
                "application/json",
                "application/yaml",
                protobuf::MEDIA_TYPE,
            ]));
        }
    };
    check_kind(kind, &mut object)?;
    strict_errors.extend(conform(kind, &mut object)?);
    strict_errors.truncate(MAX_STRICT_ERRORS);
    Ok(Decoded { object, strict_errors })
}

/// Makes an object (of a patch, say) fit its kind: unknown fields are dropped and returned in the
/// words of a strict decoding error, nulls vanish, quantities take their canonical form.
///
/// # Errors
/// 400 for an object of another kind or a value of another type. The specs of our own kinds are left to validation, which says
/// it with the path, as Kubernetes does for custom resources.
pub(crate) fn conform(kind: &Kind, object: &mut Value) -> Result<Vec<String>, StatusError> {
    check_kind(kind, object)?;
    let mut walk = Walk { definitions: definitions(), custom: kind.is_custom(), unknown: vec![] };
    walk.definition(object, kind.definition, None)
        .map_err(|why| StatusError::undecodable(kind, &why))?;
    Ok(walk.unknown)
}

/// The path of a request says what its body is; the body may leave it out but not deny it.
fn check_kind(kind: &Kind, object: &mut Value) -> Result<(), StatusError> {
    let Some(map) = object.as_object_mut() else {
        return Err(StatusError::bad_request(
            "couldn't get version/kind; json parse error: the body is not an object",
        ));
    };
    let text = |field: &str| match map.get(field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(StatusError::bad_request(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct \
             field .{field} of type string",
            go_value(other)
        ))),
    };
    let (api_version, name) = (text("apiVersion")?, text("kind")?);
    if !api_version.is_empty() && api_version != kind.api_version {
        return Err(StatusError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version \
             ({})",
            kind.api_version
        )));
    }
    if !name.is_empty() && name != kind.kind {
        return Err(StatusError::bad_request(format!(
            "{name} in version \"{0}\" cannot be handled as a {1}: the kind in the data ({name}) \
             does not match the expected kind ({1})",
            kind.version, kind.kind
        )));
    }
    map.insert("apiVersion".to_owned(), kind.api_version.into());
    map.insert("kind".to_owned(), kind.kind.into());
    Ok(())
}

struct Walk {
    definitions: &'static Definitions,
    custom: bool,
    unknown: Vec<String>,
}

/// Where in Go's types a value stands, for the words of an error.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: Option<&'a Path<'a>>,
    /// The way without indexes, as Go prints it.
    go_path: &'a str,
    /// The struct that holds the field.
    owner: &'a str,
}

impl Walk {
    fn definition(
        &mut self,
        value: &mut Value,
        name: &'static str,
        path: Option<&Path<'_>>,
    ) -> Result<(), String> {
        let schema = self.definitions.named(name);
        let place = Place { path, go_path: "", owner: short(name) };
        self.shape(value, &schema.shape, Some(name), place)
    }

    fn schema(
        &mut self,
        value: &mut Value,
        schema: &'static Schema,
        place: Place<'_>,
    ) -> Result<(), String> {
        let (shape, name) = self.definitions.resolve(schema);
        self.shape(value, shape, name, place)
    }

    fn shape(
        &mut self,
        value: &mut Value,
        shape: &'static Shape,
        name: Option<&str>,
        place: Place<'_>,
    ) -> Result<(), String> {
        match (shape, &mut *value) {
            (Shape::Any, _) | (_, Value::Null) => Ok(()),
            (Shape::Object { fields, .. }, Value::Object(object)) => {
                let owner = name.map_or(place.owner, short);
                self.fields(object, fields, Place { owner, ..place })
            }
            (Shape::Map(items), Value::Object(object)) => {
                for (key, item) in object.iter_mut() {
                    let root = Path::root(key);
                    let path = place.path.map_or(root, |path| path.child(key));
                    self.schema(item, items, Place { path: Some(&path), ..place })?;
                    zero_for_null(item, items);
                }
                Ok(())
            }
            (Shape::List { items, .. }, Value::Array(list)) => {
                for (index, item) in list.iter_mut().enumerate() {
                    let root = Path::root("");
                    let path = place.path.unwrap_or(&root).index(index);
                    self.schema(item, items, Place { path: Some(&path), ..place })?;
                    zero_for_null(item, items);
                }
                Ok(())
            }
            // Left to validation, which says it with the path.
            _ if self.custom && (place.go_path == "spec" || place.go_path.starts_with("spec.")) => {
                Ok(())
            }
            (Shape::String { format, .. }, Value::String(text)) => check_format(format, text),
            (Shape::Boolean, Value::Bool(_))
            | (Shape::Number, Value::Number(_))
            | (Shape::IntOrString, Value::String(_)) => Ok(()),
            (Shape::Integer { go_type, .. }, Value::Number(number)) => {
                let fits =
                    number.as_i64().is_some_and(|n| go_type != "int32" || i32::try_from(n).is_ok());
                if fits {
                    Ok(())
                } else {
                    Err(mismatch(&format!("number {number}"), shape, name, place))
                }
            }
            (Shape::IntOrString, Value::Number(number)) => {
                if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) {
                    Ok(())
                } else {
                    Err(mismatch(&format!("number {number}"), shape, name, place))
                }
            }
            (Shape::Quantity, Value::String(_) | Value::Number(_)) => canonical_quantity(value),
            (_, other) => Err(mismatch(&go_value(other), shape, name, place)),
        }
    }

    fn fields(
        &mut self,
        object: &mut Map<String, Value>,
        fields: &'static std::collections::BTreeMap<String, Schema>,
        place: Place<'_>,
    ) -> Result<(), String> {
        for (key, value) in object.iter_mut() {
            let root = Path::root(key);
            let path = place.path.map_or(root, |path| path.child(key));
            let Some(schema) = fields.get(key) else {
                if self.unknown.len() < MAX_STRICT_ERRORS {
                    self.unknown.push(format!("unknown field \"{path}\""));
                }
                continue;
            };
            let go_path = if place.go_path.is_empty() {
                key.clone()
            } else {
                format!("{}.{key}", place.go_path)
            };
            self.schema(value, schema, Place { path: Some(&path), go_path: &go_path, ..place })?;
        }
        object.retain(|key, value| !value.is_null() && fields.contains_key(key));
        Ok(())
    }
}

/// In a list or map Go puts the zero value where JSON has null; for a field it is as if not given.
fn zero_for_null(value: &mut Value, schema: &Schema) {
    if !value.is_null() {
        return;
    }
    let (shape, _) = definitions().resolve(schema);
    *value = match shape {
        Shape::String { .. } => "".into(),
        Shape::Object { .. } | Shape::Map(_) => Map::new().into(),
        Shape::List { .. } => Vec::<Value>::new().into(),
        Shape::Integer { .. } | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::Boolean => false.into(),
        Shape::Quantity => "0".into(),
        Shape::Ref(_) | Shape::Any => return,
    };
}

fn check_format(format: &str, text: &str) -> Result<(), String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    match format {
        "byte" => match STANDARD.decode(text) {
            Ok(_) => Ok(()),
            Err(base64::DecodeError::InvalidByte(at, _)) => {
                Err(format!("illegal base64 data at input byte {at}"))
            }
            Err(_) => Err(format!("illegal base64 data at input byte {}", text.len())),
        },
        "date-time" if crate::table::unix_secs(text).is_none() => Err(format!(
            "parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{text}\" as \
             \"2006\""
        )),
        _ => Ok(()),
    }
}

fn canonical_quantity(value: &mut Value) -> Result<(), String> {
    let text = match &*value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let Some(quantity) = Quantity::parse(&text) else {
        return Err("quantities must match the regular expression \
                    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            .to_owned());
    };
    *value = quantity.canonical().into();
    Ok(())
}

/// `json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool`.
fn mismatch(got: &str, shape: &Shape, name: Option<&str>, place: Place<'_>) -> String {
    format!(
        "json: cannot unmarshal {got} into Go struct field {}.{} of type {}",
        place.owner,
        place.go_path,
        go_type(shape, name)
    )
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
    .to_owned()
}

fn go_type(shape: &Shape, name: Option<&str>) -> String {
    match shape {
        Shape::Object { .. } => {
            let name = name.unwrap_or_default();
            let mut parts = name.rsplit('.');
            let (kind, version) =
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            format!("{version}.{kind}")
        }
        Shape::Map(items) => format!("map[string]{}", go_type_of(items)),
        Shape::List { items, .. } => format!("[]{}", go_type_of(items)),
        Shape::String { format, .. } if format == "byte" => "[]uint8".to_owned(),
        Shape::String { .. } => "string".to_owned(),
        Shape::Integer { go_type, .. } => go_type.clone(),
        Shape::Number => "float64".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::IntOrString => "intstr.IntOrString".to_owned(),
        Shape::Quantity => "resource.Quantity".to_owned(),
        Shape::Ref(_) | Shape::Any => "interface {}".to_owned(),
    }
}

fn go_type_of(schema: &Schema) -> String {
    let (shape, name) = definitions().resolve(schema);
    go_type(shape, name)
}

/// `PodSpec` of `io.k8s.api.core.v1.PodSpec`.
fn short(name: &str) -> &str {
    if name == OBJECT_META {
        return "ObjectMeta";
    }
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
