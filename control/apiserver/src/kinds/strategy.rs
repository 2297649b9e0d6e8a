//! The functions of a kind, and those that most kinds share.

use serde_json::{Map, Value};

use super::Kind;
use crate::validate::Errors;

/// How objects of a kind are treated on their way into the store.
pub(crate) struct Strategy {
    pub default: fn(&mut Value),
    pub prepare_create: fn(&mut Value),
    pub prepare_update: fn(&mut Value, &Value),
    pub prepare_status_update: fn(&mut Value, &Value),
    /// What holds for any object of the kind, new or changed.
    pub validate: fn(&Kind, &Value, &mut Errors),
    /// What holds between an object and its change.
    pub validate_update: fn(&Value, &Value, &mut Errors),
    pub validate_status: fn(&Value, &Value, &mut Errors),
}

impl Strategy {
    /// A kind whose objects are stored as they come.
    pub(crate) const PLAIN: Self = Self {
        default: |_| {},
        prepare_create: |_| {},
        prepare_update: |_, _| {},
        prepare_status_update: |_, _| {},
        validate: |_, _, _| {},
        validate_update: |_, _, _| {},
        validate_status: |_, _, _| {},
    };

    /// A kind with a status that is written by the subresource alone.
    pub(crate) const WITH_STATUS: Self = Self {
        prepare_create: drop_status,
        prepare_update: keep_status,
        prepare_status_update: keep_all_but_status,
        ..Self::PLAIN
    };
}

pub(crate) fn drop_status(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.shift_remove("status");
    }
}

pub(crate) fn keep_status(new: &mut Value, old: &Value) {
    if let Some(new) = new.as_object_mut() {
        carry_over(new, old, "status");
    }
}

/// Metadata may change with the status as Kubernetes lets it (labels and annotations included for
/// the nodes' own sake); everything else stays.
pub(crate) fn keep_all_but_status(new: &mut Value, old: &Value) {
    let Some(new) = new.as_object_mut() else { return };
    let Some(old_map) = old.as_object() else { return };
    new.retain(|key, _| old_map.contains_key(key) || key == "status");
    for key in old_map.keys() {
        if key != "status" && key != "metadata" {
            carry_over(new, old, key);
        }
    }
    if let (Some(metadata), Some(before)) =
        (new.get_mut("metadata").and_then(Value::as_object_mut), old.get("metadata"))
    {
        // A status writer may be behind in what its owners and finalizers are.
        for key in ["ownerReferences", "finalizers", "deletionTimestamp"] {
            carry_over(metadata, before, key);
        }
    }
}

/// Takes the field from `old`, also where it is missing there.
pub(crate) fn carry_over(new: &mut Map<String, Value>, old: &Value, key: &str) {
    match old.get(key) {
        Some(value) => {
            new.insert(key.to_owned(), value.clone());
        }
        None => {
            new.shift_remove(key);
        }
    }
}

/// Sets the field of an object where it is missing.
pub(crate) fn default_field(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut()
        && object.get(key).is_none_or(Value::is_null)
    {
        object.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_update_keeps_the_status_and_the_other_way_round() {
        let old = json!({"metadata": {"name": "a", "finalizers": ["f"]}, "spec": 1, "status": 1});
        let mut new = json!({"metadata": {"name": "a"}, "spec": 2, "status": 2});
        keep_status(&mut new, &old);
        assert_eq!(new, json!({"metadata": {"name": "a"}, "spec": 2, "status": 1}));

        let mut new = json!({"metadata": {"name": "a"}, "spec": 2, "status": 2, "x": 1});
        keep_all_but_status(&mut new, &old);
        let expected =
            json!({"metadata": {"name": "a", "finalizers": ["f"]}, "spec": 1, "status": 2});
        assert_eq!(new, expected);
    }
}
