//! A pod's volumes as directories of the node.

use std::{
    collections::BTreeMap,
    fs::{self, FileType},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown, symlink},
    path::{Component, Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection,
};

use crate::{
    env::{self, Downward, EnvError, References},
    quantity::{self, PodAmounts},
    runtime::{RuntimeError, bind_tmpfs, create_dir, unmount},
};

const MODE_DEFAULT: i32 = 0o644;
/// As the API server allows for a ConfigMap or a Secret; a projection joins several.
const FILES_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error(transparent)]
    Reference(#[from] EnvError),
    #[error("volume {0:?} is of a kind that is not supported")]
    Unsupported(String),
    #[error("volume {volume:?}: {path:?} leads out of the volume")]
    Path { volume: String, path: String },
    #[error("volume {0:?} holds more than {FILES_BYTES_MAX} bytes")]
    TooLarge(String),
    #[error("hostPath {path:?}: {message}")]
    HostPath { path: String, message: String },
    #[error("there is no volume {0:?}")]
    Unknown(String),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

pub(crate) type Files = BTreeMap<String, File>;

/// The files of a volume that is made of objects, or `None` for one of another kind.
pub(crate) fn files(
    pod: &Pod,
    volume: &Volume,
    references: &References,
    downward: &Downward,
) -> Result<Option<Files>, VolumeError> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let optional = source.optional == Some(true);
        let map = references.config_maps.get(&source.name);
        let items = source.items.as_deref();
        of_config_map(&source.name, map, items, optional, source.default_mode, &mut files)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let optional = source.optional == Some(true);
        let secret = references.secrets.get(name);
        let items = source.items.as_deref();
        of_secret(name, secret, items, optional, source.default_mode, &mut files)?;
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref();
        of_downward(pod, items, source.default_mode, downward, &mut files)?;
    } else if let Some(source) = &volume.projected {
        for projection in source.sources.iter().flatten() {
            project(
                pod,
                volume,
                projection,
                source.default_mode,
                references,
                downward,
                &mut files,
            )?;
        }
    } else {
        return Ok(None);
    }
    if files.values().map(|f| f.content.len()).sum::<usize>() > FILES_BYTES_MAX {
        return Err(VolumeError::TooLarge(volume.name.clone()));
    }
    if let Some(path) = files.keys().find(|path| !is_inside(path)) {
        return Err(VolumeError::Path { volume: volume.name.clone(), path: path.clone() });
    }
    Ok(Some(files))
}

fn project(
    pod: &Pod,
    volume: &Volume,
    projection: &VolumeProjection,
    mode: Option<i32>,
    references: &References,
    downward: &Downward,
    files: &mut Files,
) -> Result<(), VolumeError> {
    if let Some(source) = &projection.config_map {
        let map = references.config_maps.get(&source.name);
        let optional = source.optional == Some(true);
        return of_config_map(&source.name, map, source.items.as_deref(), optional, mode, files);
    }
    if let Some(source) = &projection.secret {
        let secret = references.secrets.get(&source.name);
        let optional = source.optional == Some(true);
        return of_secret(&source.name, secret, source.items.as_deref(), optional, mode, files);
    }
    if let Some(source) = &projection.downward_api {
        return of_downward(pod, source.items.as_deref(), mode, downward, files);
    }
    Err(VolumeError::Unsupported(volume.name.clone()))
}

fn of_config_map(
    name: &str,
    map: Option<&ConfigMap>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: Option<i32>,
    files: &mut Files,
) -> Result<(), VolumeError> {
    let Some(map) = map else {
        return if optional { Ok(()) } else { Err(EnvError::NoConfigMap(name.to_owned()).into()) };
    };
    let mut data: BTreeMap<&str, &[u8]> = BTreeMap::new();
    data.extend(map.data.iter().flatten().map(|(k, v)| (k.as_str(), v.as_bytes())));
    data.extend(map.binary_data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice())));
    let missing = |key: String| EnvError::NoConfigMapKey { name: name.to_owned(), key };
    select(&data, items, optional, mode, missing, files)
}

fn of_secret(
    name: &str,
    secret: Option<&Secret>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: Option<i32>,
    files: &mut Files,
) -> Result<(), VolumeError> {
    let Some(secret) = secret else {
        return if optional { Ok(()) } else { Err(EnvError::NoSecret(name.to_owned()).into()) };
    };
    let data = secret.data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice())).collect();
    let missing = |key: String| EnvError::NoSecretKey { name: name.to_owned(), key };
    select(&data, items, optional, mode, missing, files)
}

