//! Label and field selectors, as they stand in the query of a list or watch.

mod field;
mod label;

pub(crate) use field::FieldSelector;
pub(crate) use label::{LabelSelector, labels_match};

/// The longest selector that is read, in bytes; a URL is hardly longer.
const MAX_SELECTOR_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests;
