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
                self.table(call, version, &[object], metadata, with_columns)
            }
        }
    }

    /// A list with its `metadata`.
    pub(crate) fn list(self, call: &Call, items: Vec<Value>, metadata: Value) -> Value {
        let kind = call.kind;
        match self.output {
            Output::Json => json!({
                "kind": kind.list_kind(),
                "apiVersion": kind.api_version,
                "metadata": metadata,
                "items": items,
            }),
            Output::PartialMetadata(version) => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": version,
                "metadata": metadata,
                "items": items.iter().map(|item| partial(version, item)).collect::<Vec<_>>(),
            }),
            Output::Table(version) => self.table(call, version, &items, metadata, true),
        }
    }

    fn table(
        self,
        call: &Call,
        version: &str,
        items: &[Value],
        metadata: Value,
        with_columns: bool,
    ) -> Value {
        let now = clock::now_secs();
        table::render(call.kind, version, items, metadata, self.include, with_columns, now)
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
