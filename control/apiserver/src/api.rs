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
    share::{Exhausted, Held, Share},
    status_error::StatusError,
    ui::Ui,
};

pub(crate) struct Api {
    pub(crate) registry: Registry,
    /// Held over every write that gives or takes addresses and ports of services.
    pub(crate) allocator: Mutex<Allocator>,
    pub(crate) metrics: Metrics,
    /// Requests that end by themselves; watches and followed logs have their own bound.
    pub(crate) requests: Arc<Share<String>>,
    pub(crate) streams: Arc<Share<String>>,
    /// Bytes of the bodies that are being read and worked on, the small ones left out.
    pub(crate) bodies: Arc<Share<String>>,
    /// What takes the processor for long takes turns, in small pieces: the rest of the server
    /// answers beside it.
    pub(crate) work: Semaphore,
    /// Deletions of many objects: their answer holds all of these, so there is one at a time.
    pub(crate) deletions: Semaphore,
    pub(crate) stopping: CancellationToken,
    pub(crate) ui: Ui,
    /// For the log endpoint of the kubelets, and the relay to their nodes' networks.
    pub(crate) kubelet_tls: Option<Arc<rustls::ClientConfig>>,
    /// For how long pods that do not say so stay on a node that is not ready.
    pub(crate) eviction_secs: u32,
    /// Where clients reach the server, for discovery.
    pub(crate) advertised: Vec<SocketAddr>,
}

/// The right to a watch, a log or a long list, given back when dropped.
pub(crate) type StreamPermit = Held<String>;

impl Api {
    /// # Errors
    /// 429 where there are too many.
    pub(crate) fn stream(&self, identity: &Identity) -> Result<StreamPermit, StatusError> {
        let permit = self.streams.take(&identity.user, 1);
        permit.map_err(|why| too_many("open watches, logs and long lists", why))
    }

    /// # Errors
    /// 429 where there are too many.
    pub(crate) fn request(&self, identity: &Identity) -> Result<Held<String>, StatusError> {
        self.requests.take(&identity.user, 1).map_err(|why| too_many("requests at once", why))
    }
}

pub(crate) fn too_many(what: &str, why: Exhausted) -> StatusError {
    let why = format!("too many {what}, please try again later; the limit is {why}");
    StatusError::too_many_requests(why, 1)
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
