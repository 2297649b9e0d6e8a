//! OpenAPI v3: an index and one document for each group and version.
//!
//! Clients take from it whether a kind supports validation by the server, by which keys its lists
//! merge, and what `explain` shows. The documents are made together at the first request, since the
//! index names their hashes, and kept as bytes.

mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::discovery::{Document, group_versions, kinds_of, path_of};
use crate::kinds::Kind;
use crate::kinds::schema::definitions_json;

const JSON: &str = "application/json";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const REF_PREFIX: &str = "#/components/schemas/";

/// The document at `/openapi/v3` or below (`/openapi/v3/apis/apps/v1`); `None` for another path.
pub(crate) fn openapi(path: &str) -> Option<Document> {
    DOCUMENTS.get(path.trim_end_matches('/')).cloned()
}

/// The old form, which clients ask for where they do not find a kind in the new one. It describes
/// nothing, so that they go on to say that the kind is unknown.
pub(crate) fn openapi_v2(accept: &str) -> Document {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    // The fields `swagger` (1) and `info` (2) of openapi.v2.Document, the latter with `title` (1)
    // and `version` (2).
    const EMPTY: &[u8] = b"\x0a\x032.0\x12\x0d\x0a\x07Viaduct\x12\x02v1";
    if accept.contains("proto-openapi.spec.v2") {
        return Document { content_type: PROTOBUF, body: Bytes::from_static(EMPTY), etag: None };
    }
    let empty = json!({"swagger": "2.0", "info": {"title": "Viaduct", "version": "v1"}, "paths": {},
        "definitions": {}});
    Document { content_type: JSON, body: Bytes::from(empty.to_string()), etag: None }
}

static DOCUMENTS: LazyLock<BTreeMap<String, Document>> = LazyLock::new(|| {
    let definitions = definitions_json();
    let mut documents = BTreeMap::new();
    let mut index = Map::new();
    for (group, version) in group_versions() {
        let name = path_of(group, version).trim_start_matches('/').to_owned();
        let document = document(&definitions, group, version).to_string();
        let hash = hash(document.as_bytes());
        let path = format!("/openapi/v3/{name}");
        let link = json!({ "serverRelativeURL": format!("{path}?hash={hash}") });
        index.insert(name, link);
        documents.insert(path, finished(document, &hash));
    }
    let index = json!({ "paths": index }).to_string();
    let hash = hash(index.as_bytes());
    documents.insert("/openapi/v3".to_owned(), finished(index, &hash));
    documents
});

fn finished(body: String, hash: &str) -> Document {
    Document { content_type: JSON, body: Bytes::from(body), etag: Some(format!("\"{hash}\"")) }
}

/// Clients keep what they fetched under a hash for ever, so it must change with the content.
fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn document(definitions: &Map<String, Value>, group: &'static str, version: &'static str) -> Value {
    let mut schemas = Map::new();
    let mut wanted = BTreeSet::new();
    for kind in kinds_of(group, version) {
        let (name, list) = list_schema(kind);
        references(&list, &mut wanted);
        schemas.insert(name, list);
    }
    // What is wanted may want more.
    while let Some(name) = wanted.pop_first() {
        if schemas.contains_key(&name) {
            continue;
        }
        let Some(schema) = definitions.get(&name) else { continue };
        references(schema, &mut wanted);
        schemas.insert(name, schema.clone());
    }
    schemas.sort_keys();
    let mut all = Map::new();
    for kind in kinds_of(group, version) {
        all.extend(paths::paths(kind));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Viaduct", "version": concat!("v", env!("CARGO_PKG_VERSION"))},
        "paths": all,
        "components": {"schemas": schemas},
    })
}

fn list_schema(kind: &Kind) -> (String, Value) {
    let definition = kind.definition;
    let list = kind.list_kind();
    let text = |about: &str| json!({"type": "string", "description": about});
    let schema = json!({
        "description": format!("{list} is a list of {}.", kind.plural),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text("The version of the schema of this list."),
            "items": {
                "type": "array",
                "description": "The objects.",
                "items": {"allOf": [{"$ref": format!("{REF_PREFIX}{definition}")}], "default": {}},
            },
            "kind": text("The kind of the list."),
            "metadata": {
                "allOf": [{"$ref": format!("{REF_PREFIX}{LIST_META}")}],
                "description": "Standard list metadata.",
                "default": {},
            },
        },
        "x-kubernetes-group-version-kind":
            [{"group": kind.group, "kind": list, "version": kind.version}],
    });
    (format!("{definition}List"), schema)
}

/// Adds the names of the definitions that a schema refers to.
fn references(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" => {
                        let name = target.strip_prefix(REF_PREFIX).unwrap_or(target);
                        names.insert(name.to_owned());
                    }
                    value => references(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn fetch(path: &str) -> Value {
        serde_json::from_slice(&openapi(path).unwrap().body).unwrap()
    }

    #[test]
    fn the_index_leads_to_every_document() {
        let index = fetch("/openapi/v3");
        let paths = index["paths"].as_object().unwrap();
        assert_eq!(paths.len(), group_versions().len());
        for link in paths.values() {
            let url = link["serverRelativeURL"].as_str().unwrap();
            let (path, hash) = url.split_once("?hash=").unwrap();
            let document = openapi(path).unwrap();
            assert_eq!(document.etag, Some(format!("\"{hash}\"")));
        }
    }

    #[test]
    fn every_kind_says_that_it_is_validated() {
        for kind in kinds::all() {
            let document = fetch(&format!("/openapi/v3{}", path_of(kind.group, kind.version)));
            let mine = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
            let patch = document["paths"]
                .as_object()
                .unwrap()
                .values()
                .map(|path| &path["patch"])
                .find(|patch| patch["x-kubernetes-group-version-kind"] == mine)
                .unwrap_or_else(|| panic!("{kind:?}"));
            let parameters = patch["parameters"].as_array().unwrap();
            for wanted in ["fieldValidation", "dryRun"] {
                assert!(parameters.iter().any(|one| one["name"] == wanted), "{kind:?}");
            }
            let strategic =
                &patch["requestBody"]["content"]["application/strategic-merge-patch+json"];
            assert_eq!(strategic.is_null(), kind.is_custom(), "{kind:?}");
            let schema = &document["components"]["schemas"][kind.definition];
            assert_eq!(schema["x-kubernetes-group-version-kind"][0], mine);
            assert!(document["components"]["schemas"][LIST_META].is_object());
        }
    }

    #[test]
    fn no_reference_leads_astray() {
        for (path, document) in DOCUMENTS.iter().filter(|(path, _)| *path != "/openapi/v3") {
            let document: Value = serde_json::from_slice(&document.body).unwrap();
            let mut names = BTreeSet::new();
            references(&document, &mut names);
            for name in names {
                assert!(document["components"]["schemas"][&name].is_object(), "{path}: {name}");
            }
        }
    }
}
