//! The records of the store.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{ImageError, normalize, sha256_hex};

/// An image that can be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Spelled out, as [`normalize`] does.
    pub reference: String,
    /// `sha256:` and the digest of the configuration.
    pub id: String,
    /// Hexadecimal diff ids, the lowest layer first.
    pub layers: Vec<String>,
    /// Bytes of the layers as they are in the archive.
    pub size_bytes: u64,
    pub config: ImageConfig,
}

/// What of the image's configuration decides how it is run; the OCI image specification's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    pub user: Option<String>,
    pub env: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub working_dir: Option<String>,
    pub stop_signal: Option<String>,
}

pub(super) fn layer_dir(store: &Path, diff_id: &str) -> PathBuf {
    store.join("layers").join(diff_id)
}

pub(super) fn record_path(store: &Path, reference: &str) -> PathBuf {
    store.join("images").join(format!("{}.json", sha256_hex(reference.as_bytes())))
}

/// The directories of an image's layers, the lowest first.
pub fn layer_paths(store: &Path, image: &Image) -> Vec<PathBuf> {
    image.layers.iter().map(|diff_id| layer_dir(store, diff_id)).collect()
}

/// The image of that name, however short it is written; `None` where it was never imported.
pub fn find(store: &Path, reference: &str) -> Result<Option<Image>, ImageError> {
    let path = record_path(store, &normalize(reference)?);
    match fs::read(&path) {
        Ok(bytes) => parse(&path, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ImageError::Io { path, source }),
    }
}

/// Every image of a store, by reference.
pub fn list(store: &Path) -> Result<Vec<Image>, ImageError> {
    let dir = store.join("images");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ImageError::Io { path: dir, source }),
    };
    let mut images = Vec::new();
    for entry in entries {
        let path = entry.map_err(ImageError::io(&dir))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let bytes = fs::read(&path).map_err(ImageError::io(&path))?;
            images.push(parse(&path, &bytes)?);
        }
    }
    images.sort_by(|a: &Image, b| a.reference.cmp(&b.reference));
    Ok(images)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Image, ImageError> {
    serde_json::from_slice(bytes).map_err(ImageError::json(path.display().to_string()))
}

pub(super) fn record(store: &Path, image: &Image) -> Result<(), ImageError> {
    let path = record_path(store, &image.reference);
    let bytes = serde_json::to_vec_pretty(image).map_err(ImageError::json(&image.reference))?;
    crate::disk::write_atomically(&path, &bytes, 0o644).map_err(ImageError::io(&path))
}
