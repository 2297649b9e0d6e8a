//! The schemas of the kinds: the full ones for OpenAPI, and a compact form to check objects by.
//!
//! Both come from the same source: `k8s-openapi` for the kinds of Kubernetes and `viaduct-api` for
//! ours. Only definitions that a served kind reaches are kept.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use viaduct_api::v1alpha1::{
    BGPConfigurationSpec, BGPPeerSpec, CustomResource, IPBlockSpec, IPPoolSpec, VIPPoolSpec,
};

use super::merge_keys;

pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const REF_PREFIX: &str = "#/components/schemas/";
/// What stands before the names of our own definitions.
const CUSTOM_PREFIX: &str = "dev.viaduct.v1alpha1.";

/// What a field may hold, without the prose.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub shape: Shape,
    pub default: Option<Value>,
    pub nullable: bool,
    pub merge: Merge,
}

#[derive(Debug, Default)]
pub(crate) enum Shape {
    Object {
        fields: BTreeMap<String, Schema>,
        required: Vec<String>,
    },
    Map(Box<Schema>),
    List {
        items: Box<Schema>,
        min_items: Option<u64>,
        max_items: Option<u64>,
    },
    String {
        /// `byte`, `date-time`; empty for plain text.
        format: String,
        /// The only texts allowed; any where empty.
        values: Vec<String>,
    },
    Integer {
        /// The type in Go, for errors: `int32`, `int64`.
        go_type: String,
        minimum: Option<i64>,
        maximum: Option<i64>,
    },
    Number,
    Boolean,
    IntOrString,
    Quantity,
    /// The name of another definition.
    Ref(String),
    #[default]
    Any,
}

/// How a list or object is merged by strategic merge patch and server-side apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Lists are replaced, objects merged.
    #[default]
    Usual,
    /// The list is one of scalars that form a set.
    Set,
    /// The list is one of objects told apart by the first of these keys in a strategic merge patch
    /// and by all of them in server-side apply.
    ByKeys(&'static [&'static str]),
    /// As `ByKeys`, and the fields of an item that the patch does not name in `$retainKeys` go: a
    /// volume has one source.
    ByKeysRetainKeys(&'static [&'static str]),
    /// Replaced as a whole, though it is an object.
    Atomic,
    /// An object of alternatives: its fields that a strategic merge patch does not name in
    /// `$retainKeys` go, and server-side apply replaces it.
    RetainKeys,
}

/// Every definition that is reached from a served kind, by its full name.
pub(crate) struct Definitions(BTreeMap<String, Schema>);

impl Definitions {
    /// The definition of a name, or one that allows anything.
    pub(crate) fn named(&self, name: &str) -> &Schema {
        static ANYTHING: Schema =
            Schema { shape: Shape::Any, default: None, nullable: false, merge: Merge::Usual };
        self.0.get(name).unwrap_or(&ANYTHING)
    }

    /// The shape of a schema, with a reference followed, and the name of the definition that the
    /// reference led to.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Schema) -> (&'a Shape, Option<&'a str>) {
        match &schema.shape {
            Shape::Ref(name) => (&self.named(name).shape, Some(name)),
            shape => (shape, None),
        }
    }
}

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| {
    let mut definitions: BTreeMap<String, Schema> =
        definitions_json().into_iter().map(|(name, json)| (name, compact(&json))).collect();
    for (definition, field, merge) in merge_keys::TABLE {
        if let Some(Schema { shape: Shape::Object { fields, .. }, .. }) =
            definitions.get_mut(*definition)
            && let Some(field) = fields.get_mut(*field)
        {
            field.merge = *merge;
        }
    }
    Definitions(definitions)
});

/// The compact definitions, made at the first use.
pub(crate) fn definitions() -> &'static Definitions {
    &DEFINITIONS
}

/// The definition of one of our specs.
pub(crate) fn spec_definition<T: CustomResource>() -> &'static Schema {
    definitions().named(&format!("{CUSTOM_PREFIX}{}", T::schema_name()))
}

/// Fills in the defaults that the schema of a custom resource states.
pub(crate) fn default_from_schema<T: CustomResource>(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec") {
        fill_defaults(spec, spec_definition::<T>());
    }
}

