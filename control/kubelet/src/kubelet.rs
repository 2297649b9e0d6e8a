//! The parts put together.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{Id, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    Capacity, KubeletConfig, RuntimeError, events,
    http::{self, Server},
    image::{self, GcPolicy},
    kube_api::KubeApi,
    node::{Facts, NodeReporter},
    pod::{Assignment, Worker, adopt, context::NodeContext, image_names, is_path_safe},
    runtime::exits,
    stats::Sampler,
};

/// How often the disk of the images is looked at, as in Kubernetes.
const IMAGE_GC_PERIOD: Duration = Duration::from_secs(300);
/// Before a worker that broke is begun again.
const WORKER_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error("configuration: {}", .0.join("; "))]
    Config(Vec<String>),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> KubeletError {
    let what = what.into();
    move |source| KubeletError::Io { what, source }
}

/// Pods that have a worker, by uid; the HTTP server looks names up in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodTable(Arc<Mutex<BTreeMap<String, Arc<Pod>>>>);

impl PodTable {
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn set(&self, uid: &str, pod: Arc<Pod>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), pod);
    }

    fn remove(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Runs the node's pods until `shutdown`, which leaves every pod running.
///
/// Errors are those of the start; what fails later is logged and tried again.
pub async fn run(
    config: KubeletConfig,
    client: Client,
    shutdown: CancellationToken,
) -> Result<(), KubeletError> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(KubeletError::Config(problems));
    }
    let capacity = match config.capacity {
        Some(capacity) => capacity,
        None => Capacity::detect().map_err(failed("capacity"))?,
    };
    let (sink, queue) = events::channel();
    let api = Arc::new(KubeApi { client: client.clone(), events: sink });
    let node = Arc::new(NodeContext::new(config.clone(), capacity, api).map_err(failed("/proc"))?);
    node.runtime.prepare()?;
    let facts = Facts::detect(node.runtime.version().await?);
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(failed(format!("listening on {}", config.listen)))?;
    let port = listener.local_addr().map_err(failed("listening"))?.port();
    let table = PodTable::default();
    let sampler = Arc::new(Sampler::new(node.hierarchies.clone(), config.cgroup_parent.clone()));
    let server =
        Server { node: Arc::clone(&node), pods: table.clone(), sampler: Arc::clone(&sampler) };

    // Ends the parts when we return, whichever way.
    let stop = shutdown.child_token();
    let _stop_on_return = stop.clone().drop_guard();
    let mut parts = JoinSet::new();
    parts.spawn(http::serve(listener, config.tls.clone(), server, stop.clone()));
    parts.spawn(queue.run(client.clone(), config.node_name.clone()));
    parts.spawn(collect_images(config.image_store.clone(), config.image_gc));
    let reporter = NodeReporter { client: client.clone(), config, capacity, facts, port, sampler };
    parts.spawn(reporter.run(stop.clone()));

    let pods = Pods {
        node: Arc::clone(&node),
        table,
        workers: BTreeMap::new(),
        tasks: JoinSet::new(),
        ids: BTreeMap::new(),
        stop: stop.clone(),
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = watch_exits(&node) => {}
        () = pods.run(client) => {}
    }
    stop.cancel();
    info!("stopped, pods stay");
    Ok(())
}

