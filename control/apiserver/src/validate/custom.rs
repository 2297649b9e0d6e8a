//! Our own kinds: by their schema, as an API server checks a custom resource, and then by the type
//! itself, which knows more than a schema can say.

use serde_json::Value;
use viaduct_api::v1alpha1::{CustomResource, Fault};

use super::field_error::{Errors, Path};
use crate::kinds::Kind;
use crate::kinds::schema::{Schema, Shape, definitions, spec_definition};

pub(crate) fn custom<T: CustomResource>(_: &Kind, object: &Value, errors: &mut Errors) {
    let before = errors.0.len();
    let path = Path::root("spec");
    let spec = &object["spec"];
    if spec.is_null() {
        return errors.required(&path, "");
    }
    check(spec, spec_definition::<T>(), &path, errors);
    // A value of the wrong type would only be told twice.
    if errors.0.len() > before {
        return;
    }
    match T::deserialize(spec) {
        Err(error) => errors.invalid(&path, spec.clone(), &error.to_string()),
        Ok(typed) => {
            for Fault { field, missing, problem } in typed.faults() {
                let path = path.child(field);
                if missing {
                    errors.required(&path, &problem);
                } else {
                    errors.invalid(&path, spec[field].clone(), &problem);
                }
            }
        }
    }
}

fn check(value: &Value, schema: &'static Schema, path: &Path<'_>, errors: &mut Errors) {
    if value.is_null() && schema.nullable {
        return;
    }
    match (definitions().resolve(schema).0, value) {
        (Shape::Object { fields, required }, Value::Object(object)) => {
            for name in required {
                if object.get(name).is_none_or(Value::is_null) {
                    errors.required(&path.child(name), "");
                }
            }
            for (name, value) in object {
                if let Some(field) = fields.get(name)
                    && !(value.is_null() && required.contains(name))
                {
                    check(value, field, &path.child(name), errors);
                }
            }
        }
        (Shape::Map(items), Value::Object(object)) => {
            for (key, value) in object {
                check(value, items, &path.child(key), errors);
            }
        }
        (Shape::List { items, min_items, max_items }, Value::Array(list)) => {
            let count = list.len();
            if let Some(min) = min_items.filter(|min| (count as u64) < *min) {
                let why = format!("{path} in body should have at least {min} items");
                errors.invalid(path, count, &why);
            }
            if let Some(max) = max_items.and_then(|max| usize::try_from(max).ok())
                && count > max
            {
                return errors.too_many(path, count, max);
            }
            for (index, value) in list.iter().enumerate() {
                check(value, items, &path.index(index), errors);
            }
        }
        (Shape::String { values, .. }, Value::String(text)) => {
            if !values.is_empty() && !values.contains(text) {
                let known: Vec<&str> = values.iter().map(String::as_str).collect();
                errors.not_supported(path, text.as_str(), &known);
            }
        }
        (Shape::Integer { minimum, maximum, .. }, Value::Number(number))
            if number.is_i64() || number.is_u64() =>
        {
            let number = number.as_i128().unwrap_or_default();
            let out_of_range = match (minimum, maximum) {
                (Some(min), _) if number < i128::from(*min) => {
                    Some(format!("greater than or equal to {min}"))
                }
                (_, Some(max)) if number > i128::from(*max) => {
                    Some(format!("less than or equal to {max}"))
                }
                _ => None,
            };
            if let Some(bound) = out_of_range {
                errors.invalid(path, value.clone(), &format!("{path} in body should be {bound}"));
            }
        }
        (Shape::Boolean, Value::Bool(_))
        | (Shape::Number, Value::Number(_))
        | (Shape::IntOrString, Value::String(_) | Value::Number(_))
        | (Shape::Quantity | Shape::Any | Shape::Ref(_), _) => {}
        (shape, value) => {
            let (wanted, got) = (type_of(shape), type_of_value(value));
            let why = format!("{path} in body must be of type {wanted}: \"{got}\"");
            errors.type_invalid(path, got, &why);
        }
    }
}

