//! PriorityClass.

use serde_json::Value;

use super::field_error::{Errors, Path};
use super::preemption_policy;
use crate::kinds::{Kind, SYSTEM_CLASSES};
use crate::object;

const SYSTEM_PREFIX: &str = "system-";
/// Above it are the classes of the cluster itself.
const HIGHEST_OF_USERS: i64 = 1_000_000_000;

pub(crate) fn priority_class(_: &Kind, class: &Value, errors: &mut Errors) {
    let name = object::name(class);
    let value = class["value"].as_i64().unwrap_or_default();
    if name.starts_with(SYSTEM_PREFIX) {
        if let Some(why) = not_of_the_system(name, value, class["globalDefault"] == true) {
            let why = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use \
                 only. error: {why}"
            );
            errors.forbidden(&Path::root("metadata").child("name"), &why);
        }
    } else if value > HIGHEST_OF_USERS {
        let why = format!("maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}");
        errors.forbidden(&Path::root("value"), &why);
    }
    preemption_policy(&class["preemptionPolicy"], &Path::root("preemptionPolicy"), errors);
}

fn not_of_the_system(name: &str, value: i64, default: bool) -> Option<String> {
    match SYSTEM_CLASSES.iter().find(|(known, ..)| *known == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, known, _)) if *known != value => {
            Some(format!("value of {name} PriorityClass must be {known}"))
        }
        Some(_) if default => Some(format!("globalDefault of {name} PriorityClass must be false")),
        Some(_) => None,
    }
}

pub(crate) fn priority_class_update(new: &Value, old: &Value, errors: &mut Errors) {
    if new["value"] != old["value"] {
        errors.forbidden(&Path::root("value"), "may not be changed in an update.");
    }
    if new["preemptionPolicy"] != old["preemptionPolicy"] {
        let value = new["preemptionPolicy"].clone();
        errors.invalid(&Path::root("preemptionPolicy"), value, "field is immutable");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn class(name: &str, value: i64) -> Value {
        json!({"metadata": {"name": name}, "value": value,
            "preemptionPolicy": "PreemptLowerPriority"})
    }

    fn problems(class: &Value) -> Vec<String> {
        let kind = kinds::find("scheduling.k8s.io", "v1", "priorityclasses").unwrap();
        kind.validate_create(class).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn high_values_are_the_systems() {
        let none = Vec::<String>::new();
        assert_eq!(problems(&class("high", 1_000_000_000)), none);
        assert_eq!(problems(&class("low", -5)), none);
        assert_eq!(problems(&class("system-node-critical", 2_000_001_000)), none);
        assert_eq!(
            problems(&class("high", 1_000_000_001)),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
        );
        assert_eq!(
            problems(&class("system-x", 1)),
            ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved \
              for system use only. error: system-x is not a known system priority class"]
        );
        assert_eq!(
            problems(&class("system-node-critical", 1)),
            ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved \
              for system use only. error: value of system-node-critical PriorityClass must be \
              2000001000"]
        );
    }

    #[test]
    fn a_value_stays() {
        let kind = kinds::find("scheduling.k8s.io", "v1", "priorityclasses").unwrap();
        let mut new = class("a", 2);
        new["preemptionPolicy"] = json!("Never");
        let errors = kind.validate_update(&new, &class("a", 1));
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "value: Forbidden: may not be changed in an update.",
                "preemptionPolicy: Invalid value: \"Never\": field is immutable",
            ]
        );
    }
}
