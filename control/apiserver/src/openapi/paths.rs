//! The paths of a kind, with what clients look at: verbs, parameters and the kind behind them.

use serde_json::{Map, Value, json};

use super::REF_PREFIX;
use crate::discovery::{path_of, subresource};
use crate::kinds::Kind;
use crate::patch::PatchType;

/// Path items by path.
pub(super) fn paths(kind: &Kind) -> Map<String, Value> {
    let root = path_of(kind.group, kind.version);
    let mut out = Map::new();
    let collection = if kind.namespaced {
        let mut everywhere = Map::new();
        everywhere.insert("get".to_owned(), operation(kind, "list", List));
        out.insert(format!("{root}/{}", kind.plural), Value::Object(everywhere));
        format!("{root}/namespaces/{{namespace}}/{}", kind.plural)
    } else {
        format!("{root}/{}", kind.plural)
    };
    let mut of_collection = path_item(kind, false);
    put(&mut of_collection, kind, "get", "list", List);
    put(&mut of_collection, kind, "post", "create", Write);
    put(&mut of_collection, kind, "delete", "deletecollection", Delete);
    let mut of_object = path_item(kind, true);
    put(&mut of_object, kind, "get", "get", Read);
    put(&mut of_object, kind, "put", "update", Write);
    put(&mut of_object, kind, "patch", "patch", Patch);
    put(&mut of_object, kind, "delete", "delete", Delete);
    out.insert(collection.clone(), Value::Object(of_collection));
    out.insert(format!("{collection}/{{name}}"), Value::Object(of_object));
    for name in kind.subresources {
        let sub = subresource(kind, name);
        // Those that take or give another kind have schemas that nobody asks for.
        if sub.kind != kind.kind {
            continue;
        }
        let mut item = path_item(kind, true);
        for (method, verb, form) in
            [("get", "get", Read), ("put", "update", Write), ("patch", "patch", Patch)]
        {
            if sub.verbs.contains(&verb) {
                item.insert(method.to_owned(), operation(kind, verb, form));
            }
        }
        out.insert(format!("{collection}/{{name}}/{name}"), Value::Object(item));
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Read,
    List,
    Write,
    Patch,
    Delete,
}

use Form::{Delete, List, Patch, Read, Write};

fn put(item: &mut Map<String, Value>, kind: &Kind, method: &str, verb: &str, form: Form) {
    if kind.verbs.contains(&verb) {
        item.insert(method.to_owned(), operation(kind, verb, form));
    }
}

fn path_item(kind: &Kind, named: bool) -> Map<String, Value> {
    let mut parameters = Vec::new();
    let mut parameter = |name: &str| {
        parameters.push(json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": {"type": "string", "uniqueItems": true},
        }));
    };
    if named {
        parameter("name");
    }
    if kind.namespaced {
        parameter("namespace");
    }
    let mut item = Map::new();
    item.insert("parameters".to_owned(), parameters.into());
    item
}

fn operation(kind: &Kind, verb: &str, form: Form) -> Value {
    let schema = |definition: &str| json!({"$ref": format!("{REF_PREFIX}{definition}")});
    let answer = match form {
        List => schema(&format!("{}List", kind.definition)),
        Delete => json!({"type": "object"}),
        _ => schema(kind.definition),
    };
    let mut operation = json!({
        "tags": [kind.api_version.replace('/', "_")],
        "operationId": format!("{verb}{}", kind.kind),
        "parameters": parameters(form),
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": answer}}},
        },
        "x-kubernetes-action": match verb { "update" => "put", "create" => "post", verb => verb },
        "x-kubernetes-group-version-kind":
            {"group": kind.group, "kind": kind.kind, "version": kind.version},
    });
    let content: Map<String, Value> = match form {
        Write => [("application/json".to_owned(), json!({"schema": schema(kind.definition)}))]
            .into_iter()
            .collect(),
        Patch => PatchType::MEDIA_TYPES
            .iter()
            // Custom resources have no merge keys of the kind that this patch needs.
            .filter(|media_type| !(kind.is_custom() && media_type.contains("strategic")))
            .map(|media_type| ((*media_type).to_owned(), json!({"schema": {"type": "object"}})))
            .collect(),
        _ => return operation,
    };
    operation["requestBody"] = json!({"content": content, "required": true});
    operation
}

fn parameters(form: Form) -> Value {
    let names: &[(&str, &str)] = match form {
        Read => &[],
        List => &[
            ("allowWatchBookmarks", "boolean"),
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("sendInitialEvents", "boolean"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ],
        Write => &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")],
        Patch => &[
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
            ("force", "boolean"),
        ],
        Delete => &[
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("propagationPolicy", "string"),
        ],
    };
    names
        .iter()
        .map(|(name, kind)| {
            json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
        })
        .collect()
}
