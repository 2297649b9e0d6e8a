//! The API as the workers want it, through a client.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Pod, Secret, Service},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    events::EventSink,
    pod::api::{ApiError, PodApi, PodEvent},
};

pub(crate) struct KubeApi {
    pub(crate) client: Client,
    pub(crate) events: EventSink,
}

impl KubeApi {
    fn pods(&self, pod: &Pod) -> Api<Pod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn find<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        bounded(api.get_opt(name)).await
    }
}

/// Where every pod finds the API.
const API_NAMESPACE: &str = "default";
const API_SERVICE: &str = "kubernetes";

/// An API that does not answer must not hold up the pod; the worker tries again.
const LIMIT: Duration = Duration::from_secs(3);

async fn bounded<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
    match tokio::time::timeout(LIMIT, request).await {
        Ok(done) => done.map_err(of_pod),
        Err(elapsed) => Err(ApiError::Unavailable(elapsed.to_string())),
    }
}

/// A pod that is not there, or another one under its name, is gone.
fn of_pod(error: kube::Error) -> ApiError {
    match &error {
        kube::Error::Api(status) if matches!(status.code, 404 | 409) => ApiError::Gone,
        // People read it in an event; the rest of the status is for programs.
        kube::Error::Api(status) => ApiError::Unavailable(status.message.clone()),
        _ => ApiError::Unavailable(error.to_string()),
    }
}

impl PodApi for KubeApi {
    fn patch_status<'a>(
        &'a self,
        pod: &'a Pod,
        status: Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(async move {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            // The uid makes the server refuse the patch for a pod of the same name.
            let patch = json!({ "metadata": { "uid": pod.metadata.uid }, "status": status });
            let patch = Patch::Merge(patch);
            let api = self.pods(pod);
            bounded(api.patch_status(name, &PatchParams::default(), &patch)).await.map(drop)
        })
    }

    fn confirm_deletion<'a>(&'a self, pod: &'a Pod) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(async move {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let parameters = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions {
                    resource_version: None,
                    uid: pod.metadata.uid.clone(),
                }),
                ..DeleteParams::default()
            };
            let api = self.pods(pod);
            bounded(api.delete(name, &parameters)).await.map(drop)
        })
    }

    fn config_map<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ConfigMap>, ApiError>> {
        Box::pin(self.find(namespace, name))
    }

    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Secret>, ApiError>> {
        Box::pin(self.find(namespace, name))
    }

    fn services<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<Service>, ApiError>> {
        Box::pin(async move {
            let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
            let mut services = bounded(api.list(&ListParams::default())).await?.items;
            if namespace != API_NAMESPACE {
                services.extend(self.find(API_NAMESPACE, API_SERVICE).await?);
            }
            Ok(services)
        })
    }

    fn event(&self, pod: &Pod, event: PodEvent) {
        self.events.send(pod, event);
    }
}
