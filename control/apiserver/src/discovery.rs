//! Discovery: which groups, versions and resources there are, in every form clients ask for.
//!
//! Everything follows from the registry of kinds, so each document is made once and kept as bytes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::kinds::{self, Kind};
use crate::status_error::StatusError;

/// A document that never changes while the server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub content_type: &'static str,
    pub body: Bytes,
    /// For the `ETag` header, in quotes.
    pub etag: Option<String>,
}

const JSON: &str = "application/json";
const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// The document at `/api`, `/apis` or below, in the first form of the `accept` header that we
/// have; `None` where the path is no path of discovery.
///
/// # Errors
/// 406 where the header allows no form that we have.
pub(crate) fn discovery(path: &str, accept: &str) -> Option<Result<Document, StatusError>> {
    let path = path.trim_end_matches('/');
    let forms: &[&'static str] =
        if matches!(path, "/api" | "/apis") { &[V2, V2BETA1, JSON] } else { &[JSON] };
    if !DOCUMENTS.contains_key(&(path.to_owned(), JSON)) {
        return None;
    }
    let Some(content_type) = negotiated(accept, forms) else {
        return Some(Err(StatusError::not_acceptable(forms)));
    };
    let body = DOCUMENTS.get(&(path.to_owned(), content_type))?.clone();
    Some(Ok(Document { content_type, body, etag: None }))
}

/// The first clause of the header that names one of the forms; its order rules.
fn negotiated(accept: &str, forms: &[&'static str]) -> Option<&'static str> {
    if accept.trim().is_empty() {
        return Some(JSON);
    }
    accept.split(',').find_map(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        let media_type = parts.next()?.to_ascii_lowercase();
        if !matches!(media_type.as_str(), "application/json" | "application/*" | "*/*") {
            return None;
        }
        let (mut group, mut version, mut form) = ("", "", "");
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("g", value)) => group = value,
                Some(("v", value)) => version = value,
                Some(("as", value)) => form = value,
                _ => {}
            }
        }
        let wanted = match (group, version, form) {
            ("", "", "") => JSON,
            ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList") => V2,
            ("apidiscovery.k8s.io", "v2beta1", "APIGroupDiscoveryList") => V2BETA1,
            _ => return None,
        };
        forms.contains(&wanted).then_some(wanted)
    })
}

/// Path and form of every document.
type Documents = BTreeMap<(String, &'static str), Bytes>;

static DOCUMENTS: LazyLock<Documents> = LazyLock::new(|| {
    let mut documents = Documents::new();
    let mut put = |path: &str, form: &'static str, value: &Value| {
        documents.insert((path.to_owned(), form), Bytes::from(value.to_string()));
    };
    put(
        "/api",
        JSON,
        &json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": []}),
    );
    put("/apis", JSON, &group_list());
    for (form, version) in
        [(V2, "apidiscovery.k8s.io/v2"), (V2BETA1, "apidiscovery.k8s.io/v2beta1")]
    {
        put("/api", form, &aggregated(version, |group| group.is_empty()));
        put("/apis", form, &aggregated(version, |group| !group.is_empty()));
    }
    for (group, version) in group_versions() {
        put(&path_of(group, version), JSON, &resource_list(group, version));
        if !group.is_empty() {
            put(&format!("/apis/{group}"), JSON, &api_group(group, true));
        }
    }
    documents
});

/// Every group and version that has a kind, in the order of the registry.
pub(crate) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for kind in kinds::all() {
        if !all.contains(&(kind.group, kind.version)) {
            all.push((kind.group, kind.version));
        }
    }
    all
}

/// `/api/v1`, `/apis/apps/v1`.
pub(crate) fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

pub(crate) fn kinds_of(
    group: &'static str,
    version: &'static str,
) -> impl Iterator<Item = &'static Kind> {
    kinds::all().iter().copied().filter(move |kind| (kind.group, kind.version) == (group, version))
}

fn group_list() -> Value {
    let groups: Vec<Value> = group_versions()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, _)| api_group(group, false))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// One group, which so far has one version.
fn api_group(group: &str, alone: bool) -> Value {
    let versions: Vec<Value> = group_versions()
        .into_iter()
        .filter(|(one, _)| *one == group)
        .map(|(group, version)| {
            json!({"groupVersion": format!("{group}/{version}"), "version": version})
        })
        .collect();
    let mut value = json!({});
    if alone {
        value = json!({"kind": "APIGroup", "apiVersion": "v1"});
    }
    value["name"] = group.into();
    value["preferredVersion"] = versions[0].clone();
    value["versions"] = versions.into();
    value
}

