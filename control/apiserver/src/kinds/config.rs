//! ConfigMap and Secret.

use serde_json::{Value, json};

use super::strategy::default_field;
use super::{ALL_VERBS, Kind, Strategy};
use crate::{table, validate};

pub(super) static CONFIG_MAP: Kind = Kind {
    group: "",
    version: "v1",
    api_version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    namespaced: true,
    categories: &[],
    subresources: &[],
    verbs: ALL_VERBS,
    field_selectors: &[],
    definition: "io.k8s.api.core.v1.ConfigMap",
    strategy: Strategy {
        validate: validate::config_map,
        validate_update: validate::config_map_update,
        ..Strategy::PLAIN
    },
    columns: table::CONFIG_MAP,
};

pub(super) static SECRET: Kind = Kind {
    group: "",
    version: "v1",
    api_version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    namespaced: true,
    categories: &[],
    subresources: &[],
    verbs: ALL_VERBS,
    field_selectors: &["type"],
    definition: "io.k8s.api.core.v1.Secret",
    strategy: Strategy {
        default: default_secret,
        prepare_create: fold_string_data,
        prepare_update: |new, _| fold_string_data(new),
        validate: validate::secret,
        validate_update: validate::secret_update,
        ..Strategy::PLAIN
    },
    columns: table::SECRET,
};

fn default_secret(secret: &mut Value) {
    default_field(secret, "type", "Opaque");
    fold_string_data(secret);
}

/// `stringData` is for writing only: it goes into `data` and is not kept.
fn fold_string_data(secret: &mut Value) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let Some(secret) = secret.as_object_mut() else { return };
    let Some(Value::Object(texts)) = secret.shift_remove("stringData") else { return };
    let data = secret.entry("data").or_insert_with(|| json!({}));
    if data.is_null() {
        *data = json!({});
    }
    for (key, text) in texts {
        if let (Some(text), Some(data)) = (text.as_str(), data.as_object_mut()) {
            data.insert(key, STANDARD.encode(text).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"data": {"a": "eA=="}, "stringData": {"b": "x"}});
        SECRET.default(&mut secret);
        assert_eq!(secret, json!({"data": {"a": "eA==", "b": "eA=="}, "type": "Opaque"}));
    }
}
