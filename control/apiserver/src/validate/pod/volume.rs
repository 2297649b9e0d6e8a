//! The volumes of a pod.

use serde_json::Value;

use super::{list, text};
use crate::validate::field_error::{Errors, Path};
use crate::validate::names;

/// A bound of ours; Kubernetes has none but the size of the request.
const MAX_VOLUMES: usize = 1000;

/// Checks the volumes and returns their names, for the mounts.
pub(super) fn volumes(volumes: &Value, path: &Path<'_>, errors: &mut Errors) -> Vec<String> {
    let volumes = list(volumes);
    if volumes.len() > MAX_VOLUMES {
        errors.too_many(path, volumes.len(), MAX_VOLUMES);
        return Vec::new();
    }
    let mut seen: Vec<String> = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let name = text(volume, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            for why in names::rfc1123_label(name) {
                errors.invalid(&path.child("name"), name, &why);
            }
            if seen.iter().any(|one| one == name) {
                errors.duplicate(&path.child("name"), name);
            }
            seen.push(name.to_owned());
        }
        source(volume, &path, errors);
    }
    seen
}

fn source(volume: &Value, path: &Path<'_>, errors: &mut Errors) {
    let sources: Vec<&String> = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| *key != "name" && !value.is_null())
        .map(|(key, _)| key)
        .collect();
    if sources.is_empty() {
        errors.required(path, "must specify a volume type");
    }
    for more in sources.iter().skip(1) {
        errors.forbidden(&path.child(more), "may not specify more than 1 volume type");
    }
    for (kind, name_field) in [("configMap", "name"), ("secret", "secretName")] {
        let source = &volume[kind];
        if source.is_null() {
            continue;
        }
        let path = path.child(kind);
        if text(source, name_field).is_empty() {
            errors.required(&path.child(name_field), "");
        }
        file_mode(&source["defaultMode"], &path.child("defaultMode"), errors);
        let path = path.child("items");
        for (index, item) in list(&source["items"]).iter().enumerate() {
            key_to_path(item, &path.index(index), errors);
        }
    }
    let host_path = &volume["hostPath"];
    if !host_path.is_null() {
        let path = path.child("hostPath");
        let at = text(host_path, "path");
        if at.is_empty() {
            errors.required(&path.child("path"), "");
        } else if at.split('/').any(|part| part == "..") {
            errors.invalid(&path.child("path"), at, "must not contain '..'");
        }
    }
}

fn key_to_path(item: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(item, "key").is_empty() {
        errors.required(&path.child("key"), "");
    }
    let to = text(item, "path");
    let at = path.child("path");
    if to.is_empty() {
        errors.required(&at, "");
    } else if to.starts_with('/') {
        errors.invalid(&at, to, "must be a relative path");
    } else if to.split('/').any(|part| part == "..") {
        errors.invalid(&at, to, "must not contain '..'");
    } else if to.starts_with("..") {
        errors.invalid(&at, to, "must not start with '..'");
    }
    file_mode(&item["mode"], &path.child("mode"), errors);
}

fn file_mode(mode: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = mode.as_i64()
        && !(0..=0o777).contains(&mode)
    {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(path, mode, why);
    }
}