/// What a subresource takes and gives, and its verbs.
pub(crate) struct Subresource {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

pub(crate) fn subresource(kind: &Kind, name: &str) -> Subresource {
    let (group, version, of, verbs): (_, _, _, &'static [&'static str]) = match name {
        "scale" => ("autoscaling", "v1", "Scale", &["get", "patch", "update"]),
        "log" => ("", "v1", "Pod", &["get"]),
        "exec" => ("", "v1", "PodExecOptions", &["create", "get"]),
        "portforward" => ("", "v1", "PodPortForwardOptions", &["create", "get"]),
        "binding" => ("", "v1", "Binding", &["create"]),
        "eviction" => ("policy", "v1", "Eviction", &["create"]),
        "finalize" => (kind.group, kind.version, kind.kind, &["update"]),
        _ => (kind.group, kind.version, kind.kind, &["get", "patch", "update"]),
    };
    Subresource { group, version, kind: of, verbs }
}

fn resource_list(group: &'static str, version: &'static str) -> Value {
    let mut resources = Vec::new();
    for kind in kinds_of(group, version) {
        let mut resource = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": kind.verbs,
        });
        add_names(&mut resource, kind);
        resources.push(resource);
        for name in kind.subresources {
            let sub = subresource(kind, name);
            let mut resource = json!({
                "name": format!("{}/{name}", kind.plural),
                "singularName": "",
                "namespaced": kind.namespaced,
            });
            if (sub.group, sub.version) != (kind.group, kind.version) {
                resource["group"] = sub.group.into();
                resource["version"] = sub.version.into();
            }
            resource["kind"] = sub.kind.into();
            resource["verbs"] = json!(sub.verbs);
            resources.push(resource);
        }
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    })
}

fn aggregated(api_version: &str, wanted: impl Fn(&str) -> bool) -> Value {
    let items: Vec<Value> = group_versions()
        .into_iter()
        .filter(|(group, _)| wanted(group))
        .map(|(group, version)| {
            let resources: Vec<Value> = kinds_of(group, version).map(aggregated_resource).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({
                "metadata": metadata,
                "versions": [
                    {"version": version, "resources": resources, "freshness": "Current"},
                ],
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": api_version,
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    add_names(&mut resource, kind);
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|name| {
            let sub = subresource(kind, name);
            json!({
                "subresource": name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": sub.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        resource["subresources"] = subresources.into();
    }
    resource
}

fn add_names(resource: &mut Value, kind: &Kind) {
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(path: &str, accept: &str) -> (&'static str, Value) {
        let document = discovery(path, accept).unwrap().unwrap();
        (document.content_type, serde_json::from_slice(&document.body).unwrap())
    }

    #[test]
    fn the_order_of_the_header_rules() {
        let kubectl = format!("{V2},{V2BETA1},application/json");
        let (content_type, list) = value("/apis", &kubectl);
        assert_eq!(content_type, V2);
        assert_eq!(list["apiVersion"], "apidiscovery.k8s.io/v2");
        assert_eq!(value("/apis", &format!("{V2BETA1}, {V2}")).0, V2BETA1);
        assert_eq!(value("/apis", &format!("application/json, {V2}")).0, JSON);
        assert_eq!(value("/api", "*/*").1["kind"], "APIVersions");
        assert_eq!(value("/api", "").1["kind"], "APIVersions");
        assert_eq!(discovery("/api", "text/html").unwrap().unwrap_err().code, 406);
        assert!(discovery("/apis/nothing", "").is_none());
        assert!(discovery("/api/v1/pods", "").is_none());
    }

    #[test]
    fn both_forms_list_every_kind() {
        let mut aggregated = Vec::new();
        for path in ["/api", "/apis"] {
            for group in value(path, V2).1["items"].as_array().unwrap() {
                for resource in group["versions"][0]["resources"].as_array().unwrap() {
                    aggregated.push(resource["resource"].as_str().unwrap().to_owned());
                }
            }
        }
        let known: Vec<&str> = kinds::all().iter().map(|kind| kind.plural).collect();
        assert_eq!(aggregated, known);
        for kind in kinds::all() {
            let list = value(&path_of(kind.group, kind.version), "").1;
            let names: Vec<&Value> =
                list["resources"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
            assert!(names.iter().any(|name| **name == kind.plural), "{kind:?}");
        }
    }

    #[test]
    fn a_scale_is_of_another_group() {
        let list = value("/apis/apps/v1", "").1;
        let scale = &list["resources"][1];
        assert_eq!(scale["name"], "deployments/scale");
        assert_eq!(scale["group"], "autoscaling");
    }
}
