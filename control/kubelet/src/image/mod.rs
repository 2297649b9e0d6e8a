//! Images: archives in, unpacked layers out.
//!
//! Nothing is ever pulled. An archive ([`import`]) is taken apart into a store, where layers lie
//! unpacked under the digest of their content, and every image is one record that names them:
//!
//! ```text
//! STORE/layers/<diff id>/      ready to be a lower directory of overlayfs
//! STORE/images/<name>.json     an [`Image`]; <name> is the digest of its reference
//! STORE/tmp/                   what is being unpacked, or removed
//! ```
//!
//! Both appear by a rename, so that a store may be read by several nodes while someone imports.

mod archive;
mod gc;
mod import;
mod layer;
mod pack;
mod reference;
mod store;
mod usage;

use std::{io, path::PathBuf};

pub use gc::GcPolicy;
pub use import::{import, import_as};
pub use pack::{pack_static, pack_static_with};
pub use reference::normalize;
pub use store::{Image, ImageConfig, find, layer_paths, list};
pub(crate) use usage::ImageUse;
pub use usage::{collect, is_pinned, pin};

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{what}: {source}")]
    Json { what: String, source: serde_json::Error },
    #[error("{what}: digest {found} where {expected} was announced")]
    Digest { what: String, expected: String, found: String },
    #[error("not an image archive: {0}")]
    Format(String),
    #[error("{0} is not supported")]
    Unsupported(String),
    #[error("the archive names no image; give it a name")]
    NoName,
    #[error("image reference {0:?} is not well-formed")]
    Reference(String),
    #[error("{what}: more than {limit}")]
    Limit { what: String, limit: u64 },
}

impl ImageError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn json(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |source| Self::Json { what, source }
    }
}

/// The hexadecimal SHA-256 of some bytes.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
