//! Strategic merge patch: a merge patch that merges the lists which have a merge key.
//!
//! The directives are `$patch: replace|delete|merge`, `$retainKeys`, `$deleteFromPrimitiveList/f` and
//! `$setElementOrder/f`.

use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::kinds::schema::{Merge, Schema, Shape, definitions};
use crate::status_error::StatusError;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

pub(super) fn apply(kind: &Kind, current: &Value, patch: &Value) -> Result<Value, StatusError> {
    let schema = definitions().named(kind.definition);
    let mut object = current.clone();
    merge_value(&mut object, patch, Some(schema))?;
    Ok(object)
}

/// The schema of a field; of a map's values where the object is a map.
fn field_schema(schema: Option<&'static Schema>, field: &str) -> Option<&'static Schema> {
    match definitions().resolve(schema?).0 {
        Shape::Object { fields, .. } => fields.get(field),
        Shape::Map(items) => Some(items),
        _ => None,
    }
}

fn item_schema(schema: Option<&'static Schema>) -> Option<&'static Schema> {
    match definitions().resolve(schema?).0 {
        Shape::List { items, .. } => Some(items),
        _ => None,
    }
}

fn merge_value(
    target: &mut Value,
    patch: &Value,
    schema: Option<&'static Schema>,
) -> Result<(), StatusError> {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            match target {
                Value::Object(target) => merge_object(target, patch, schema),
                _ => Ok(()),
            }
        }
        other => {
            *target = other.clone();
            Ok(())
        }
    }
}

fn merge_object(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    schema: Option<&'static Schema>,
) -> Result<(), StatusError> {
    match patch.get(PATCH) {
        None => {}
        Some(Value::String(directive)) => match directive.as_str() {
            "replace" => {
                *target = patch.clone();
                target.shift_remove(PATCH);
                return Ok(());
            }
            "delete" => {
                target.clear();
                return Ok(());
            }
            "merge" => {}
            other => return Err(bad(format!("unknown patch type found: {other}"))),
        },
        Some(_) => return Err(bad("$patch must be a string".to_owned())),
    }
    if let Some(keep) = patch.get(RETAIN_KEYS) {
        let keep = keep.as_array().ok_or_else(|| bad("$retainKeys must be a list".to_owned()))?;
        target.retain(|key, _| keep.iter().any(|one| one == key));
    }
    for (key, value) in patch {
        // What belongs to a list is done together with it.
        if key == PATCH || key == RETAIN_KEYS || is_directive(key) && !alone(key, patch) {
            continue;
        }
        let field = list_of_directive(key).unwrap_or(key);
        let inner = field_schema(schema, field);
        if field != key {
            merge_list(target, field, None, patch, inner)?;
            continue;
        }
        match value {
            Value::Null => {
                target.shift_remove(key);
            }
            Value::Array(items) => merge_list(target, key, Some(items), patch, inner)?,
            value => {
                let slot = target.entry(key.clone()).or_insert(Value::Null);
                merge_value(slot, value, inner)?;
                if value["$patch"] == "delete" {
                    target.shift_remove(key);
                }
            }
        }
    }
    Ok(())
}

fn is_directive(key: &str) -> bool {
    list_of_directive(key).is_some()
}

fn list_of_directive(key: &str) -> Option<&str> {
    key.strip_prefix(DELETE_FROM_LIST).or_else(|| key.strip_prefix(SET_ORDER))
}

/// Whether the directive is the first that the patch has for its list, and the list itself is not
/// in the patch.
fn alone(key: &str, patch: &Map<String, Value>) -> bool {
    let Some(field) = list_of_directive(key) else { return false };
    !patch.contains_key(field)
        && patch.keys().find(|one| list_of_directive(one) == Some(field)).is_some_and(|k| k == key)
}

fn merge_list(
    target: &mut Map<String, Value>,
    field: &str,
    items: Option<&Vec<Value>>,
    patch: &Map<String, Value>,
    schema: Option<&'static Schema>,
) -> Result<(), StatusError> {
    let items = items.map_or(&[][..], Vec::as_slice);
    let merge = schema.map_or(Merge::Usual, |schema| schema.merge);
    let removed = list_directive(patch, DELETE_FROM_LIST, field)?;
    let order = list_directive(patch, SET_ORDER, field)?;
    let current = match target.get_mut(field) {
        Some(Value::Array(list)) => std::mem::take(list),
        _ => Vec::new(),
    };
    let merged = match merge {
        Merge::ByKeys([key, ..]) | Merge::ByKeysRetainKeys([key, ..]) => {
            merge_by_key(current, items, order, key, item_schema(schema))?
        }
        Merge::Set => merge_set(current, items, removed, order),
        _ if removed.is_some() => merge_set(current, items, removed, order),
        _ => items.to_vec(),
    };
    target.insert(field.to_owned(), Value::Array(merged));
    Ok(())
}

fn list_directive<'a>(
    patch: &'a Map<String, Value>,
    prefix: &str,
    field: &str,
) -> Result<Option<&'a Vec<Value>>, StatusError> {
    match patch.get(&format!("{prefix}{field}")) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(_) => Err(bad(format!("{prefix}{field} must be a list"))),
    }
}

fn merge_set(
    mut current: Vec<Value>,
    items: &[Value],
    removed: Option<&Vec<Value>>,
    order: Option<&Vec<Value>>,
) -> Vec<Value> {
    if let Some(removed) = removed {
        current.retain(|item| !removed.contains(item));
    }
    let before = current.clone();
    for item in items {
        if !current.contains(item) {
            current.push(item.clone());
        }
    }
    match order {
        Some(order) => in_order(current, &before, order, |item| item.clone()),
        None => current,
    }
}

