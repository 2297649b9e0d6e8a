//! Server-side apply: the client sends what it wants, lists are merged by their keys, the rest
//! stays.
//!
//! Who owns which field is not tracked: nothing conflicts, and a field that leaves the client's
//! configuration stays in the object until somebody removes it.

use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::kinds::schema::{Merge, Schema, Shape, definitions};
use crate::status_error::StatusError;

pub(super) fn apply(kind: &Kind, current: &Value, patch: &[u8]) -> Result<Value, StatusError> {
    // JSON is YAML, and clients send either under the one media type.
    let wanted = crate::yaml::parse(patch)
        .map_err(|error| StatusError::bad_request(format!("error decoding YAML: {error}")))?;
    if !wanted.is_object() {
        return Err(StatusError::bad_request("error decoding YAML: the patch must be an object"));
    }
    for (field, expected) in [("apiVersion", kind.api_version), ("kind", kind.kind)] {
        if wanted[field] != expected {
            return Err(StatusError::bad_request(format!(
                "Incorrect version specified in apply patch. Specified patch {field}: {}, expected: \
                 {expected}",
                wanted[field].as_str().unwrap_or_default()
            )));
        }
    }
    if wanted["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(StatusError::bad_request("metadata.managedFields must be nil"));
    }
    super::check_lists(current, &wanted)?;
    let mut object = if current.is_null() { Value::Object(Map::new()) } else { current.clone() };
    merge(&mut object, &wanted, Some(definitions().named(kind.definition)));
    Ok(object)
}

fn merge(target: &mut Value, wanted: &Value, schema: Option<&'static Schema>) {
    let merge_as = schema.map_or(Merge::Usual, |schema| schema.merge);
    let shape = schema.map(|schema| definitions().resolve(schema).0);
    match (wanted, merge_as) {
        (Value::Object(_), Merge::Atomic | Merge::RetainKeys) => *target = wanted.clone(),
        (Value::Object(wanted), _) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            let Value::Object(target) = target else { return };
            for (key, value) in wanted {
                let inner = match shape {
                    Some(Shape::Object { fields, .. }) => fields.get(key),
                    Some(Shape::Map(items)) => Some(&**items),
                    _ => None,
                };
                if value.is_null() {
                    target.shift_remove(key);
                } else {
                    merge(target.entry(key.clone()).or_insert(Value::Null), value, inner);
                }
            }
        }
        (Value::Array(wanted), Merge::ByKeys(keys) | Merge::ByKeysRetainKeys(keys)) => {
            let item = match shape {
                Some(Shape::List { items, .. }) => Some(&**items),
                _ => None,
            };
            merge_by_keys(target, wanted, keys, item);
        }
        (Value::Array(wanted), Merge::Set) => {
            let mut items = target.as_array().cloned().unwrap_or_default();
            for item in wanted {
                if !items.contains(item) {
                    items.push(item.clone());
                }
            }
            *target = Value::Array(items);
        }
        _ => *target = wanted.clone(),
    }
}

fn merge_by_keys(
    target: &mut Value,
    wanted: &[Value],
    keys: &[&str],
    schema: Option<&'static Schema>,
) {
    let mut items = target.as_array().cloned().unwrap_or_default();
    for item in wanted {
        match items
            .iter_mut()
            .find(|one| keys.iter().all(|key| key_of(one, key) == key_of(item, key)))
        {
            Some(one) => merge(one, item, schema),
            None => items.push(item.clone()),
        }
    }
    *target = Value::Array(items);
}

/// The key of a list item; a protocol that is not said is TCP before defaulting as after.
fn key_of(item: &Value, key: &str) -> Value {
    match &item[key] {
        Value::Null if key == "protocol" => "TCP".into(),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    #[test]
    fn lists_are_merged_by_all_their_keys() {
        let services = kinds::find("", "v1", "services").unwrap();
        let current = json!({"spec": {"type": "ClusterIP", "selector": {"a": "b"}, "ports": [
            {"port": 53, "protocol": "TCP", "targetPort": 53}]}});
        let patch = br#"{"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"c": "d"},
            "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "targetPort": 54}]}}"#;
        let object = apply(services, &current, patch).unwrap();
        assert_eq!(
            object["spec"],
            json!({"type": "ClusterIP", "selector": {"c": "d"}, "ports": [
                {"port": 53, "protocol": "TCP", "targetPort": 54},
                {"port": 53, "protocol": "UDP"}]})
        );
    }

    #[test]
    fn it_makes_what_is_not_there() {
        let maps = kinds::find("", "v1", "configmaps").unwrap();
        let patch = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata: {x: y}\n";
        let object = apply(maps, &Value::Null, patch).unwrap();
        assert_eq!(object["data"], json!({"x": "y"}));
        let other = b"apiVersion: v1\nkind: Secret\n";
        assert_eq!(apply(maps, &Value::Null, other).unwrap_err().code, 400);
    }
}
