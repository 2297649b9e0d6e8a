//! What every worker of a node shares.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::api::PodApi;
use crate::{
    Capacity, KubeletConfig,
    image::ImageUse,
    network::Network,
    runtime::{Runtime, cgroup::Hierarchies, exits::ExitListeners},
};

pub(crate) struct NodeContext {
    pub(crate) config: KubeletConfig,
    pub(crate) capacity: Capacity,
    pub(crate) runtime: Runtime,
    pub(crate) api: Arc<dyn PodApi>,
    pub(crate) exits: ExitListeners,
    /// Containers may be created at the same time only so many at once.
    pub(crate) starts: Semaphore,
    pub(crate) hierarchies: Hierarchies,
    /// What the pods may start from, for whoever makes room in the store.
    pub(crate) images: ImageUse,
    /// The node's network daemon, where the kubelet was told of one.
    pub(crate) network: Option<Arc<Network>>,
    /// Our own, below which no child's may be without CAP_SYS_RESOURCE.
    pub(crate) oom_score_adj: i32,
}

impl NodeContext {
    pub(crate) fn new(
        config: KubeletConfig,
        capacity: Capacity,
        api: Arc<dyn PodApi>,
    ) -> std::io::Result<Self> {
        let own = std::fs::read_to_string("/proc/self/oom_score_adj")?;
        Ok(Self {
            capacity,
            runtime: Runtime {
                root: config.root_dir.clone(),
                runc: config.runc.clone(),
                conmon: config.conmon.clone(),
                log_bytes_max: config.log_bytes_max,
            },
            api,
            exits: ExitListeners::default(),
            starts: Semaphore::new(config.concurrent_starts_max),
            hierarchies: Hierarchies::detect()?,
            images: ImageUse::new(config.image_store.clone(), &config.node_name),
            network: config.network_socket.clone().map(|socket| {
                let tls = config.peer_tls.clone();
                Arc::new(Network::new(&config.node_name, socket, tls))
            }),
            oom_score_adj: own.trim().parse().map_err(std::io::Error::other)?,
            config,
        })
    }

    pub(crate) fn pod_cgroup(&self, uid: &str) -> String {
        format!("{}/pod{uid}", self.config.cgroup_parent.trim_end_matches('/'))
    }
}
