//! The application that `up` starts: what its manifests say, before and after they are applied.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::serde_json::{self, Value};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{GroupVersionKind, TypeMeta},
    discovery::{Scope, pinned_kind},
};

use super::{objects::FIELD_MANAGER, workloads::Workload};

/// The image of the example program, which `up` makes and imports.
pub(crate) const EXAMPLE_IMAGE: &str = "viaduct.dev/echo:latest";

macro_rules! example {
    ($($file:literal),*) => {
        [$(($file, include_str!(concat!("../../../manifests/examples/microservices/", $file)))),*]
    };
}

/// What is started where nothing else is named.
const EXAMPLE: [(&str, &str); 5] = example!(
    "api-gateway.yaml",
    "course-edge-service.yaml",
    "message-service.yaml",
    "user-edge-service.yaml",
    "user-thrift-service.yaml"
);

/// Objects to be applied in this order.
pub(crate) struct Application(Vec<Document>);

struct Document {
    types: TypeMeta,
    name: String,
    namespace: Option<String>,
    value: Value,
}

/// What there is of an application once it is applied.
#[derive(Default)]
pub(crate) struct Applied {
    pub workloads: Vec<Workload>,
    pub services: Vec<Service>,
}

impl Application {
    pub(crate) fn example() -> Result<Self> {
        let mut documents = Vec::new();
        for (file, text) in EXAMPLE {
            documents.extend(parse(text).with_context(|| file.to_owned())?);
        }
        Ok(Self(documents))
    }

    /// Reads manifests, or every manifest of a folder in the order of their names, as kubectl does.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self> {
        let mut documents = Vec::new();
        for path in paths {
            for file in files(path)? {
                let read = || parse(&fs::read_to_string(&file)?);
                documents.extend(read().with_context(|| format!("--app {}", file.display()))?);
            }
        }
        Ok(Self(documents))
    }

    /// Whether a pod is to be started from the image that `up` makes.
    pub(crate) fn has_example_image(&self) -> bool {
        self.0.iter().any(|document| mentions(&document.value, EXAMPLE_IMAGE))
    }

    /// Applies every object, as `kubectl apply --server-side` would.
    pub(crate) async fn apply(&self, client: &Client) -> Result<Applied> {
        let mut applied = Applied::default();
        for document in &self.0 {
            let what = || format!("apply {} {}", document.types.kind, document.name);
            let api = document.api(client).await.with_context(what)?;
            let params = PatchParams::apply(FIELD_MANAGER).force();
            let patch = Patch::Apply(&document.value);
            let object = api.patch(&document.name, &params, &patch).await.with_context(what)?;
            applied.add(object).with_context(what)?;
        }
        Ok(applied)
    }
}

impl Document {
    async fn api(&self, client: &Client) -> Result<Api<DynamicObject>> {
        let kind = GroupVersionKind::try_from(&self.types)?;
        let (resource, capabilities) = pinned_kind(client, &kind).await?;
        Ok(match capabilities.scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = self.namespace.as_deref().unwrap_or("default");
                Api::namespaced_with(client.clone(), namespace, &resource)
            }
        })
    }
}

impl Applied {
    fn add(&mut self, object: DynamicObject) -> Result<()> {
        let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
        match kind {
            "Service" => self.services.push(object.try_parse()?),
            _ => self.workloads.extend(Workload::of(&object)?),
        }
        Ok(())
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("--app {}", path.display());
    if !fs::metadata(path).with_context(what)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(what)? {
        let file = entry.with_context(what)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("--app {}: no manifest is in it (*.yaml, *.yml, *.json)", path.display());
    }
    files.sort();
    Ok(files)
}

fn parse(text: &str) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let value = <Value as serde::Deserialize>::deserialize(document)?;
        // An end mark with nothing behind it.
        if value.is_null() {
            continue;
        }
        let object: DynamicObject = serde_json::from_value(value.clone())
            .context("a document of the manifest is no Kubernetes object")?;
        let types = object.types.context("a document of the manifest has no kind")?;
        let name = object.metadata.name.context("an object of the manifest has no name")?;
        documents.push(Document { types, name, namespace: object.metadata.namespace, value });
    }
    Ok(documents)
}

/// Whether the text is a value somewhere.
fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string == text,
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(fields) => fields.values().any(|field| mentions(field, text)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples/microservices")
    }

    #[test]
    fn the_example_is_the_whole_folder() {
        let texts: Vec<String> = files(&folder())
            .unwrap()
            .iter()
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        assert_eq!(texts, EXAMPLE.map(|(_, text)| text));
        let example = Application::example().unwrap();
        assert!(example.has_example_image());
        let names: BTreeSet<_> = example.0.iter().map(|document| document.name.as_str()).collect();
        let wanted = EXAMPLE.map(|(file, _)| file.trim_end_matches(".yaml"));
        assert_eq!(names, wanted.into());
    }

    #[test]
    fn a_manifest_that_is_none_names_its_file() {
        let folder = std::env::temp_dir().join(format!("viaduct-app-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let read = || Application::read(std::slice::from_ref(&folder));
        let error = |read: Result<Application>| format!("{:#}", read.err().unwrap());
        assert!(error(read()).contains("no manifest is in it"));
        for wrong in ["a: [", "a: 1", "{kind: Pod, apiVersion: v1}"] {
            fs::write(folder.join("a.yaml"), wrong).unwrap();
            let error = error(read());
            assert!(error.contains("a.yaml: "), "{wrong}: {error}");
        }
        fs::write(folder.join("a.yaml"), "kind: Pod\napiVersion: v1\nmetadata: {name: a}\n---\n")
            .unwrap();
        fs::write(folder.join("README.md"), "no manifest").unwrap();
        assert_eq!(read().unwrap().0.len(), 1);
        assert!(!read().unwrap().has_example_image());
        fs::remove_dir_all(&folder).unwrap();
        assert!(error(read()).contains("--app"));
    }
}
