//! What is wrong with a resource by itself and cannot be said by its schema.

use std::fmt;

/// A field of the spec, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub field: &'static str,
    /// It should be there and is not.
    pub missing: bool,
    pub problem: &'static str,
}

impl Fault {
    pub(super) const fn missing(field: &'static str, problem: &'static str) -> Self {
        Self { field, missing: true, problem }
    }

    pub(super) const fn invalid(field: &'static str, problem: &'static str) -> Self {
        Self { field, missing: false, problem }
    }
}

impl fmt::Display for Fault {
    /// The problem alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.missing, self.problem) {
            (true, "") => f.write_str("is missing"),
            (true, others) => write!(f, "is missing, {others}"),
            (false, problem) => f.write_str(problem),
        }
    }
}
