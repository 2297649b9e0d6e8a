//! What is wrong with a resource by itself and cannot be said by its schema.

use std::fmt;

/// A field of the spec, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub field: &'static str,
    /// It should be there and is not.
    pub missing: bool,
    /// May be empty where it is missing.
    pub problem: String,
}

impl Fault {
    pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, missing: false, problem: problem.into() }
    }

    /// Of these fields, each with whether it is there, there must be one, and no two.
    pub(super) fn one_of(fields: &[(&'static str, bool)]) -> Vec<Self> {
        let mut there = fields.iter().filter(|(_, there)| *there).map(|(field, _)| *field);
        if let Some(first) = there.next() {
            return there
                .map(|other| Self::invalid(other, format!("stands beside {first}")))
                .collect();
        }
        let mut names = fields.iter().map(|(field, _)| *field);
        let missing = names.next().map(|field| {
            let others: Vec<_> = names.map(|other| format!("or {other}")).collect();
            Self { field, missing: true, problem: others.join(", ") }
        });
        missing.into_iter().collect()
    }
}

impl fmt::Display for Fault {
    /// The problem alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.missing, self.problem.as_str()) {
            (true, "") => f.write_str("is missing"),
            (true, others) => write!(f, "is missing, {others}"),
            (false, problem) => f.write_str(problem),
        }
    }
}
