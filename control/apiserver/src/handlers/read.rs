//! GET of one object and of lists.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use control_store::{List, Page, Revision, StoreError};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    listing,
    render::{Form, answer},
};
use crate::{
    api::Call,
    http::{Query, Response},
    kinds::Kind,
    registry,
    selector::{FieldSelector, LabelSelector},
    status_error::StatusError,
};

/// Entries looked at in one go where there is a selector.
const CHUNK: usize = 250;

pub(crate) async fn get(call: &Call) -> Result<Response, StatusError> {
    let object = call.registry().get(call.kind, &call.path.namespace, &call.path.name).await?;
    answer(call, StatusCode::OK, object, &[])
}

/// Which objects of a list or watch are meant.
#[derive(Debug)]
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(crate) fn of(kind: &Kind, query: &Query) -> Result<Self, StatusError> {
        Ok(Self {
            labels: LabelSelector::parse(query.text("labelSelector"))?,
            fields: FieldSelector::parse(kind, query.text("fieldSelector"))?,
        })
    }

    pub(crate) fn is_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }

    /// The prefix of the keys that can match.
    pub(crate) fn prefix(&self, call: &Call) -> String {
        let kind = call.kind;
        match self.fields.exact_namespace() {
            Some(namespace) if kind.namespaced && call.path.namespace.is_empty() => {
                registry::prefix(kind, namespace)
            }
            _ => registry::prefix(kind, &call.path.namespace),
        }
    }

    /// The only name that can match.
    pub(crate) fn exact_name(&self) -> Option<&str> {
        self.fields.exact_name()
    }
}

/// The place at which a list goes on, as the client hands it back to us.
#[derive(Serialize, Deserialize)]
struct Continue {
    /// The revision of the whole list.
    rv: Revision,
    /// The last key that was given.
    after: String,
}

impl Continue {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str, prefix: &str) -> Result<Self, StatusError> {
        let invalid =
            |why: String| StatusError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| invalid(error.to_string()))?;
        let token: Self =
            serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if !token.after.starts_with(prefix) {
            return Err(invalid("it belongs to another list".to_owned()));
        }
        Ok(token)
    }
}

/// The resourceVersion of a list or watch; 0 and none both leave it to us.
pub(crate) fn revision_of(query: &Query) -> Result<Option<Revision>, StatusError> {
    let text = query.text("resourceVersion");
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        StatusError::bad_request(format!(
            "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": \
             {error}"
        ))
    })
}

/// The revision at which a list is to be, by resourceVersion and resourceVersionMatch. What is
/// served is always the newest, which is not older than any that may be asked for.
async fn exact_revision(call: &Call) -> Result<Option<Revision>, StatusError> {
    let revision = revision_of(&call.query)?;
    let forbidden = |why: &str| {
        Err(StatusError::bad_request(format!("resourceVersionMatch: Forbidden: {why}")))
    };
    match (call.query.text("resourceVersionMatch"), revision) {
        ("", _) if !call.query.text("continue").is_empty() && revision.is_some_and(|r| r > 0) => {
            Err(StatusError::bad_request(
                "specifying resource version is not allowed when using continue",
            ))
        }
        ("" | "NotOlderThan", Some(revision)) => {
            let current = call.registry().store().revision().await;
            let current = current.map_err(|error| registry::status(&error, call.kind, ""))?;
            if revision > current {
                let error = StoreError::Future { requested: revision, current };
                return Err(registry::status(&error, call.kind, ""));
            }
            Ok(None)
        }
        ("", None) => Ok(None),
        ("NotOlderThan" | "Exact", None) => {
            forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        ("Exact", Some(0)) => {
            forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        ("Exact", Some(revision)) => Ok(Some(revision)),
        (other, _) => Err(StatusError::bad_request(format!(
            "resourceVersionMatch: Unsupported value: \"{other}\": supported values: \"Exact\", \
             \"NotOlderThan\""
        ))),
    }
}

pub(crate) async fn list(call: Call) -> Result<Response, StatusError> {
    let form = Form::of(&call)?;
    let selection = Selection::of(call.kind, &call.query)?;
    let prefix = selection.prefix(&call);
    let limit = usize::try_from(call.query.number("limit")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let mut at = exact_revision(&call).await?;
    let mut start_after = None;
    let token = call.query.text("continue");
    if !token.is_empty() {
        let token = Continue::decode(token, &prefix)?;
        at = Some(token.rv);
        start_after = Some(token.after);
    }
    let found = collect(&call, &selection, prefix, start_after, limit, at).await;
    let found = found.map_err(|error| match error.code {
        410 if !token.is_empty() => StatusError::expired(
            "The provided continue parameter is too old to display a consistent list result. You \
             can start a new list without the continue parameter.",
        ),
        _ => error,
    })?;
    let mut metadata = json!({ "resourceVersion": found.revision.to_string() });
    if found.remaining > 0 {
        let after = found.entries.last().map(|entry| entry.key.to_string()).unwrap_or_default();
        metadata["continue"] = Continue { rv: found.revision, after }.encode().into();
        // With a selector nobody knows how many of them match.
        if selection.is_all() {
            metadata["remainingItemCount"] = found.remaining.into();
        }
    }
    listing::answer(call, form, found.entries, metadata)
}

/// The objects that match, at most `limit` of them, as the store has them.
async fn collect(
    call: &Call,
    selection: &Selection,
    prefix: String,
    start_after: Option<String>,
    limit: usize,
    at: Option<Revision>,
) -> Result<Page, StatusError> {
    let registry = call.registry();
    let mut list = List { prefix, start_after, limit, at };
    if selection.is_all() {
        return registry.list(call.kind, list).await;
    }
    list.limit = CHUNK;
    let mut entries = Vec::new();
    loop {
        let mut page = registry.list(call.kind, list.clone()).await?;
        let read = page.entries.len();
        let last_key = page.entries.last().map(|entry| entry.key.to_string());
        // Not many at once: to look into an object costs more than to give it out.
        let work = call.api.work.acquire().await.map_err(StatusError::internal)?;
        for (index, entry) in page.entries.drain(..).enumerate() {
            if !selection.matches(&registry::decode(&entry)?) {
                continue;
            }
            entries.push(entry);
            if entries.len() == limit {
                let remaining = page.remaining + read - index - 1;
                return Ok(Page { entries, remaining, ..page });
            }
        }
        drop(work);
        if page.remaining == 0 {
            return Ok(Page { entries, ..page });
        }
        list.at = Some(page.revision);
        list.start_after = last_key;
    }
}

/// Everything that a list without limit would give, with its revision.
pub(crate) async fn select(call: &Call, selection: &Selection) -> Result<Page, StatusError> {
    collect(call, selection, selection.prefix(call), None, 0, None).await
}
