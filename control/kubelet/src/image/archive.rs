//! Archives read by name: the index of one may come after what it names.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom, Take},
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{ImageError, sha256_hex, store::ImageConfig};

/// Entries of an archive; one has a handful for each layer.
const ENTRIES_MAX: usize = 10_000;
/// Bytes of an index, a manifest or a configuration.
const DOCUMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Indexes that refer to indexes.
const INDEX_DEPTH_MAX: usize = 4;
/// Annotations that carry an image's name, the fuller one first.
const NAME_ANNOTATIONS: [&str; 2] =
    ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

pub(super) struct Archive {
    path: PathBuf,
    entries: BTreeMap<String, (u64, u64)>,
}

/// One image as the archive describes it.
pub(super) struct Described {
    /// Empty where the archive gives no name.
    pub(super) names: Vec<String>,
    pub(super) id: String,
    pub(super) config: Configuration,
    /// Names of entries, the lowest layer first, as many as the configuration has diff ids.
    pub(super) layers: Vec<Layer>,
}

pub(super) struct Layer {
    pub(super) entry: String,
    /// What the manifest says of its compression, where it says anything.
    pub(super) media_type: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Configuration {
    pub(super) architecture: Option<String>,
    pub(super) os: Option<String>,
    #[serde(default)]
    pub(super) config: Option<ImageConfig>,
    pub(super) rootfs: RootFs,
}

#[derive(Deserialize)]
pub(super) struct RootFs {
    #[serde(default)]
    pub(super) diff_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// An element of `manifest.json`, as `docker save` writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let file = File::open(path).map_err(ImageError::io(path))?;
        let mut archive = tar::Archive::new(file);
        let mut entries = BTreeMap::new();
        for entry in archive.entries_with_seek().map_err(ImageError::io(path))? {
            let entry = entry.map_err(ImageError::io(path))?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = entry.path().map_err(ImageError::io(path))?;
            let name = name.to_string_lossy().trim_start_matches("./").to_owned();
            entries.insert(name, (entry.raw_file_position(), entry.size()));
            if entries.len() > ENTRIES_MAX {
                let what = format!("entries of {}", path.display());
                return Err(ImageError::Limit { what, limit: ENTRIES_MAX as u64 });
            }
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    pub(super) fn images(&self) -> Result<Vec<Described>, ImageError> {
        if self.entries.contains_key("index.json") {
            let index: Index = self.document("index.json")?;
            return self.oci_images(&index, &[], 0);
        }
        if self.entries.contains_key("manifest.json") {
            let manifests: Vec<DockerManifest> = self.document("manifest.json")?;
            return manifests.iter().map(|m| self.docker_image(m)).collect();
        }
        Err(ImageError::Format(format!(
            "{} has neither index.json nor manifest.json",
            self.path.display()
        )))
    }

    /// A reader of one entry and its length.
    pub(super) fn entry(&self, name: &str) -> Result<(Take<File>, u64), ImageError> {
        let Some(&(offset, length)) = self.entries.get(name) else {
            return Err(ImageError::Format(format!("{} has no {name}", self.path.display())));
        };
        let mut file = File::open(&self.path).map_err(ImageError::io(&self.path))?;
        file.seek(SeekFrom::Start(offset)).map_err(ImageError::io(&self.path))?;
        Ok((file.take(length), length))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let (mut reader, length) = self.entry(name)?;
        if length > DOCUMENT_BYTES_MAX {
            return Err(ImageError::Limit {
                what: format!("bytes of {name}"),
                limit: DOCUMENT_BYTES_MAX,
            });
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(ImageError::io(&self.path))?;
        Ok(bytes)
    }

    fn document<T: DeserializeOwned>(&self, name: &str) -> Result<T, ImageError> {
        serde_json::from_slice(&self.bytes(name)?).map_err(ImageError::json(name))
    }

    /// A document named by its digest, which is verified.
    fn blob<T: DeserializeOwned>(&self, digest: &str) -> Result<T, ImageError> {
        let name = blob_entry(digest)?;
        let bytes = self.bytes(&name)?;
        let found = format!("sha256:{}", sha256_hex(&bytes));
        if found != digest {
            return Err(ImageError::Digest { what: name, expected: digest.to_owned(), found });
        }
        serde_json::from_slice(&bytes).map_err(ImageError::json(name))
    }

    fn oci_images(
        &self,
        index: &Index,
        inherited: &[String],
        depth: usize,
    ) -> Result<Vec<Described>, ImageError> {
        if depth > INDEX_DEPTH_MAX {
            let limit = INDEX_DEPTH_MAX as u64;
            return Err(ImageError::Limit { what: "depth of indexes".to_owned(), limit });
        }
        let mut images = Vec::new();
        for descriptor in index.manifests.iter().filter(|d| is_for_this_host(d)) {
            let own = NAME_ANNOTATIONS.iter().find_map(|a| descriptor.annotations.get(*a));
            let names = own.map_or_else(|| inherited.to_vec(), |name| vec![name.clone()]);
            if descriptor.media_type.contains("index")
                || descriptor.media_type.contains("manifest.list")
            {
                let nested: Index = self.blob(&descriptor.digest)?;
                images.extend(self.oci_images(&nested, &names, depth + 1)?);
            } else {
                images.push(self.oci_image(descriptor, names)?);
            }
        }
        Ok(images)
    }

    fn oci_image(
        &self,
        descriptor: &Descriptor,
        names: Vec<String>,
    ) -> Result<Described, ImageError> {
        let manifest: Manifest = self.blob(&descriptor.digest)?;
        let layers = manifest
            .layers
            .iter()
            .map(|layer| {
                let entry = blob_entry(&layer.digest)?;
                Ok(Layer { entry, media_type: Some(layer.media_type.clone()) })
            })
            .collect::<Result<_, ImageError>>()?;
        let config = self.blob(&manifest.config.digest)?;
        Ok(Described { names, id: manifest.config.digest, config, layers })
    }

    fn docker_image(&self, manifest: &DockerManifest) -> Result<Described, ImageError> {
        let config = self.document(&manifest.config)?;
        Ok(Described {
            names: manifest.repo_tags.clone().unwrap_or_default(),
            id: format!("sha256:{}", sha256_hex(&self.bytes(&manifest.config)?)),
            config,
            layers: manifest
                .layers
                .iter()
                .map(|entry| Layer { entry: entry.clone(), media_type: None })
                .collect(),
        })
    }
}

fn blob_entry(digest: &str) -> Result<String, ImageError> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(format!("blobs/sha256/{hex}"))
        }
        _ => Err(ImageError::Unsupported(format!("digest {digest}"))),
    }
}

/// An index of several platforms holds the others' images too, and attestations beside them.
fn is_for_this_host(descriptor: &Descriptor) -> bool {
    descriptor
        .platform
        .as_ref()
        .is_none_or(|p| p.os == "linux" && p.architecture == host_architecture())
}

/// The name that Go and with it all of OCI gives the processor.
pub(super) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