/// Every key under its own name, or those of `items` under the paths given there.
fn select(
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: Option<i32>,
    missing: impl Fn(String) -> EnvError,
    files: &mut Files,
) -> Result<(), VolumeError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, value) in data {
            files.insert((*key).to_owned(), file(value.to_vec(), None, mode));
        }
        return Ok(());
    };
    for item in items {
        match data.get(item.key.as_str()) {
            Some(value) => {
                files.insert(item.path.clone(), file(value.to_vec(), item.mode, mode));
            }
            None if optional => {}
            None => return Err(missing(item.key.clone()).into()),
        }
    }
    Ok(())
}

fn of_downward(
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: Option<i32>,
    downward: &Downward,
    files: &mut Files,
) -> Result<(), VolumeError> {
    let nothing = Container::default();
    for item in items.unwrap_or_default() {
        let content = match (&item.field_ref, &item.resource_field_ref) {
            (Some(selector), _) => env::field(selector, pod, downward)?,
            (None, Some(selector)) => env::resource(selector, pod, &nothing, downward)?,
            (None, None) => return Err(EnvError::Source(item.path.clone()).into()),
        };
        files.insert(item.path.clone(), file(content.into_bytes(), item.mode, mode));
    }
    Ok(())
}

fn file(content: Vec<u8>, own: Option<i32>, of_volume: Option<i32>) -> File {
    let mode = own.or(of_volume).unwrap_or(MODE_DEFAULT);
    File { content, mode: u32::try_from(mode).unwrap_or(0o644) & 0o777 }
}

/// A relative path without `..`; names that begin with two dots are the swap's own.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
        && !path.starts_with("..")
}

/// Makes `dir` hold exactly these files. A reader sees all of the old ones or all of the new:
/// the names are links through `..data`, which is replaced in one rename.
pub(crate) fn write_files(dir: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let data = dir.join("..data");
    if read_files(&data).is_ok_and(|present| present == with_group(files, group)) {
        return Ok(());
    }
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let version = format!("..{stamp}");
    let fresh = dir.join(&version);
    for (path, file) in &with_group(files, group) {
        let target = fresh.join(path);
        fs::create_dir_all(target.parent().unwrap_or(&fresh))?;
        fs::write(&target, &file.content)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(file.mode))?;
        chown(&target, None, group)?;
    }
    fs::create_dir_all(&fresh)?;
    let old = fs::read_link(&data).ok();
    let swap = dir.join("..data_tmp");
    crate::disk::remove(&swap)?;
    symlink(&version, &swap)?;
    fs::rename(&swap, &data)?;
    link_names(dir, files)?;
    match old {
        Some(old) => crate::disk::remove(&dir.join(old)),
        None => Ok(()),
    }
}

fn with_group(files: &Files, group: Option<u32>) -> Files {
    let readable = if group.is_some() { 0o440 } else { 0 };
    let with = |f: &File| File { content: f.content.clone(), mode: f.mode | readable };
    files.iter().map(|(path, file)| (path.clone(), with(file))).collect()
}

fn link_names(dir: &Path, files: &Files) -> io::Result<()> {
    let top = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: std::collections::BTreeSet<String> = files.keys().map(|path| top(path)).collect();
    for name in &wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), &link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            crate::disk::remove(&dir.join(&name))?;
        }
    }
    Ok(())
}

fn read_files(root: &Path) -> io::Result<Files> {
    fn collect(dir: &Path, prefix: &str, files: &mut Files) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                collect(&entry.path(), &format!("{path}/"), files)?;
            } else {
                let mode = metadata.permissions().mode() & 0o777;
                files.insert(path, File { content: fs::read(entry.path())?, mode });
            }
        }
        Ok(())
    }
    let mut files = Files::new();
    collect(root, "", &mut files)?;
    Ok(files)
}

pub(crate) fn volume_dir(pod_dir: &Path, volume: &str) -> PathBuf {
    pod_dir.join("volumes").join(volume)
}

/// Creates the volume, or brings what it is made of up to date.
pub(crate) fn prepare(
    pod_dir: &Path,
    pod: &Pod,
    volume: &Volume,
    references: &References,
    downward: &Downward,
) -> Result<(), VolumeError> {
    let dir = volume_dir(pod_dir, &volume.name);
    let group = group(pod);
    if let Some(files) = files(pod, volume, references, downward)? {
        write_files(&dir, &files, group).map_err(RuntimeError::io(dir.display().to_string()))?;
        return Ok(());
    }
    if let Some(source) = &volume.empty_dir {
        if dir.is_dir() {
            return Ok(());
        }
        create_dir(&dir)?;
        if source.medium.as_deref() == Some("Memory") {
            // It counts as memory of the pod, so it is not larger than that may be.
            let own = source.size_limit.as_ref().and_then(quantity::units);
            let of_pod = pod.spec.as_ref().and_then(|spec| PodAmounts::of(spec).memory_limit_bytes);
            let size = own.into_iter().chain(of_pod).filter(|bytes| *bytes > 0).min();
            let size = size.map_or(String::new(), |bytes| format!(",size={bytes}"));
            bind_tmpfs(&dir, &format!("mode=0777{size}"))?;
        }
        let failed = || RuntimeError::io(dir.display().to_string());
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).map_err(failed())?;
        if group.is_some() {
            chown(&dir, None, group).map_err(failed())?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o2777)).map_err(failed())?;
        }
        return Ok(());
    }
    if let Some(source) = &volume.host_path {
        return host_path(&source.path, source.type_.as_deref().unwrap_or_default());
    }
    Err(VolumeError::Unsupported(volume.name.clone()))
}