fn merge_by_key(
    mut current: Vec<Value>,
    items: &[Value],
    order: Option<&Vec<Value>>,
    key: &str,
    schema: Option<&'static Schema>,
) -> Result<Vec<Value>, StatusError> {
    if items.iter().any(|item| item[PATCH] == "replace") {
        return Ok(items.iter().filter(|item| item[PATCH] != "replace").cloned().collect());
    }
    let before = current.clone();
    for item in items {
        let id = &item[key];
        if id.is_null() {
            return Err(bad(format!("map: {item} does not contain declared merge key: {key}")));
        }
        if item[PATCH] == "delete" {
            current.retain(|one| one[key] != *id);
            continue;
        }
        match current.iter_mut().find(|one| one[key] == *id) {
            Some(one) => merge_value(one, item, schema)?,
            None => {
                // Merged into nothing, so that directives within do not end up in the object.
                let mut one = Value::Null;
                merge_value(&mut one, item, schema)?;
                current.push(one);
            }
        }
    }
    match order {
        Some(order) => {
            let ids: Vec<Value> = order.iter().map(|one| one[key].clone()).collect();
            Ok(in_order(current, &before, &ids, |item| item[key].clone()))
        }
        None => Ok(current),
    }
}

/// Puts the items that `order` names into that order, and the others between them where they stood
/// before.
fn in_order(
    items: Vec<Value>,
    before: &[Value],
    order: &[Value],
    id: impl Fn(&Value) -> Value,
) -> Vec<Value> {
    let place = |item: &Value| order.iter().position(|one| *one == id(item));
    let was = |item: &Value| before.iter().position(|one| id(one) == id(item));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(item).is_some());
    named.sort_by_cached_key(|item| place(item));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(next), Some(other)) = (named.peek(), others.peek()) {
        let other_first = match (was(other), was(next)) {
            (Some(other), Some(next)) => other <= next,
            (Some(_), None) => true,
            (None, _) => false,
        };
        out.extend(if other_first { others.next() } else { named.next() });
    }
    out.extend(named);
    out.extend(others);
    out
}

fn bad(why: String) -> StatusError {
    StatusError::bad_request(format!("invalid strategic merge patch: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn patched(current: Value, patch: Value) -> Value {
        apply(kinds::find("", "v1", "pods").unwrap(), &current, &patch).unwrap()
    }

    #[test]
    fn containers_are_merged_by_name() {
        let current = json!({"spec": {"containers": [
            {"name": "a", "image": "1", "args": ["x", "y"]}, {"name": "b", "image": "1"}]}});
        let patch = json!({"spec": {"containers": [
            {"name": "a", "image": "2", "args": ["z"]}, {"name": "c", "image": "3"}]}});
        assert_eq!(
            patched(current, patch),
            json!({"spec": {"containers": [
                {"name": "a", "image": "2", "args": ["z"]}, {"name": "b", "image": "1"},
                {"name": "c", "image": "3"}]}})
        );
    }

    #[test]
    fn directives_delete_and_replace() {
        let current = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}],
            "securityContext": {"runAsUser": 1}, "nodeSelector": {"a": "b", "c": "d"}}});
        let patch = json!({"spec": {
            "containers": [{"name": "a", "$patch": "delete"}],
            "securityContext": {"$patch": "replace", "runAsGroup": 2},
            "nodeSelector": {"a": null}}});
        assert_eq!(
            patched(current.clone(), patch),
            json!({"spec": {"containers": [{"name": "b"}], "securityContext": {"runAsGroup": 2},
                "nodeSelector": {"c": "d"}}})
        );
        let patch = json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "c"}]}});
        assert_eq!(patched(current, patch)["spec"]["containers"], json!([{"name": "c"}]));
    }

    #[test]
    fn a_volume_changes_its_source() {
        let current = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        let patch = json!({"spec": {"volumes": [
            {"name": "v", "configMap": {"name": "c"}, "$retainKeys": ["name", "configMap"]}]}});
        assert_eq!(
            patched(current, patch),
            json!({"spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}}]}})
        );
    }

    #[test]
    fn the_order_is_the_one_asked_for() {
        let current =
            json!({"spec": {"containers": [{"name": "a"}, {"name": "s"}, {"name": "b"}]}});
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "n"}, {"name": "a"}],
            "containers": [{"name": "n"}]}});
        let names: Vec<Value> = patched(current, patch)["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].clone())
            .collect();
        assert_eq!(names, ["s", "b", "n", "a"]);
    }

    #[test]
    fn finalizers_are_a_set() {
        let current = json!({"metadata": {"finalizers": ["a/a", "b/b"]}});
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"],
            "finalizers": ["b/b", "c/c"]}});
        assert_eq!(
            patched(current.clone(), patch)["metadata"]["finalizers"],
            json!(["b/b", "c/c"])
        );
        let alone = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"]}});
        assert_eq!(patched(current, alone), json!({"metadata": {"finalizers": ["b/b"]}}));
    }

    #[test]
    fn a_list_item_without_its_key_is_an_error() {
        let patch = json!({"spec": {"containers": [{"image": "a"}]}});
        let pods = kinds::find("", "v1", "pods").unwrap();
        assert_eq!(apply(pods, &json!({}), &patch).unwrap_err().code, 400);
    }
}
