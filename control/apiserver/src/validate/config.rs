//! ConfigMap and Secret.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::field_error::{Errors, Path};
use super::names;
use crate::kinds::Kind;

/// The most bytes of all values together, as in Kubernetes.
const MAX_DATA_BYTES: usize = 1024 * 1024;

/// The keys that a Secret of a type must have; those of one row are alternatives.
const REQUIRED_KEYS: &[(&str, &[&[&str]])] = &[
    ("kubernetes.io/tls", &[&["tls.crt"], &["tls.key"]]),
    ("kubernetes.io/basic-auth", &[&["username", "password"]]),
    ("kubernetes.io/ssh-auth", &[&["ssh-privatekey"]]),
    ("kubernetes.io/dockerconfigjson", &[&[".dockerconfigjson"]]),
    ("kubernetes.io/dockercfg", &[&[".dockercfg"]]),
];

pub(crate) fn config_map(_: &Kind, map: &Value, errors: &mut Errors) {
    let (data, binary) = (Path::root("data"), Path::root("binaryData"));
    let mut size = keys_and_size(&map["data"], &data, str::len, errors);
    size += keys_and_size(&map["binaryData"], &binary, decoded_len, errors);
    for key in map["binaryData"].as_object().into_iter().flatten().map(|(key, _)| key) {
        if map["data"].get(key).is_some() {
            errors.invalid(&data.key(key), key.as_str(), "duplicate of key present in binaryData");
        }
    }
    if size > MAX_DATA_BYTES {
        // The limit is that of the whole, so no one field is to blame.
        errors.too_long(&Path::root("[]"), MAX_DATA_BYTES);
    }
}

pub(crate) fn config_map_update(new: &Value, old: &Value, errors: &mut Errors) {
    immutable(new, old, &["data", "binaryData"], errors);
}

pub(crate) fn secret(_: &Kind, secret: &Value, errors: &mut Errors) {
    let path = Path::root("data");
    if keys_and_size(&secret["data"], &path, decoded_len, errors) > MAX_DATA_BYTES {
        errors.too_long(&path, MAX_DATA_BYTES);
    }
    let kind = secret["type"].as_str().unwrap_or_default();
    let required = REQUIRED_KEYS.iter().find(|(name, _)| *name == kind);
    for alternatives in required.map_or(&[][..], |(_, keys)| keys) {
        if !alternatives.iter().any(|key| secret["data"].get(key).is_some()) {
            for key in *alternatives {
                errors.required(&path.key(key), "");
            }
        }
    }
}

pub(crate) fn secret_update(new: &Value, old: &Value, errors: &mut Errors) {
    if new["type"] != old["type"] {
        errors.invalid(&Path::root("type"), new["type"].clone(), "field is immutable");
    }
    immutable(new, old, &["data"], errors);
}

fn immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    if old["immutable"] != true {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        errors.forbidden(&Path::root("immutable"), why);
    }
    for field in fields {
        if new[*field] != old[*field] {
            errors.forbidden(&Path::root(field), why);
        }
    }
}

fn keys_and_size(
    data: &Value,
    path: &Path<'_>,
    len: fn(&str) -> usize,
    errors: &mut Errors,
) -> usize {
    let mut size = 0;
    for (key, value) in data.as_object().into_iter().flatten() {
        for why in names::config_map_key(key) {
            errors.invalid(&path.key(key), key.as_str(), &why);
        }
        size += len(value.as_str().unwrap_or_default());
    }
    size
}

fn decoded_len(text: &str) -> usize {
    STANDARD.decode(text).map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn problems(plural: &str, object: Value) -> Vec<String> {
        let kind = kinds::find("", "v1", plural).unwrap();
        let mut errors = Errors::default();
        if plural == "secrets" {
            secret(kind, &object, &mut errors);
        } else {
            config_map(kind, &object, &mut errors);
        }
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_are_names_of_files() {
        let found = problems("configmaps", json!({"data": {"a/b": "", "ok.txt": ""}}));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key must"));
    }

    #[test]
    fn the_size_is_bounded() {
        let data = "x".repeat(MAX_DATA_BYTES + 1);
        let found = problems("configmaps", json!({ "data": {"a": data} }));
        assert_eq!(found, ["[]: Too long: may not be more than 1048576 bytes"]);
        let found = problems("secrets", json!({ "data": {"a": STANDARD.encode(&data)} }));
        assert_eq!(found, ["data: Too long: may not be more than 1048576 bytes"]);
    }

    #[test]
    fn a_typed_secret_has_its_keys() {
        let found =
            problems("secrets", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}));
        assert_eq!(found, ["data[tls.key]: Required value"]);
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({"data": {"a": "1"}, "immutable": true});
        let mut errors = Errors::default();
        config_map_update(&json!({"data": {"a": "2"}, "immutable": true}), &old, &mut errors);
        let expected = "data: Forbidden: field is immutable when `immutable` is set";
        assert_eq!(errors.0[0].to_string(), expected);
    }
}
