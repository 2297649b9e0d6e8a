//! Makes operations true.

use futures::{StreamExt, stream};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
    jiff::Timestamp,
};
use kube::{
    Client,
    api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions},
    core::{Request, params::PropagationPolicy},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::debug;

use crate::{
    kinds::{Key, Kind, Object, Ref},
    namespace::FINALIZER,
    operation::{Note, Now, Operation, Outcome, Propagation, Step},
    world::{Change, World},
};

/// Steps of one outcome that are made side by side.
const PARALLEL: usize = 8;
const FIELD_MANAGER: &str = "viaduct-controllers";
/// What namespaces hold beyond the kinds the controllers follow.
const EVENTS: (&str, &str) = ("/api/v1", "events");

#[derive(Debug, thiserror::Error)]
pub(super) enum ExecuteError {
    #[error(transparent)]
    Api(Box<kube::Error>),
    /// As `Api`, of a Create.
    #[error(transparent)]
    Create(Box<kube::Error>),
    #[error("the answer is not understood: {0}")]
    Decode(#[from] serde_json::Error),
    #[error("{left} objects are left in namespace {namespace}")]
    NotEmpty { namespace: String, left: usize },
}

impl From<kube::Error> for ExecuteError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

impl ExecuteError {
    /// What happens to a controller whose cache is a moment behind, or that has to wait.
    pub(super) fn is_expected(&self) -> bool {
        match self {
            Self::Api(error) | Self::Create(error) => {
                status_of(error).is_some_and(|code| [404, 409].contains(&code))
            }
            Self::Decode(_) => false,
            Self::NotEmpty { .. } => true,
        }
    }

    /// What the API says against a Create, if that is more than that we are behind.
    fn refusal(&self) -> Option<&str> {
        match self {
            Self::Create(error) if !self.is_expected() => match &**error {
                kube::Error::Api(status) => Some(&status.message),
                _ => None,
            },
            _ => None,
        }
    }

