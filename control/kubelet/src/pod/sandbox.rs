//! What a pod's containers share: namespaces, addresses, volumes, files.

use std::{path::PathBuf, time::Duration};

use k8s_openapi::jiff::Timestamp;
use tracing::{info, warn};

use super::{
    Flow, RETRY, Worker,
    api::{ApiError, PodEvent},
    files, later,
    resolv_conf::resolv_conf,
};
use crate::{
    core::Sandbox,
    env::{self, Downward, References},
    quantity::PodAmounts,
    runtime::{
        NamespaceRequest, RuntimeError, bind_tmpfs,
        cni::Attachment,
        create_namespaces, namespaces_alive, remove_namespaces,
        spec::{self, Resources},
        unmount,
    },
    volumes::{self, VolumeError},
};

const FIRST_RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// As in Docker; a container that needs more mounts an emptyDir of medium Memory there.
const SHM_OPTIONS: &str = "mode=1777,size=64m";

#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    #[error("MountVolume.SetUp failed for volume {name:?} : {source}")]
    Volume { name: String, source: VolumeError },
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("{what}: {source}")]
    Api { what: String, source: ApiError },
}

impl SandboxError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Volume { .. } | Self::Api { .. } => "FailedMount",
            Self::Runtime(_) => "FailedCreatePodSandBox",
        }
    }
}

impl Worker {
    pub(super) async fn create_sandbox(&mut self) {
        self.observed.started_at.get_or_insert_with(Timestamp::now);
        // Written first: what is made now has to be found by whoever comes next.
        self.save_pod();
        self.save();
        let attempts = match &self.observed.sandbox {
            Sandbox::Failed { attempts, .. } => *attempts,
            _ => 0,
        };
        match self.try_create_sandbox().await {
            Ok(addresses) => {
                info!(pod = self.uid, ?addresses, "sandbox");
                self.observed.sandbox = Sandbox::Ready { addresses };
            }
            Err(error) => self.note_sandbox_failure(&error, attempts.saturating_add(1)),
        }
        self.save();
    }

    fn note_sandbox_failure(&mut self, error: &SandboxError, attempts: u32) {
        let pause = FIRST_RETRY.saturating_mul(1 << (attempts - 1).min(10)).min(RETRY_MAX);
        let message = error.to_string();
        warn!(pod = self.uid, attempts, error = message, "sandbox");
        self.observed.sandbox = Sandbox::Failed {
            message: message.clone(),
            attempts,
            retry_at: later(Timestamp::now(), pause),
        };
        let reason = error.reason();
        self.event(PodEvent { warning: true, reason, message, container: None });
    }

    async fn try_create_sandbox(&mut self) -> Result<Vec<std::net::IpAddr>, SandboxError> {
        self.limit_pod();
        let request = self.namespace_request();
        create_namespaces(&request)?;
        bind_shm(&self.shm())?;
        let addresses = match self.wire().await {
            Ok(addresses) => addresses,
            Err(error) => {
                // The plugin may have got half-way; the next attempt begins from nothing.
                if let Err(error) = self.unwire().await {
                    warn!(pod = self.uid, %error, "CNI DEL");
                }
                remove_namespaces(&request.dir)?;
                return Err(error.into());
            }
        };
        self.observed.sandbox = Sandbox::Ready { addresses: addresses.clone() };
        self.prepare_volumes().await?;
        self.write_files(&addresses)?;
        Ok(addresses)
    }

    /// What the containers together may use. Each has its own limit besides, so the pod is run
    /// where this one cannot be set.
    fn limit_pod(&self) {
        let Some(spec) = &self.pod.spec else { return };
        let amounts = PodAmounts::of(spec);
        let resources = Resources {
            cpu_shares: spec::cpu_shares(amounts.cpu_request_millis),
            cpu_quota_micros: amounts.cpu_limit_millis.map(spec::cpu_quota_micros),
            memory_limit_bytes: amounts.memory_limit_bytes.and_then(|b| i64::try_from(b).ok()),
            pids_limit: 0,
        };
        let group = self.node.pod_cgroup(&self.uid);
        if let Err(error) = self.node.hierarchies.limit(&group, &resources) {
            warn!(pod = self.uid, %error, "no limit on the pod as a whole");
        }
    }

