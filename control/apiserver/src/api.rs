//! What every request shares.

use std::{net::SocketAddr, sync::Arc};

use hyper::HeaderMap;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    allocate::Allocator,
    auth::Identity,
    http::{Output, Query, ResourcePath},
    kinds::Kind,
    metrics::Metrics,
    registry::Registry,
};

pub(crate) struct Api {
    pub(crate) registry: Registry,
    /// Held over every write that gives or takes addresses and ports of services.
    pub(crate) allocator: Mutex<Allocator>,
    pub(crate) metrics: Metrics,
    /// Requests that end by themselves; watches and followed logs have their own bound.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) stopping: CancellationToken,
    /// For the log endpoint of the kubelets.
    pub(crate) kubelet_tls: Option<Arc<rustls::ClientConfig>>,
    /// For how long pods that do not say so stay on a node that is not ready.
    pub(crate) eviction_secs: u32,
    /// Where clients reach the server, for discovery.
    pub(crate) advertised: Vec<SocketAddr>,
}

/// One request for objects of a kind, parsed and allowed.
pub(crate) struct Call {
    pub(crate) api: Arc<Api>,
    pub(crate) identity: Identity,
    pub(crate) kind: &'static Kind,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) output: Output,
    pub(crate) dry_run: bool,
}

impl Call {
    pub(crate) fn registry(&self) -> &Registry {
        &self.api.registry
    }
}
