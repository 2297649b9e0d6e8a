//! Objects and lists in the form that the client asked for.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::{
    api::Call,
    clock,
    http::{Output, Response, respond},
    status_error::StatusError,
    table::{self, IncludeObject},
};

/// What the client wants to see of each object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    output: Output,
    include: IncludeObject,
}

impl Form {
    pub(crate) fn of(call: &Call) -> Result<Self, StatusError> {
        let text = call.query.text("includeObject");
        let include = IncludeObject::parse(text).ok_or_else(|| {
            StatusError::bad_request(format!("unrecognized includeObject value: \"{text}\""))
        })?;
        Ok(Self { output: call.output, include })
    }

    /// One object. In a watch only the first Table has its columns.
    pub(crate) fn object(self, call: &Call, object: Value, with_columns: bool) -> Value {
        match self.output {
            Output::Json => object,
            Output::PartialMetadata(version) => partial(version, &object),
            Output::Table(version) => {
                let metadata = json!({
                    "resourceVersion": object["metadata"]["resourceVersion"],
                });
                let mut table = table::empty(call.kind, version, metadata, with_columns);
                table["rows"] = json!([self.item(call, object)]);
                table
            }
        }
    }

    /// A list with its `metadata`.
    pub(crate) fn list(self, call: &Call, items: Vec<Value>, metadata: Value) -> Value {
        let (mut list, field) = self.empty(call, metadata);
        list[field] = items.into_iter().map(|item| self.item(call, item)).collect();
        list
    }

    /// What comes before the items of a list on the wire, and what comes after them.
    pub(crate) fn frame(self, call: &Call, metadata: Value) -> (String, &'static str) {
        let (list, _) = self.empty(call, metadata);
        // The items are the last field.
        const END: &str = "]}";
        let mut text = list.to_string();
        debug_assert!(text.ends_with("[]}"), "{text}");
        text.truncate(text.len() - END.len());
        (text, END)
    }

    /// One of the items of a list.
    pub(crate) fn item(self, call: &Call, object: Value) -> Value {
        match self.output {
            Output::Json => object,
            Output::PartialMetadata(version) => partial(version, &object),
            Output::Table(version) => {
                table::row(call.kind, version, object, self.include, clock::now_secs())
            }
        }
    }

    /// A list without items, and the field for these.
    fn empty(self, call: &Call, metadata: Value) -> (Value, &'static str) {
        let kind = call.kind;
        let list = |kind: &str, version: &str| json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": [] });
        match self.output {
            Output::Json => (list(&kind.list_kind(), kind.api_version), "items"),
            Output::PartialMetadata(version) => {
                (list("PartialObjectMetadataList", version), "items")
            }
            Output::Table(version) => (table::empty(kind, version, metadata.clone(), true), "rows"),
        }
    }
}

fn partial(version: &str, object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": version,
        "metadata": object["metadata"],
    })
}

/// The answer to a request for one object.
pub(crate) fn answer(
    call: &Call,
    code: StatusCode,
    object: Value,
    warnings: &[String],
) -> Result<Response, StatusError> {
    let object = Form::of(call)?.object(call, object, true);
    let mut response = respond::json(code, &object);
    respond::warn(&mut response, warnings);
    Ok(response)
}
