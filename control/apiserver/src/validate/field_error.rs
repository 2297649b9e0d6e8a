//! Errors that name a field, as `k8s.io/apimachinery/pkg/util/validation/field` words them.

use std::fmt;

use serde_json::Value;

use crate::status_error::Cause;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldError {
    pub problem: Problem,
    /// The path of the field: `spec.containers[0].name`.
    pub field: String,
    /// The value that was given; printed for the problems that speak of a value.
    pub value: Value,
    pub detail: String,
}

/// The sorts of error, each with a reason for machines and words for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TypeInvalid,
}

impl Problem {
    fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong)
    }
}

impl FieldError {
    fn new(problem: Problem, field: impl Into<String>, value: Value, detail: &str) -> Self {
        Self { problem, field: field.into(), value, detail: detail.to_owned() }
    }

    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new(Problem::Required, field, Value::Null, detail)
    }

    pub(crate) fn invalid(field: impl Into<String>, value: Value, detail: &str) -> Self {
        Self::new(Problem::Invalid, field, value, detail)
    }

    pub(crate) fn type_invalid(field: impl Into<String>, value: Value, detail: &str) -> Self {
        Self::new(Problem::TypeInvalid, field, value, detail)
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: Value) -> Self {
        Self::new(Problem::Duplicate, field, value, "")
    }

    pub(crate) fn not_found(field: impl Into<String>, value: Value) -> Self {
        Self::new(Problem::NotFound, field, value, "")
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(Problem::Forbidden, field, Value::Null, detail)
    }

    pub(crate) fn too_long(field: impl Into<String>, limit_bytes: usize) -> Self {
        let detail = format!("may not be more than {limit_bytes} bytes");
        Self::new(Problem::TooLong, field, Value::Null, &detail)
    }

    pub(crate) fn too_many(field: impl Into<String>, count: usize, limit: usize) -> Self {
        let detail = format!("must have at most {limit} items");
        Self::new(Problem::TooMany, field, count.into(), &detail)
    }

    pub(crate) fn not_supported(
        field: impl Into<String>,
        value: Value,
        supported: &[&str],
    ) -> Self {
        let quoted: Vec<String> = supported.iter().map(|one| format!("\"{one}\"")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        Self::new(Problem::NotSupported, field, value, &detail)
    }

    /// The entry for `details.causes`.
    pub(crate) fn cause(&self) -> Cause {
        Cause {
            reason: self.problem.reason().to_owned(),
            message: self.body(),
            field: self.field.clone(),
        }
    }

    /// The message without the field.
    fn body(&self) -> String {
        let mut out = self.problem.words().to_owned();
        if self.problem.shows_value() {
            out.push_str(": ");
            match &self.value {
                Value::Null => out.push_str("\"null\""),
                value => out.push_str(&value.to_string()),
            }
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// The errors found so far. Checks append to it, so that a client is told of all at once.
#[derive(Debug, Default)]
pub(crate) struct Errors(pub Vec<FieldError>);

impl Errors {
    pub(crate) fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    pub(crate) fn required(&mut self, field: &Path<'_>, detail: &str) {
        self.push(FieldError::required(field.to_string(), detail));
    }

    pub(crate) fn invalid(&mut self, field: &Path<'_>, value: impl Into<Value>, detail: &str) {
        self.push(FieldError::invalid(field.to_string(), value.into(), detail));
    }

    pub(crate) fn duplicate(&mut self, field: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldError::duplicate(field.to_string(), value.into()));
    }

    pub(crate) fn not_found(&mut self, field: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldError::not_found(field.to_string(), value.into()));
    }

    pub(crate) fn forbidden(&mut self, field: &Path<'_>, detail: &str) {
        self.push(FieldError::forbidden(field.to_string(), detail));
    }

    pub(crate) fn too_long(&mut self, field: &Path<'_>, limit_bytes: usize) {
        self.push(FieldError::too_long(field.to_string(), limit_bytes));
    }

    pub(crate) fn too_many(&mut self, field: &Path<'_>, count: usize, limit: usize) {
        self.push(FieldError::too_many(field.to_string(), count, limit));
    }

    pub(crate) fn not_supported(
        &mut self,
        field: &Path<'_>,
        value: impl Into<Value>,
        known: &[&str],
    ) {
        self.push(FieldError::not_supported(field.to_string(), value.into(), known));
    }

    pub(crate) fn type_invalid(&mut self, field: &Path<'_>, value: impl Into<Value>, detail: &str) {
        self.push(FieldError::type_invalid(field.to_string(), value.into(), detail));
    }
}

/// The way to a field, kept on the stack and put into words only where an error needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    pub(crate) const fn root(field: &'a str) -> Self {
        Self { parent: None, step: Step::Field(field) }
    }

    pub(crate) const fn child(&'a self, field: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Field(field) }
    }

    pub(crate) const fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// An entry of a map: `data[key]`.
    pub(crate) const fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(field) if self.parent.is_some() => write!(f, ".{field}"),
            Step::Field(field) => f.write_str(field),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_in_kubernetes() {
        let spec = Path::root("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        let limits = first.child("limits");
        assert_eq!(limits.key("cpu").to_string(), "spec.containers[0].limits[cpu]");
    }

    #[test]
    fn each_problem_has_its_words() {
        assert_eq!(
            FieldError::invalid("a.b", "x".into(), "bad").to_string(),
            "a.b: Invalid value: \"x\": bad"
        );
        assert_eq!(
            FieldError::not_supported("a", "x".into(), &["A", "B"]).to_string(),
            "a: Unsupported value: \"x\": supported values: \"A\", \"B\""
        );
        assert_eq!(
            FieldError::too_many("a", 5, 3).to_string(),
            "a: Too many: 5: must have at most 3 items"
        );
        assert_eq!(FieldError::required("a", "").to_string(), "a: Required value");
        assert_eq!(
            FieldError::too_long("a", 3).to_string(),
            "a: Too long: may not be more than 3 bytes"
        );
    }
}
