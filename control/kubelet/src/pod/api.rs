//! What a pod's worker needs of the API, so that it can be run without one.

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The object, or the one of that uid, is not there any more.
    #[error("gone")]
    Gone,
    #[error("{0}")]
    Unavailable(String),
}

/// An event about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodEvent {
    /// Shown as `Warning` instead of `Normal`.
    pub(crate) warning: bool,
    /// Kubernetes' own words: `Started`, `Killing`, `BackOff`, `Unhealthy`, `Failed`…
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) container: Option<String>,
}

pub(crate) trait PodApi: Send + Sync + 'static {
    /// Merges `status` into the pod's, `null` removing a field.
    fn patch_status<'a>(
        &'a self,
        pod: &'a Pod,
        status: serde_json::Value,
    ) -> BoxFuture<'a, Result<(), ApiError>>;

    /// Says that nothing of a deleted pod is left on the node.
    fn confirm_deletion<'a>(&'a self, pod: &'a Pod) -> BoxFuture<'a, Result<(), ApiError>>;

    fn config_map<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ConfigMap>, ApiError>>;

    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Secret>, ApiError>>;

    /// The services of the namespace, and the API's own.
    fn services<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<Service>, ApiError>>;

    /// Never waits; an event that finds no room is dropped.
    fn event(&self, pod: &Pod, event: PodEvent);
}