fn fill_defaults(value: &mut Value, schema: &Schema) {
    let (shape, _) = definitions().resolve(schema);
    match (shape, value) {
        (Shape::Object { fields, .. }, Value::Object(object)) => {
            for (name, field) in fields {
                if !object.contains_key(name)
                    && let Some(default) = &field.default
                {
                    object.insert(name.clone(), default.clone());
                }
                if let Some(inner) = object.get_mut(name) {
                    fill_defaults(inner, field);
                }
            }
        }
        (Shape::List { items, .. }, Value::Array(values)) => {
            values.iter_mut().for_each(|value| fill_defaults(value, items));
        }
        (Shape::Map(inner), Value::Object(object)) => {
            object.values_mut().for_each(|value| fill_defaults(value, inner));
        }
        _ => {}
    }
}

/// Every definition as OpenAPI 3.0 has it, by its full name, with the marks by which clients merge.
pub(crate) fn definitions_json() -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    generator.subschema_for::<ConfigMap>();
    generator.subschema_for::<Event>();
    generator.subschema_for::<Namespace>();
    generator.subschema_for::<Node>();
    generator.subschema_for::<Pod>();
    generator.subschema_for::<Secret>();
    generator.subschema_for::<Service>();
    generator.subschema_for::<ServiceAccount>();
    generator.subschema_for::<Deployment>();
    generator.subschema_for::<ReplicaSet>();
    generator.subschema_for::<Lease>();
    generator.subschema_for::<EndpointSlice>();
    generator.subschema_for::<PodDisruptionBudget>();
    generator.subschema_for::<PriorityClass>();
    generator.subschema_for::<ListMeta>();
    let custom = [
        custom::<BGPConfigurationSpec>(&mut generator),
        custom::<BGPPeerSpec>(&mut generator),
        custom::<IPBlockSpec>(&mut generator),
        custom::<IPPoolSpec>(&mut generator),
        custom::<VIPPoolSpec>(&mut generator),
    ];
    let mut definitions: Map<String, Value> = generator
        .take_definitions(true)
        .into_iter()
        .chain(custom)
        .map(|(name, mut schema)| {
            tidy(&mut schema);
            (full_name(&name), schema)
        })
        .collect();
    for kind in super::all() {
        if let Some(schema) = definitions.get_mut(kind.definition) {
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": kind.group, "kind": kind.kind, "version": kind.version}]);
            // Clients may leave the metadata out where a name is not needed.
            if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
                required.retain(|field| field != "metadata");
            }
        }
    }
    for (definition, field, merge) in merge_keys::TABLE {
        if let Some(schema) = definitions
            .get_mut(*definition)
            .and_then(|schema| schema.get_mut("properties")?.get_mut(*field))
        {
            merge_keys::mark(schema, *merge);
        }
    }
    definitions
}

/// The definition of one of our kinds around its spec.
fn custom<T: CustomResource>(generator: &mut SchemaGenerator) -> (String, Value) {
    let spec = generator.subschema_for::<T>();
    let metadata = generator.subschema_for::<ObjectMeta>();
    let about = "The versioned schema of this representation of an object.";
    let schema = json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": about},
            "kind": {"type": "string", "description": "The kind of the object."},
            "metadata": {"allOf": [metadata], "description": "Standard object's metadata."},
            "spec": {"allOf": [spec], "description": "What is wished for."},
        },
    });
    (T::KIND.to_owned(), schema)
}

fn full_name(name: &str) -> String {
    if name.starts_with("io.k8s.") { name.to_owned() } else { format!("{CUSTOM_PREFIX}{name}") }
}

/// Turns what `schemars` writes into what Kubernetes' clients read: references by full name, a
/// reference with neighbours under `allOf`, one list of values for an enumeration.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref")
                && let Some(name) = target.strip_prefix(REF_PREFIX)
            {
                *target = format!("{REF_PREFIX}{}", full_name(name));
            }
            if let Some(values) = enumerated(map) {
                map.shift_remove("oneOf");
                map.insert("type".to_owned(), "string".into());
                map.insert("enum".to_owned(), values);
            }
            // `anyOf: [X, null]` is how an optional X is written that is a definition by itself.
            if let Some(any) = map.get_mut("anyOf").and_then(Value::as_array_mut) {
                let before = any.len();
                any.retain(|one| one["enum"] != json!([null]));
                if any.len() < before {
                    map.insert("nullable".to_owned(), true.into());
                }
            }
            if let Some(one) = map.get("anyOf").and_then(Value::as_array)
                && one.len() == 1
                && let Some(one) = map.shift_remove("anyOf")
            {
                map.insert("allOf".to_owned(), one);
            }
            map.shift_remove("title");
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The values of `oneOf: [{enum: [A]}, {enum: [B]}]`.
fn enumerated(schema: &Map<String, Value>) -> Option<Value> {
    let mut values = Vec::new();
    for variant in schema.get("oneOf")?.as_array()? {
        values.extend(variant.get("enum")?.as_array()?.iter().cloned());
    }
    Some(Value::Array(values))
}

