//! A container's environment and command line, resolved against what they refer to.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvFromSource, EnvVarSource, ObjectFieldSelector, Pod,
    ResourceFieldSelector, Secret,
};

use crate::quantity;

mod services;

pub(crate) use services::of_services;

/// What a pod may refer to, fetched before.
#[derive(Clone, Debug, Default)]
pub(crate) struct References {
    pub(crate) config_maps: BTreeMap<String, ConfigMap>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// Variables that lead to services; `None` while they are not known.
    pub(crate) services: Option<BTreeMap<String, String>>,
}

/// What the downward API tells of where the pod is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Downward {
    pub(crate) node_name: String,
    pub(crate) node_addresses: Vec<IpAddr>,
    pub(crate) pod_addresses: Vec<IpAddr>,
    pub(crate) cpu_capacity_millis: u64,
    pub(crate) memory_capacity_bytes: u64,
}

/// A reference that leads nowhere: the container waits with `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EnvError {
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    #[error("couldn't find key {key} in ConfigMap {name}")]
    NoConfigMapKey { name: String, key: String },
    #[error("secret {0:?} not found")]
    NoSecret(String),
    #[error("couldn't find key {key} in Secret {name}")]
    NoSecretKey { name: String, key: String },
    #[error("field {0:?} is not supported")]
    Field(String),
    #[error("environment variable {0} refers to nothing that is supported")]
    Source(String),
    #[error("value of {0} is no text")]
    NotText(String),
}

/// The container's variables by name. The later of two wins, as the last of a list does.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    references: &References,
    downward: &Downward,
) -> Result<BTreeMap<String, String>, EnvError> {
    // Whatever the pod says goes before them.
    let mut variables = references.services.clone().unwrap_or_default();
    for source in container.env_from.iter().flatten() {
        import_all(source, references, &mut variables)?;
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &variables)),
            (None, Some(source)) => {
                resolve(&variable.name, source, pod, container, references, downward)?
            }
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

fn import_all(
    source: &EnvFromSource,
    references: &References,
    variables: &mut BTreeMap<String, String>,
) -> Result<(), EnvError> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    if let Some(reference) = &source.config_map_ref {
        match references.config_maps.get(&reference.name) {
            Some(map) => {
                for (key, value) in map.data.iter().flatten() {
                    variables.insert(format!("{prefix}{key}"), value.clone());
                }
            }
            None if reference.optional == Some(true) => {}
            None => return Err(EnvError::NoConfigMap(reference.name.clone())),
        }
    }
    if let Some(reference) = &source.secret_ref {
        match references.secrets.get(&reference.name) {
            Some(secret) => {
                for (key, value) in secret.data.iter().flatten() {
                    let name = format!("{prefix}{key}");
                    let value = text(&name, &value.0)?;
                    variables.insert(name, value);
                }
            }
            None if reference.optional == Some(true) => {}
            None => return Err(EnvError::NoSecret(reference.name.clone())),
        }
    }
    Ok(())
}

fn text(name: &str, bytes: &[u8]) -> Result<String, EnvError> {
    match std::str::from_utf8(bytes) {
        Ok(value) if !value.contains('\0') => Ok(value.to_owned()),
        _ => Err(EnvError::NotText(name.to_owned())),
    }
}

