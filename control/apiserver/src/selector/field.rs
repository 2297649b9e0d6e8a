//! Field selectors.

use serde_json::Value;

use super::MAX_SELECTOR_BYTES;
use crate::kinds::Kind;
use crate::status_error::StatusError;

/// Requirements on the few fields of a kind that may be selected on; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Reads `metadata.name=web,status.phase!=Failed`.
    ///
    /// # Errors
    /// A 400 Status where the text is no selector or the kind cannot be selected by the field.
    pub(crate) fn parse(kind: &Kind, text: &str) -> Result<Self, StatusError> {
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(StatusError::bad_request("the field selector is too long"));
        }
        let mut terms = Vec::new();
        for term in split_terms(text) {
            terms.push(field_term(kind, text, &term)?);
        }
        Ok(Self { terms })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The only name that can match, where `metadata.name` is required to be one.
    pub(crate) fn exact_name(&self) -> Option<&str> {
        self.exact("metadata.name")
    }

    /// The only namespace that can match, where `metadata.namespace` is required to be one.
    pub(crate) fn exact_namespace(&self) -> Option<&str> {
        self.exact("metadata.namespace")
    }

    fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// Whether every term holds for the object.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (field_of(object, &term.field) == term.value) == term.equal)
    }
}

/// Cuts at commas that no backslash protects.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match c {
            ',' if !escaped => terms.push(String::new()),
            _ => {
                if let Some(last) = terms.last_mut() {
                    last.push(c);
                }
            }
        }
        escaped = c == '\\' && !escaped;
    }
    terms.retain(|term| !term.is_empty());
    terms
}

fn field_term(kind: &Kind, selector: &str, term: &str) -> Result<Term, StatusError> {
    let parts = ["!=", "==", "="].iter().find_map(|sign| {
        let (field, value) = term.split_once(sign)?;
        // `a==b` contains `=`, and `a=b!=c` is a question about `a`: the first sign rules.
        (!field.contains(['=', '!'])).then_some((*sign, field, value))
    });
    let Some((sign, field, value)) = parts else {
        return Err(StatusError::bad_request(format!(
            "invalid selector: '{selector}'; can't understand '{term}'"
        )));
    };
    if !kind.selects_by(field) {
        let why = if kind.is_custom() {
            format!("field label \"{field}\" not supported for {}", kind.kind)
        } else {
            format!("field label not supported: {field}")
        };
        return Err(StatusError::bad_request(why));
    }
    Ok(Term { field: field.to_owned(), value: unescape(value), equal: sign != "!=" })
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut escaped = false;
    for c in value.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(c);
            escaped = false;
        }
    }
    out
}

/// The field as text. An Event's `source` is its component, or else the controller that reports.
fn field_of(object: &Value, path: &str) -> String {
    if path == "source" {
        let component = field_of(object, "source.component");
        return if component.is_empty() {
            field_of(object, "reportingComponent")
        } else {
            component
        };
    }
    let mut at = object;
    for step in path.split('.') {
        match at.get(step) {
            Some(next) => at = next,
            None => return default_of(path).to_owned(),
        }
    }
    match at {
        Value::String(text) => text.clone(),
        Value::Null => default_of(path).to_owned(),
        other => other.to_string(),
    }
}

/// Kubernetes compares the zero value of a missing field: `false` for a flag, nothing for a text.
fn default_of(path: &str) -> &'static str {
    match path {
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        "status.replicas" => "0",
        _ => "",
    }
}