fn type_of(shape: &Shape) -> &'static str {
    match shape {
        Shape::Object { .. } | Shape::Map(_) => "object",
        Shape::List { .. } => "array",
        Shape::String { .. } | Shape::Quantity => "string",
        Shape::Integer { .. } => "integer",
        Shape::Number => "number",
        Shape::Boolean => "boolean",
        Shape::IntOrString => "integer,string",
        Shape::Ref(_) | Shape::Any => "any",
    }
}

fn type_of_value(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::kinds;

    fn problems(plural: &str, spec: serde_json::Value) -> Vec<String> {
        let kind = kinds::find("viaduct.dev", "v1alpha1", plural).unwrap();
        let mut object = json!({"metadata": {"name": "a"}, "spec": spec});
        kind.default(&mut object);
        kind.validate_create(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_one_is_taken() {
        let peer = json!({"address": "192.0.2.1", "asn": 64512,
            "import": {"rules": [{"action": "Accept"}]}});
        assert_eq!(problems("bgppeers", peer), Vec::<String>::new());
        let pool = json!({"cidr": "fd00:10:244::/48"});
        assert_eq!(problems("ippools", pool), Vec::<String>::new());
    }

    #[test]
    fn the_schema_is_enforced() {
        for (plural, spec, expected) in [
            ("ippools", json!({}), "spec.cidr: Required value"),
            (
                "bgppeers",
                json!({"address": "192.0.2.1", "asn": 0}),
                "spec.asn: Invalid value: 0: spec.asn in body should be greater than or equal to 1",
            ),
            (
                "bgppeers",
                json!({"address": "192.0.2.1", "asn": "x"}),
                "spec.asn: Invalid value: \"string\": spec.asn in body must be of type integer: \
                 \"string\"",
            ),
            (
                "bgppeers",
                json!({"address": "192.0.2.1", "asn": 1,
                    "export": {"rules": [{"action": "Maybe"}]}}),
                "spec.export.rules[0].action: Unsupported value: \"Maybe\": supported values: \
                 \"Accept\", \"Reject\", \"Continue\"",
            ),
            (
                "bgpconfigurations",
                json!({"asn": 1, "gracefulRestartSeconds": 5000}),
                "spec.gracefulRestartSeconds: Invalid value: 5000: spec.gracefulRestartSeconds in \
                 body should be less than or equal to 4095",
            ),
            (
                "vippools",
                json!({"cidrs": []}),
                "spec.cidrs: Invalid value: 0: spec.cidrs in body should have at least 1 items",
            ),
        ] {
            assert_eq!(problems(plural, spec), [expected]);
        }
    }

    #[test]
    fn a_neighbour_is_in_one_place_and_in_some_as() {
        for (spec, expected) in [
            (json!({"asn": 1}), "spec.address: Required value: or interface, or addressRange"),
            (json!({"address": "192.0.2.1"}), "spec.asn: Required value"),
            (
                json!({"address": "192.0.2.1", "asn": 1, "interface": "eth0"}),
                "spec.interface: Invalid value: \"eth0\": stands beside address",
            ),
            (
                json!({"addressRange": "192.0.2.0/24"}),
                "spec.asn: Required value: or rangeAsns, or rangeKind",
            ),
            (
                json!({"addressRange": "192.0.2.0/24", "asn": 1, "rangeKind": "External"}),
                "spec.rangeKind: Invalid value: \"External\": stands beside asn",
            ),
        ] {
            assert_eq!(problems("bgppeers", spec), [expected]);
        }
        // All that is wrong is said at once.
        let lost = json!({"interface": "eth0", "addressRange": "192.0.2.0/24",
            "address": "192.0.2.1", "rangeAsns": [1], "rangeKind": "External"});
        assert_eq!(problems("bgppeers", lost).len(), 3);
        let ranged = json!({"address": "192.0.2.1", "rangeAsns": [1], "rangeKind": "External"});
        assert_eq!(problems("bgppeers", ranged).len(), 3);
        let range = json!({"addressRange": "192.0.2.0/24", "rangeKind": "External"});
        assert_eq!(problems("bgppeers", range), Vec::<String>::new());
    }

    #[test]
    fn the_type_knows_more_than_the_schema() {
        let found = problems("ippools", json!({"cidr": "10.0.0.0/33"}));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("spec: Invalid value: {\"cidr\":"), "{found:?}");
    }
}
