//! The file of a speaker, read.

use std::path::Path;

use anyhow::{Context, Result};
use bgpd::config::documents::{Documents, parse};

pub(crate) fn read(path: &Path) -> Result<Documents> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}