/// Unmounts what [`prepare`] mounted, so that the pod's directory can be removed.
pub(crate) fn release(pod_dir: &Path, pod: &Pod) -> Result<(), RuntimeError> {
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        if volume.empty_dir.is_some() {
            unmount(&volume_dir(pod_dir, &volume.name))?;
        }
    }
    Ok(())
}

fn group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

/// Checks what is there, or makes it where the type says so.
fn host_path(path: &str, kind: &str) -> Result<(), VolumeError> {
    let target = Path::new(path);
    let found = fs::metadata(target).map(|metadata| metadata.file_type());
    let is = |wanted: fn(&FileType) -> bool| found.as_ref().is_ok_and(wanted);
    let (fits, what) = match kind {
        "" => return Ok(()),
        "DirectoryOrCreate" if found.is_err() => return Ok(create_dir(target)?),
        "FileOrCreate" if found.is_err() => {
            let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o644).open(target);
            return file.map(drop).map_err(|error| refused(path, error.to_string()));
        }
        "Directory" | "DirectoryOrCreate" => (is(FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(FileType::is_file), "a file"),
        "Socket" => (is(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "a block device"),
        other => return Err(refused(path, format!("type {other:?} is not supported"))),
    };
    match fits {
        true => Ok(()),
        false => Err(refused(path, format!("hostPath type check failed: {path} is not {what}"))),
    }
}

fn refused(path: &str, message: String) -> VolumeError {
    VolumeError::HostPath { path: path.to_owned(), message }
}

/// Where a container's mount of a volume comes from.
pub(crate) fn mount_source(
    pod_dir: &Path,
    pod: &Pod,
    volume: &str,
    sub_path: Option<&str>,
) -> Result<PathBuf, VolumeError> {
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    let known = volumes
        .iter()
        .find(|v| v.name == volume)
        .ok_or_else(|| VolumeError::Unknown(volume.to_owned()))?;
    let root = match &known.host_path {
        Some(source) => PathBuf::from(&source.path),
        None => volume_dir(pod_dir, volume),
    };
    let Some(sub_path) = sub_path.filter(|p| !p.is_empty()) else {
        return Ok(root);
    };
    let outside = || VolumeError::Path { volume: volume.to_owned(), path: sub_path.to_owned() };
    if !is_inside(sub_path) {
        return Err(outside());
    }
    let wanted = root.join(sub_path);
    if fs::symlink_metadata(&wanted).is_err() {
        create_dir(&wanted)?;
    }
    // A container may have left a link there that leads elsewhere.
    let failed = || RuntimeError::io(wanted.display().to_string());
    let real = wanted.canonicalize().map_err(failed())?;
    match real.starts_with(root.canonicalize().map_err(failed())?) {
        true => Ok(real),
        false => Err(outside()),
    }
}

/// Whether what is in the volume may only be read, whatever the mount says.
pub(crate) fn is_projection(pod: &Pod, volume: &str) -> bool {
    pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).any(|v| {
        v.name == volume
            && (v.config_map.is_some()
                || v.secret.is_some()
                || v.downward_api.is_some()
                || v.projected.is_some())
    })
}

/// The objects that a pod refers to, by kind and name.
pub(crate) fn referenced(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    let Some(spec) = &pod.spec else { return (maps, secrets) };
    for volume in spec.volumes.iter().flatten() {
        maps.extend(volume.config_map.iter().map(|s| s.name.clone()));
        secrets.extend(volume.secret.iter().filter_map(|s| s.secret_name.clone()));
        for projection in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            maps.extend(projection.config_map.iter().map(|s| s.name.clone()));
            secrets.extend(projection.secret.iter().map(|s| s.name.clone()));
        }
    }
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        for source in container.env_from.iter().flatten() {
            maps.extend(source.config_map_ref.iter().map(|r| r.name.clone()));
            secrets.extend(source.secret_ref.iter().map(|r| r.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
            secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    }
    for names in [&mut maps, &mut secrets] {
        names.sort();
        names.dedup();
    }
    (maps, secrets)
}

/// Whether any volume has to follow an object that may change.
pub(crate) fn has_projections(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes.map(|v| v.name.as_str()).any(|name| is_projection(pod, name))
}

#[cfg(test)]
mod tests;