/// `None` where an optional reference leads nowhere.
fn resolve(
    name: &str,
    source: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    references: &References,
    downward: &Downward,
) -> Result<Option<String>, EnvError> {
    if let Some(selector) = &source.config_map_key_ref {
        let optional = selector.optional == Some(true);
        let Some(map) = references.config_maps.get(&selector.name) else {
            return absent(optional, EnvError::NoConfigMap(selector.name.clone()));
        };
        return match map.data.as_ref().and_then(|data| data.get(&selector.key)) {
            Some(value) => Ok(Some(value.clone())),
            None => {
                let (name, key) = (selector.name.clone(), selector.key.clone());
                absent(optional, EnvError::NoConfigMapKey { name, key })
            }
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let optional = selector.optional == Some(true);
        let Some(secret) = references.secrets.get(&selector.name) else {
            return absent(optional, EnvError::NoSecret(selector.name.clone()));
        };
        return match secret.data.as_ref().and_then(|data| data.get(&selector.key)) {
            Some(value) => text(name, &value.0).map(Some),
            None => {
                let (name, key) = (selector.name.clone(), selector.key.clone());
                absent(optional, EnvError::NoSecretKey { name, key })
            }
        };
    }
    if let Some(selector) = &source.field_ref {
        return field(selector, pod, downward).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return resource(selector, pod, container, downward).map(Some);
    }
    Err(EnvError::Source(name.to_owned()))
}

fn absent(optional: bool, error: EnvError) -> Result<Option<String>, EnvError> {
    if optional { Ok(None) } else { Err(error) }
}

/// A field of the pod, by the path that the downward API has for it.
pub(crate) fn field(
    selector: &ObjectFieldSelector,
    pod: &Pod,
    downward: &Downward,
) -> Result<String, EnvError> {
    let path = selector.field_path.as_str();
    let metadata = &pod.metadata;
    let join = |addresses: &[IpAddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let first =
        |addresses: &[IpAddr]| addresses.first().map(ToString::to_string).unwrap_or_default();
    let account = || pod.spec.as_ref().and_then(|s| s.service_account_name.clone());
    Ok(match path {
        "metadata.name" => metadata.name.clone().unwrap_or_default(),
        "metadata.namespace" => metadata.namespace.clone().unwrap_or_default(),
        "metadata.uid" => metadata.uid.clone().unwrap_or_default(),
        "metadata.labels" => list(metadata.labels.as_ref()),
        "metadata.annotations" => list(metadata.annotations.as_ref()),
        "spec.nodeName" => downward.node_name.clone(),
        "spec.serviceAccountName" => account().unwrap_or_default(),
        "status.hostIP" => first(&downward.node_addresses),
        "status.hostIPs" => join(&downward.node_addresses),
        "status.podIP" => first(&downward.pod_addresses),
        "status.podIPs" => join(&downward.pod_addresses),
        _ => {
            let of = |prefix: &str, map: Option<&BTreeMap<String, String>>| {
                let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
                Some(map.and_then(|m| m.get(key)).cloned().unwrap_or_default())
            };
            of("metadata.labels['", metadata.labels.as_ref())
                .or_else(|| of("metadata.annotations['", metadata.annotations.as_ref()))
                .ok_or_else(|| EnvError::Field(path.to_owned()))?
        }
    })
}

/// One `key="value"` to a line.
fn list(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect();
    lines.join("\n")
}

/// Requests and limits, in units of the divisor, rounded up. A limit that is not set is what the
/// node has.
pub(crate) fn resource(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    container: &Container,
    downward: &Downward,
) -> Result<String, EnvError> {
    let of_name = selector.container_name.as_deref();
    let chosen = pod
        .spec
        .iter()
        .flat_map(|s| &s.containers)
        .find(|c| Some(c.name.as_str()) == of_name)
        .unwrap_or(container);
    let amounts = quantity::Amounts::of(chosen.resources.as_ref());
    let (value, is_cpu) = match selector.resource.as_str() {
        "limits.cpu" => (amounts.cpu_limit_millis.unwrap_or(downward.cpu_capacity_millis), true),
        "requests.cpu" => (amounts.cpu_request_millis.unwrap_or(0), true),
        "limits.memory" => {
            (amounts.memory_limit_bytes.unwrap_or(downward.memory_capacity_bytes), false)
        }
        "requests.memory" => (amounts.memory_request_bytes.unwrap_or(0), false),
        other => return Err(EnvError::Field(other.to_owned())),
    };
    let divisor = selector.divisor.as_ref().filter(|q| q.0 != "0" && !q.0.is_empty());
    let divisor = match (divisor, is_cpu) {
        (Some(quantity), true) => quantity::millis(quantity),
        (Some(quantity), false) => quantity::units(quantity),
        (None, true) => Some(1000),
        (None, false) => Some(1),
    };
    match divisor {
        Some(divisor) if divisor > 0 => Ok(value.div_ceil(divisor).to_string()),
        _ => Err(EnvError::Field(format!("divisor of {}", selector.resource))),
    }
}

/// `$(NAME)` becomes the value of NAME, `$$` a dollar; a name that is not known stays as it is.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
