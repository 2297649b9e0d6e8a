//! From archive to store.

use std::{fs, path::Path};

use super::{
    ImageError,
    archive::{Archive, Described, host_architecture},
    layer, normalize,
    store::{self, Image},
    usage,
};

/// Layers that the mount options of overlayfs, one page, have room for.
pub(crate) const LAYERS_MAX: usize = 24;

/// Imports every image of an archive (OCI layout or `docker save`) and returns the references
/// under which pods can name them.
///
/// Importing again replaces the reference; layers that are there already are kept.
pub fn import(archive: &Path, store: &Path) -> Result<Vec<String>, ImageError> {
    import_as(archive, store, None)
}

/// As [`import`], under a name of the caller's choice where the archive holds one image.
pub fn import_as(
    archive: &Path,
    store: &Path,
    name: Option<&str>,
) -> Result<Vec<String>, ImageError> {
    // Nobody removes a layer that is to be used.
    let _lock = usage::lock_shared(store)?;
    let opened = Archive::open(archive)?;
    let images = opened.images()?;
    if images.is_empty() {
        let host = host_architecture();
        return Err(ImageError::Format(format!("no image for linux/{host} in the archive")));
    }
    if name.is_some() && images.len() > 1 {
        return Err(ImageError::Unsupported("one name for several images".to_owned()));
    }
    let mut references = Vec::new();
    for image in images {
        let names = match name {
            Some(name) => vec![name.to_owned()],
            None => image.names.clone(),
        };
        if names.is_empty() {
            return Err(ImageError::NoName);
        }
        references.extend(import_one(&opened, &image, &names, store)?);
    }
    references.sort();
    references.dedup();
    Ok(references)
}

fn import_one(
    archive: &Archive,
    image: &Described,
    names: &[String],
    store: &Path,
) -> Result<Vec<String>, ImageError> {
    check_platform(image)?;
    let diff_ids = &image.config.rootfs.diff_ids;
    if diff_ids.len() != image.layers.len() {
        let (ids, layers) = (diff_ids.len(), image.layers.len());
        return Err(ImageError::Format(format!("{ids} diff ids for {layers} layers")));
    }
    if diff_ids.len() > LAYERS_MAX {
        return Err(ImageError::Limit { what: "layers".to_owned(), limit: LAYERS_MAX as u64 });
    }
    let mut layers = Vec::new();
    let mut size_bytes = 0;
    for (layer, diff_id) in image.layers.iter().zip(diff_ids) {
        if layer.media_type.as_deref().is_some_and(|t| t.contains("zstd")) {
            return Err(ImageError::Unsupported("zstd compression of a layer".to_owned()));
        }
        let hex = diff_id.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ImageError::Unsupported(format!("digest {diff_id}")));
        }
        let (_, length) = archive.entry(&layer.entry)?;
        size_bytes += length;
        import_layer(archive, &layer.entry, hex, store)?;
        layers.push(hex.to_owned());
    }
    let mut references = Vec::new();
    for name in names {
        let reference = normalize(name)?;
        store::record(
            store,
            &Image {
                reference: reference.clone(),
                id: image.id.clone(),
                layers: layers.clone(),
                size_bytes,
                config: image.config.config.clone().unwrap_or_default(),
            },
        )?;
        usage::touch(store, &reference)?;
        references.push(reference);
    }
    Ok(references)
}

fn check_platform(image: &Described) -> Result<(), ImageError> {
    let os = image.config.os.as_deref().unwrap_or("linux");
    let architecture = image.config.architecture.as_deref().unwrap_or(host_architecture());
    if os != "linux" || architecture != host_architecture() {
        return Err(ImageError::Unsupported(format!("platform {os}/{architecture}")));
    }
    Ok(())
}

fn import_layer(
    archive: &Archive,
    entry: &str,
    diff_id: &str,
    store: &Path,
) -> Result<(), ImageError> {
    let target = store::layer_dir(store, diff_id);
    if target.is_dir() {
        return Ok(());
    }
    let parent = store.join("layers");
    let scratch_root = store.join("tmp");
    for dir in [&parent, &scratch_root] {
        fs::create_dir_all(dir).map_err(ImageError::io(dir))?;
    }
    let scratch =
        tempfile::TempDir::new_in(&scratch_root).map_err(ImageError::io(&scratch_root))?;
    let unpacked = scratch.path().join("layer");
    fs::create_dir(&unpacked).map_err(ImageError::io(&unpacked))?;
    let (reader, _) = archive.entry(entry)?;
    let found = layer::unpack(reader, &unpacked)?;
    if found != diff_id {
        return Err(ImageError::Digest {
            what: entry.to_owned(),
            expected: diff_id.to_owned(),
            found,
        });
    }
    match fs::rename(&unpacked, &target) {
        // Someone else imported the same layer in the meantime.
        Err(_) if target.is_dir() => Ok(()),
        done => done.map_err(ImageError::io(&target)),
    }
}
