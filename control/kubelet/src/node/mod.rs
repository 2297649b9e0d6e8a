//! The node in the API: registered, described, and kept alive by its lease.

mod object;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Capacity, KubeletConfig, image,
    stats::{self, Sampler},
};

pub(crate) use object::Facts;

const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Processor time in thousandths of a processor, on the lease: it is written again and again
/// anyway, and nobody watches it who would be woken for nothing.
pub const CPU_USAGE_ANNOTATION: &str = "viaduct.dev/cpu-usage-millis";
/// Working set in bytes, on the lease.
pub const MEMORY_USAGE_ANNOTATION: &str = "viaduct.dev/memory-usage-bytes";

/// Between attempts while the API does not answer.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often the Node is compared with what it should be.
const STATUS_PERIOD: Duration = Duration::from_secs(10);
/// A status that has not changed is written again after this, for its heartbeat.
const HEARTBEAT_SECS: i64 = 300;

pub(crate) struct NodeReporter {
    pub(crate) client: Client,
    pub(crate) config: KubeletConfig,
    pub(crate) capacity: Capacity,
    pub(crate) facts: Facts,
    /// Where logs and statistics are served.
    pub(crate) port: u16,
    pub(crate) sampler: Arc<Sampler>,
}

impl NodeReporter {
    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), LEASE_NAMESPACE)
    }

    /// Registers the node; tries until the API answers or `stop`.
    pub(crate) async fn register(&self, stop: &CancellationToken) {
        let mut pause = FIRST_RETRY;
        loop {
            let attempt = async {
                self.update_status().await?;
                self.renew_lease().await
            };
            match tokio::time::timeout(STATUS_PERIOD, attempt).await {
                Ok(Ok(())) => {
                    info!(node = self.config.node_name, "registered");
                    return;
                }
                Ok(Err(error)) => warn!(node = self.config.node_name, %error, "not registered"),
                Err(error) => warn!(node = self.config.node_name, %error, "not registered"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_MAX),
            }
        }
    }

    /// Keeps lease and status, each in its own time, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        self.register(&stop).await;
        let renewal = async {
            // A quarter, so that two renewals may fail before anyone notices.
            let mut period = tokio::time::interval(self.config.lease_duration / 4);
            period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                period.tick().await;
                // One that hangs must not cost the next one its turn.
                match tokio::time::timeout(self.config.lease_duration / 4, self.renew_lease()).await
                {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        warn!(node = self.config.node_name, %error, "lease not renewed");
                    }
                    Err(error) => {
                        warn!(node = self.config.node_name, %error, "lease not renewed");
                    }
                }
            }
        };
        let status = async {
            let mut period = tokio::time::interval(STATUS_PERIOD);
            period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                period.tick().await;
                match tokio::time::timeout(STATUS_PERIOD, self.update_status()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        warn!(node = self.config.node_name, %error, "status not updated");
                    }
                    Err(error) => {
                        warn!(node = self.config.node_name, %error, "status not updated");
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = renewal => {}
            () = status => {}
        }
    }

    /// Creates the Node, or adopts the one that is there, labels of others included.
    async fn update_status(&self) -> Result<(), kube::Error> {
        let name = &self.config.node_name;
        let known = match self.nodes().get_opt(name).await? {
            Some(node) => node,
            None => self.create().await?,
        };
        let now = Timestamp::now();
        let wanted = self.node(Some(&known), now);
        let labels = wanted.metadata.labels.unwrap_or_default();
        let present = known.metadata.labels.clone().unwrap_or_default();
        if labels.iter().any(|(key, value)| present.get(key) != Some(value)) {
            let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
            self.nodes().patch(name, &PatchParams::default(), &patch).await?;
        }
        let Some(status) = wanted.status else { return Ok(()) };
        if object::is_current(&status, known.status.as_ref(), now, HEARTBEAT_SECS) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({ "status": status }));
        self.nodes().patch_status(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn create(&self) -> Result<Node, kube::Error> {
        let node = self.node(None, Timestamp::now());
        match self.nodes().create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.nodes().get(&self.config.node_name).await
            }
            done => done,
        }
    }

    fn node(&self, known: Option<&Node>, now: Timestamp) -> Node {
        let images = image::list(&self.config.image_store).unwrap_or_else(|error| {
            warn!(%error, "images not listed");
            Vec::new()
        });
        object::node(&object::Description {
            config: &self.config,
            capacity: self.capacity,
            facts: &self.facts,
            port: self.port,
            images: &images,
            known,
            now,
        })
    }

    async fn renew_lease(&self) -> Result<(), kube::Error> {
        let name = &self.config.node_name;
        let now = MicroTime(Timestamp::now());
        let usage = self.sampler.sample();
        let annotations = json!({
            CPU_USAGE_ANNOTATION: usage.cpu_millis.to_string(),
            MEMORY_USAGE_ANNOTATION: usage.memory_bytes.to_string(),
        });
        let duration = i32::try_from(self.config.lease_duration.as_secs()).unwrap_or(i32::MAX);
        let patch = Patch::Merge(json!({
            "metadata": { "annotations": annotations },
            "spec": {
                "holderIdentity": name, "leaseDurationSeconds": duration, "renewTime": now },
        }));
        match self.leases().patch(name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.create_lease(now, duration, &usage).await
            }
            done => done.map(drop),
        }
    }

    async fn create_lease(
        &self,
        now: MicroTime,
        duration: i32,
        usage: &stats::NodeUsage,
    ) -> Result<(), kube::Error> {
        let name = &self.config.node_name;
        // The lease goes with its node.
        let owner = self.nodes().get_opt(name).await?.and_then(|node| node.metadata.uid);
        let owner = owner.map(|uid| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: name.clone(),
            uid,
            ..OwnerReference::default()
        });
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(LEASE_NAMESPACE.to_owned()),
                owner_references: owner.map(|owner| vec![owner]),
                annotations: Some(
                    [
                        (CPU_USAGE_ANNOTATION.to_owned(), usage.cpu_millis.to_string()),
                        (MEMORY_USAGE_ANNOTATION.to_owned(), usage.memory_bytes.to_string()),
                    ]
                    .into(),
                ),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(name.clone()),
                lease_duration_seconds: Some(duration),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        match self.leases().create(&PostParams::default(), &lease).await {
            // Someone was faster; the next renewal finds it.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            done => done.map(drop),
        }
    }
}