    /// For people who look at the object.
    fn words(&self) -> String {
        match self {
            Self::Api(error) | Self::Create(error) => match &**error {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            },
            other => other.to_string(),
        }
    }
}

fn status_of(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What an operation changed, for the world to know before the watches tell.
pub(super) enum Effect {
    Nothing,
    Wrote(Object),
    Deleting(Ref, String),
    Bound { pod: Key, uid: String, node: String },
}

impl Effect {
    pub(super) fn apply(self, world: &mut World, now: Now) -> Option<Change> {
        match self {
            Self::Nothing => None,
            Self::Wrote(object) => world.wrote(object, now),
            Self::Deleting(reference, uid) => world.deleting(&reference, &uid, now),
            Self::Bound { pod, uid, node } => world.bound(&pod, &uid, &node),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Wrote(object) => object.metadata().name.as_deref(),
            _ => None,
        }
    }
}

#[derive(Clone)]
pub(super) struct Executor {
    client: Client,
    notes: mpsc::Sender<Note>,
}

impl Executor {
    pub(super) fn new(client: Client, notes: mpsc::Sender<Note>) -> Self {
        Self { client, notes }
    }

    /// Events are a courtesy: where they cannot be told fast enough, they are dropped.
    pub(super) fn note(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            debug!("too many Events at once; one is lost");
        }
    }

    /// What was done, and the first error. After it no step is begun, unless they are independent.
    pub(super) async fn run(&self, outcome: Outcome) -> (Vec<Effect>, Option<ExecuteError>) {
        let Outcome { steps, parallel, if_refused, .. } = outcome;
        let (mut effects, error) = self.run_steps(steps, parallel).await;
        let refusal = error.as_ref().and_then(ExecuteError::refusal);
        if let (Some(operation), Some(why)) = (&if_refused, refusal) {
            match self.execute(&told(operation, why)).await {
                Ok(effect) => effects.push(effect),
                Err(error) => debug!(%error, "a refusal is not told"),
            }
        }
        (effects, error)
    }

    async fn run_steps(
        &self,
        steps: Vec<Step>,
        parallel: bool,
    ) -> (Vec<Effect>, Option<ExecuteError>) {
        let mut effects = Vec::new();
        let mut first_error = None;
        let width = if parallel { PARALLEL } else { 1 };
        let steps = steps.into_iter().map(async |step| self.step(&step).await);
        let mut results = stream::iter(steps).buffered(width);
        while let Some(result) = results.next().await {
            match result {
                Ok(effect) => effects.push(effect),
                Err(error) => {
                    first_error.get_or_insert(error);
                    if !parallel {
                        break;
                    }
                }
            }
        }
        (effects, first_error)
    }

    async fn step(&self, step: &Step) -> Result<Effect, ExecuteError> {
        let result = match self.execute(&step.operation).await {
            Err(ExecuteError::Api(error)) if is_create(step) => Err(ExecuteError::Create(error)),
            other => other,
        };
        let (note, word) = match &result {
            Ok(effect) => (&step.done, effect.name().unwrap_or_default().to_owned()),
            Err(error) if error.is_expected() => return result,
            Err(error) => (&step.failed, error.words()),
        };
        if let Some(note) = note {
            self.note(Note { message: note.message.replace("{}", &word), ..note.clone() });
        }
        result
    }

    async fn execute(&self, operation: &Operation) -> Result<Effect, ExecuteError> {
        match operation {
            Operation::Create { kind, namespace, object } => {
                let request = Request::new(path(*kind, namespace));
                let request = request.create(&post_params(), serde_json::to_vec(object)?);
                let answer = self.send(request).await?;
                Ok(Effect::Wrote(Object::decode(*kind, answer)?))
            }
            Operation::Patch { target, subresource, patch } => {
                let Ref { kind, key } = target;
                let request = Request::new(path(*kind, &key.namespace));
                let (params, patch) = (patch_params(), Patch::Merge(patch));
                let request = match subresource {
                    None => request.patch(&key.name, &params, &patch),
                    Some(part) => request.patch_subresource(part, &key.name, &params, &patch),
                };
                let answer = self.send(request).await?;
                Ok(Effect::Wrote(Object::decode(*kind, answer)?))
            }
            Operation::Delete { target, uid, grace_secs, propagation } => {
                self.delete(target, uid, *grace_secs, *propagation).await
            }
            Operation::Bind { pod, uid, node } => self.bind(pod, uid, node).await,
            Operation::Disrupt { pod, uid, reason, message } => {
                self.disrupt(pod, uid, reason, message).await
            }
            Operation::Collect { target, uid, owners } => {
                for owner in owners {
                    if self.is_there(owner, &target.key.namespace).await? {
                        return Ok(Effect::Nothing);
                    }
                }
                self.delete(target, uid, None, Propagation::Background).await
            }
            Operation::Finalize { namespace } => self.finalize(namespace).await,
        }
    }

    async fn delete(
        &self,
        target: &Ref,
        uid: &str,
        grace_period_seconds: Option<u32>,
        propagation: Propagation,
    ) -> Result<Effect, ExecuteError> {
        let params = DeleteParams {
            grace_period_seconds,
            propagation_policy: Some(match propagation {
                Propagation::Background => PropagationPolicy::Background,
                Propagation::Foreground => PropagationPolicy::Foreground,
            }),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let request = Request::new(path(target.kind, &target.key.namespace));
        match self.send(request.delete(&target.key.name, &params)).await {
            Err(ExecuteError::Api(error)) if status_of(&error) == Some(404) => {}
            other => {
                other?;
            }
        }
        Ok(Effect::Deleting(target.clone(), uid.to_owned()))
    }

    async fn bind(&self, pod: &Key, uid: &str, node: &str) -> Result<Effect, ExecuteError> {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let body = serde_json::to_vec(&binding)?;
        let request = Request::new(path(Kind::Pod, &pod.namespace));
        let request = request.create_subresource("binding", &pod.name, &post_params(), body);
        self.send(request).await?;
        Ok(Effect::Bound { pod: pod.clone(), uid: uid.to_owned(), node: node.to_owned() })
    }

    async fn disrupt(
        &self,
        pod: &Key,
        uid: &str,
        reason: &str,
        message: &str,
    ) -> Result<Effect, ExecuteError> {
        let why = json!({
            "metadata": {"uid": uid},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": Time(Timestamp::now()),
            }]},
        });
        let request = Request::new(path(Kind::Pod, &pod.namespace));
        // Merged by type: the other conditions are the node's.
        let patch = Patch::Strategic(why);
        let request = request.patch_subresource("status", &pod.name, &patch_params(), &patch);
        match self.send(request).await {
            Err(ExecuteError::Api(error)) if status_of(&error) == Some(404) => {}
            other => {
                other?;
            }
        }
        let target = Ref { kind: Kind::Pod, key: pod.clone() };
        self.delete(&target, uid, None, Propagation::Background).await
    }

    async fn is_there(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> Result<bool, ExecuteError> {
        // The reconciler asks only of kinds it knows.
        let Some(kind) = Kind::find(&owner.api_version, &owner.kind) else { return Ok(true) };
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        let request = Request::new(path(kind, namespace)).get(&owner.name, &GetParams::default());
        match self.send(request).await {
            Ok(found) => Ok(found["metadata"]["uid"] == owner.uid.as_str()),
            Err(ExecuteError::Api(error)) if status_of(&error) == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn finalize(&self, namespace: &str) -> Result<Effect, ExecuteError> {
        let followed = Kind::ALL.iter().filter(|kind| kind.is_namespaced());
        let mut paths: Vec<String> = followed.map(|kind| path(*kind, namespace)).collect();
        paths.push(format!("{}/namespaces/{namespace}/{}", EVENTS.0, EVENTS.1));
        let mut left = 0;
        for path in &paths {
            left += self.empty(path).await?;
        }
        if left > 0 {
            return Err(ExecuteError::NotEmpty { namespace: namespace.to_owned(), left });
        }
        let request = Request::new(path(Kind::Namespace, ""));
        let mut object = match self.send(request.get(namespace, &GetParams::default())).await {
            Err(ExecuteError::Api(error)) if status_of(&error) == Some(404) => {
                return Ok(Effect::Nothing);
            }
            other => other?,
        };
        if let Some(finalizers) = object["spec"]["finalizers"].as_array_mut() {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let body = serde_json::to_vec(&object)?;
        let request = request.replace_subresource("finalize", namespace, &post_params(), body);
        self.send(request).await?;
        let reference = Ref { kind: Kind::Namespace, key: Key::new("", namespace) };
        Ok(Effect::Deleting(reference, uid))
    }

    /// Deletes what a collection of a namespace holds; how many objects then linger.
    async fn empty(&self, path: &str) -> Result<usize, ExecuteError> {
        let request = Request::new(path);
        let list = || request.list(&kube::api::ListParams::default());
        let items = |found: &Value| found["items"].as_array().cloned().unwrap_or_default();
        let found = items(&self.send(list()).await?);
        if found.is_empty() {
            return Ok(0);
        }
        for item in &found {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            if item["metadata"]["deletionTimestamp"].is_null() {
                let params = DeleteParams::background();
                match self.send(request.delete(name, &params)).await {
                    Err(ExecuteError::Api(error)) if status_of(&error) == Some(404) => {}
                    other => {
                        other?;
                    }
                }
            }
        }
        Ok(items(&self.send(list()).await?).len())
    }

    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, ExecuteError> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        Ok(self.client.request(request).await?)
    }
}

fn is_create(step: &Step) -> bool {
    matches!(step.operation, Operation::Create { .. })
}

/// The operation with the words of the API in its texts.
fn told(operation: &Operation, why: &str) -> Operation {
    fn fill(value: &mut Value, why: &str) {
        match value {
            Value::String(text) if text.contains("{}") => *text = text.replace("{}", why),
            Value::Array(items) => items.iter_mut().for_each(|item| fill(item, why)),
            Value::Object(map) => map.values_mut().for_each(|item| fill(item, why)),
            _ => {}
        }
    }
    let mut operation = operation.clone();
    if let Operation::Patch { patch, .. } = &mut operation {
        fill(patch, why);
    }
    operation
}

/// The collection of a kind, in a namespace where it has one.
fn path(kind: Kind, namespace: &str) -> String {
    let base = match kind.group() {
        "" => format!("/api/{}", kind.version()),
        group => format!("/apis/{group}/{}", kind.version()),
    };
    match namespace {
        "" => format!("{base}/{}", kind.plural()),
        namespace => format!("{base}/namespaces/{namespace}/{}", kind.plural()),
    }
}

fn post_params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() }
}

fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() }
}
