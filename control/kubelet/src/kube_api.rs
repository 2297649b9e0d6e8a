//! The API as the workers want it, through a client.

use futures::future::BoxFuture;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Pod, Secret},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
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
        api.get_opt(name).await.map_err(|error| ApiError::Unavailable(error.to_string()))
    }
}

/// A pod that is not there, or another one under its name, is gone.
fn of_pod(error: kube::Error) -> ApiError {
    match &error {
        kube::Error::Api(status) if matches!(status.code, 404 | 409) => ApiError::Gone,
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
            let done = self.pods(pod).patch_status(name, &PatchParams::default(), &patch).await;
            done.map(drop).map_err(of_pod)
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
            self.pods(pod).delete(name, &parameters).await.map(drop).map_err(of_pod)
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

    fn event(&self, pod: &Pod, event: PodEvent) {
        self.events.send(pod, event);
    }
}