    pub(super) async fn remove_sandbox(&mut self) -> Flow {
        self.probes.stop();
        let done = match self.unwire().await {
            Ok(()) => {
                remove_namespaces(&self.namespace_request().dir).and_then(|()| unmount(&self.shm()))
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {
                self.observed.sandbox = Sandbox::Removed;
                self.save();
                Flow::Continue
            }
            Err(error) => {
                warn!(pod = self.uid, %error, retry_secs = RETRY.as_secs(), "sandbox not removed");
                let message = error.to_string();
                let reason = "FailedKillPod";
                self.event(PodEvent { warning: true, reason, message, container: None });
                Flow::Hold
            }
        }
    }

    pub(super) fn sandbox_alive(&self) -> bool {
        namespaces_alive(&self.namespace_request())
    }

    pub(super) fn host_network(&self) -> bool {
        self.pod.spec.as_ref().and_then(|s| s.host_network) == Some(true)
    }

    pub(super) fn namespace_request(&self) -> NamespaceRequest {
        NamespaceRequest {
            dir: self.dir().join("ns"),
            hostname: files::hostname(&self.pod, &self.node.config.node_name),
            host_network: self.host_network(),
        }
    }

    pub(super) fn shm(&self) -> PathBuf {
        self.dir().join("shm")
    }

    pub(super) fn etc(&self) -> PathBuf {
        self.dir().join("etc")
    }

    async fn wire(&self) -> Result<Vec<std::net::IpAddr>, RuntimeError> {
        match &self.node.config.cni {
            Some(cni) if !self.host_network() => {
                let netns = self.dir().join("ns/net");
                cni.add(&self.attachment(&netns)).await
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn unwire(&self) -> Result<(), RuntimeError> {
        match &self.node.config.cni {
            Some(cni) if !self.host_network() => {
                let netns = self.dir().join("ns/net");
                cni.del(&self.attachment(&netns)).await
            }
            _ => Ok(()),
        }
    }

    fn attachment<'a>(&'a self, netns: &'a std::path::Path) -> Attachment<'a> {
        let metadata = &self.pod.metadata;
        Attachment {
            container_id: &self.uid,
            netns,
            namespace: metadata.namespace.as_deref().unwrap_or("default"),
            pod: metadata.name.as_deref().unwrap_or_default(),
            uid: &self.uid,
        }
    }

    /// Creates the pod's volumes or brings them up to date.
    pub(super) async fn prepare_volumes(&mut self) -> Result<(), SandboxError> {
        self.fetch_references().await?;
        let downward = self.downward();
        for volume in self.pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            let made =
                volumes::prepare(&self.dir(), &self.pod, volume, &self.references, &downward);
            made.map_err(|source| SandboxError::Volume { name: volume.name.clone(), source })?;
        }
        Ok(())
    }

    /// Fetches what the pod refers to. While the API is away what was fetched before stands.
    pub(super) async fn fetch_references(&mut self) -> Result<(), SandboxError> {
        let namespace = self.pod.metadata.namespace.clone().unwrap_or_default();
        let (maps, secrets) = volumes::referenced(&self.pod);
        let mut fetched =
            References { services: self.references.services.take(), ..References::default() };
        for name in maps {
            match self.node.api.config_map(&namespace, &name).await {
                Ok(found) => fetched.config_maps.extend(found.map(|map| (name, map))),
                Err(source) => match self.references.config_maps.remove(&name) {
                    Some(known) => drop(fetched.config_maps.insert(name, known)),
                    None => {
                        return Err(SandboxError::Api {
                            what: format!("configmap {name}"),
                            source,
                        });
                    }
                },
            }
        }
        for name in secrets {
            match self.node.api.secret(&namespace, &name).await {
                Ok(found) => fetched.secrets.extend(found.map(|secret| (name, secret))),
                Err(source) => match self.references.secrets.remove(&name) {
                    Some(known) => drop(fetched.secrets.insert(name, known)),
                    None => {
                        return Err(SandboxError::Api { what: format!("secret {name}"), source });
                    }
                },
            }
        }
        self.references = fetched;
        Ok(())
    }

    /// The variables that lead to services, as they were when the pod began: its containers see the
    /// same ones whenever they are started.
    pub(super) async fn fetch_services(&mut self) -> Result<(), SandboxError> {
        if self.references.services.is_some() {
            return Ok(());
        }
        let path = self.dir().join("services.json");
        if let Ok(Some(known)) = crate::disk::read_json(&path) {
            self.references.services = Some(known);
            return Ok(());
        }
        let namespace = self.pod.metadata.namespace.clone().unwrap_or_default();
        let links = self.pod.spec.as_ref().and_then(|s| s.enable_service_links) != Some(false);
        let listed = self.node.api.services(&namespace).await;
        let services =
            listed.map_err(|source| SandboxError::Api { what: "services".to_owned(), source })?;
        let variables = env::of_services(&services, &namespace, links);
        crate::disk::write_json(&path, &variables)
            .map_err(RuntimeError::io(path.display().to_string()))?;
        self.references.services = Some(variables);
        Ok(())
    }

    pub(super) fn downward(&self) -> Downward {
        let config = &self.node.config;
        let pod_addresses = match (&self.observed.sandbox, self.host_network()) {
            (_, true) => config.node_addresses.clone(),
            (Sandbox::Ready { addresses }, false) => addresses.clone(),
            _ => Vec::new(),
        };
        Downward {
            node_name: config.node_name.clone(),
            node_addresses: config.node_addresses.clone(),
            pod_addresses,
            cpu_capacity_millis: self.node.capacity.cpu_millis,
            memory_capacity_bytes: self.node.capacity.memory_bytes,
        }
    }

    fn write_files(&self, addresses: &[std::net::IpAddr]) -> Result<(), RuntimeError> {
        let Some(spec) = &self.pod.spec else { return Ok(()) };
        let config = &self.node.config;
        let hostname = files::hostname(&self.pod, &config.node_name);
        let full_name = files::full_name(&self.pod, &hostname, &config.cluster_domain);
        let names: Vec<String> = full_name.into_iter().chain([hostname.clone()]).collect();
        let reached_from = if self.host_network() { &config.node_addresses } else { addresses };
        for (name, content) in [
            ("hostname", format!("{hostname}\n")),
            ("hosts", files::hosts(spec, &names, addresses)),
            ("resolv.conf", resolv_conf(&self.pod, config, reached_from)),
        ] {
            let path = self.etc().join(name);
            crate::disk::write_atomically(&path, content.as_bytes(), 0o644)
                .map_err(RuntimeError::io(path.display().to_string()))?;
        }
        Ok(())
    }
}

fn bind_shm(dir: &std::path::Path) -> Result<(), RuntimeError> {
    unmount(dir)?;
    bind_tmpfs(dir, SHM_OPTIONS)
}