/// Makes room on the disk of the images, now and then.
async fn collect_images(store: PathBuf, policy: GcPolicy) {
    let mut period = tokio::time::interval(IMAGE_GC_PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first is at once, when not all nodes of the store have said what they use.
    period.tick().await;
    loop {
        period.tick().await;
        let store = store.clone();
        match tokio::task::spawn_blocking(move || image::collect(&store, &policy)).await {
            Ok(Ok(_removed)) => {}
            Ok(Err(error)) => warn!(%error, "images not removed"),
            Err(error) => error!(%error, "images not removed"),
        }
    }
}

/// Without the watch the workers' resync still finds what ended.
async fn watch_exits(node: &NodeContext) {
    loop {
        if let Err(error) = exits::watch(&node.runtime.exits(), &node.exits).await {
            error!(%error, "ends of containers are not watched");
        }
        tokio::time::sleep(WORKER_PAUSE).await;
    }
}

/// The workers, and what each was told last.
struct Pods {
    node: Arc<NodeContext>,
    table: PodTable,
    workers: BTreeMap<String, watch::Sender<Assignment>>,
    tasks: JoinSet<()>,
    ids: BTreeMap<Id, String>,
    stop: CancellationToken,
}

impl Pods {
    async fn run(mut self, client: Client) {
        let recorded = adopt::recorded_pods(&self.node.runtime);
        let named = recorded
            .iter()
            .map(|pod| (pod.metadata.uid.clone().unwrap_or_default(), image_names(pod)));
        self.node.images.begin(named);
        for pod in recorded {
            self.assign(Arc::new(pod));
        }
        let name = &self.node.config.node_name;
        let config = watcher::Config::default().fields(&format!("spec.nodeName={name}"));
        let mut events = std::pin::pin!(watcher(Api::<Pod>::all(client), config).default_backoff());
        let mut listed = BTreeSet::new();
        loop {
            tokio::select! {
                event = events.try_next() => match event {
                    Ok(Some(event)) => self.handle(event, &mut listed),
                    // A watcher has no end.
                    Ok(None) => return,
                    // It begins again by itself.
                    Err(error) => warn!(%error, "watch of pods"),
                },
                Some(ended) = self.tasks.join_next_with_id() => self.note_ended(ended).await,
            }
        }
    }

    fn handle(&mut self, event: watcher::Event<Pod>, listed: &mut BTreeSet<String>) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(pod) => {
                listed.extend(pod.metadata.uid.clone());
                self.assign(Arc::new(pod));
            }
            watcher::Event::InitDone => {
                for (uid, worker) in &self.workers {
                    if !listed.contains(uid) {
                        worker.send_replace(Assignment::Gone);
                    }
                }
                listed.clear();
            }
            watcher::Event::Apply(pod) => self.assign(Arc::new(pod)),
            watcher::Event::Delete(pod) => {
                if let Some(worker) = pod.metadata.uid.and_then(|uid| self.workers.get(&uid)) {
                    worker.send_replace(Assignment::Gone);
                }
            }
        }
    }

    fn assign(&mut self, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let names = pod.spec.iter().flat_map(|spec| {
            let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
            let volumes = spec.volumes.iter().flatten().map(|v| v.name.as_str());
            containers.map(|c| c.name.as_str()).chain(volumes)
        });
        if !std::iter::once(uid.as_str()).chain(names).all(is_path_safe) {
            warn!(uid, name = pod.metadata.name, "pod with unusable names is not run");
            return;
        }
        self.table.set(&uid, Arc::clone(&pod));
        if let Some(worker) = self.workers.get(&uid) {
            worker.send_replace(Assignment::Present(pod));
            return;
        }
        let (sender, assignment) = watch::channel(Assignment::Present(Arc::clone(&pod)));
        let worker = Worker::new(Arc::clone(&self.node), Arc::unwrap_or_clone(pod), assignment);
        let task = self.tasks.spawn(worker.run(self.stop.clone()));
        self.ids.insert(task.id(), uid.clone());
        self.workers.insert(uid, sender);
    }

    async fn note_ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(uid) = self.ids.remove(&id) else { return };
        let last = self.workers.remove(&uid).map(|worker| worker.borrow().clone());
        self.table.remove(&uid);
        if let (Err(error), Some(Assignment::Present(pod))) = (ended, last)
            && !self.stop.is_cancelled()
        {
            error!(uid, %error, "the pod's worker broke, begun again");
            tokio::time::sleep(WORKER_PAUSE).await;
            self.assign(pod);
        }
    }
}