fn compact(json: &Value) -> Schema {
    Schema {
        shape: shape(json),
        default: json.get("default").filter(|value| !value.is_null()).cloned(),
        nullable: json["nullable"] == true,
        merge: Merge::Usual,
    }
}

fn shape(json: &Value) -> Shape {
    let reference = json["$ref"].as_str().or_else(|| json["allOf"][0]["$ref"].as_str());
    if let Some(target) = reference {
        let name = target.strip_prefix(REF_PREFIX).unwrap_or(target);
        return if name == QUANTITY { Shape::Quantity } else { Shape::Ref(name.to_owned()) };
    }
    if json["x-kubernetes-int-or-string"] == true {
        return Shape::IntOrString;
    }
    let texts = |field: &str| -> Vec<String> {
        let values = json[field].as_array().into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let format = json["format"].as_str().unwrap_or_default();
    match json["type"].as_str().unwrap_or_default() {
        "object" => {
            if let Some(fields) = json["properties"].as_object() {
                let fields =
                    fields.iter().map(|(name, field)| (name.clone(), compact(field))).collect();
                Shape::Object { fields, required: texts("required") }
            } else if json["additionalProperties"].is_object() {
                Shape::Map(Box::new(compact(&json["additionalProperties"])))
            } else {
                Shape::Any
            }
        }
        "array" => Shape::List {
            items: Box::new(compact(&json["items"])),
            min_items: json["minItems"].as_u64(),
            max_items: json["maxItems"].as_u64(),
        },
        "string" => Shape::String { format: format.to_owned(), values: texts("enum") },
        "integer" => Shape::Integer {
            go_type: if format.is_empty() { "int64".to_owned() } else { format.to_owned() },
            minimum: json["minimum"].as_i64(),
            maximum: json["maximum"].as_i64(),
        },
        "number" => Shape::Number,
        "boolean" => Shape::Boolean,
        _ => Shape::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_definition() {
        for kind in crate::kinds::all() {
            let schema = definitions().named(kind.definition);
            assert!(matches!(schema.shape, Shape::Object { .. }), "{}", kind.definition);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, all: &Map<String, Value>) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(target)) = map.get("$ref") {
                        let name = target.strip_prefix(REF_PREFIX).unwrap();
                        assert!(all.contains_key(name), "{name}");
                    }
                    map.values().for_each(|value| check(value, all));
                }
                Value::Array(items) => items.iter().for_each(|item| check(item, all)),
                _ => {}
            }
        }
        let all = definitions_json();
        all.values().for_each(|schema| check(schema, &all));
    }

    #[test]
    fn every_merge_key_marks_a_field() {
        let all = definitions_json();
        for (definition, field, _) in merge_keys::TABLE {
            assert!(all[*definition]["properties"].get(*field).is_some(), "{definition}.{field}");
        }
    }

    #[test]
    fn enumerations_and_ranges_survive() {
        let schema = spec_definition::<BGPPeerSpec>();
        let Shape::Object { fields, required } = &schema.shape else { panic!("{schema:?}") };
        // A neighbour says it, a range of them need not.
        assert!(required.is_empty(), "{required:?}");
        let asn = &fields["asn"].shape;
        assert!(matches!(asn, Shape::Integer { minimum: Some(1), .. }), "{asn:?}");
        assert_eq!(fields["port"].default, Some(json!(179)));
        assert!(fields["import"].nullable);
        let rule = definitions().named("dev.viaduct.v1alpha1.PolicyRule");
        let Shape::Object { fields, .. } = &rule.shape else { panic!("{rule:?}") };
        let (action, _) = definitions().resolve(&fields["action"]);
        assert!(
            matches!(action, Shape::String { values, .. } if values == &["Accept", "Reject", "Continue"]),
            "{action:?}"
        );
    }
}
