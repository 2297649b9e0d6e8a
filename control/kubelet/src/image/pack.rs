//! An image of one static binary.

use std::{fs, io, path::Path};

use serde_json::json;

use super::{ImageError, archive::host_architecture, normalize, sha256_hex};

const BINARY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Writes an OCI archive whose image is this static binary and nothing else, started as the
/// entry point. The same binary and reference give the same archive, byte for byte.
pub fn pack_static(binary: &Path, reference: &str, out: &Path) -> Result<(), ImageError> {
    pack_static_with(binary, reference, out, None)
}

/// As [`pack_static`], run as `user` (`uid` or `uid:gid`).
pub fn pack_static_with(
    binary: &Path,
    reference: &str,
    out: &Path,
    user: Option<&str>,
) -> Result<(), ImageError> {
    let reference = normalize(reference)?;
    let name = binary
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| ImageError::Format(format!("{} has no file name", binary.display())))?;
    let length = fs::metadata(binary).map_err(ImageError::io(binary))?.len();
    if length > BINARY_BYTES_MAX {
        let what = format!("bytes of {}", binary.display());
        return Err(ImageError::Limit { what, limit: BINARY_BYTES_MAX });
    }
    let content = fs::read(binary).map_err(ImageError::io(binary))?;
    let layer = layer(name, &content).map_err(ImageError::io(binary))?;
    let mut run = json!({ "Entrypoint": [format!("/{name}")], "WorkingDir": "/" });
    if let Some(user) = user {
        run["User"] = json!(user);
    }
    let config = document(&json!({
        "architecture": host_architecture(),
        "os": "linux",
        "config": run,
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    }))?;
    let manifest = document(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut named = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    named["annotations"] = json!({
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference,
    });
    let index = document(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [named],
    }))?;
    let archive = archive(&[
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        ("index.json", &index),
        (&blob(&manifest), &manifest),
        (&blob(&config), &config),
        (&blob(&layer), &layer),
    ])
    .map_err(ImageError::io(out))?;
    crate::disk::write_atomically(out, &archive, 0o644).map_err(ImageError::io(out))
}

fn document(value: &serde_json::Value) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(value).map_err(ImageError::json("image"))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", sha256_hex(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn layer(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    // Programs expect a directory for their scratch files.
    let mut tmp = header(0, 0o1777);
    tmp.set_entry_type(tar::EntryType::Directory);
    builder.append_data(&mut tmp, "tmp/", io::empty())?;
    builder.append_data(&mut header(content.len(), 0o755), name, content)?;
    builder.into_inner()
}

fn archive(entries: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        builder.append_data(&mut header(content.len(), 0o644), path, *content)?;
    }
    builder.into_inner()
}

/// Nothing in it depends on the machine or the time.
fn header(length: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(length as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header
}
