//! A server, controllers, and nodes that are a few lines each.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to panic")]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use control_apiserver::ServerConfig;
use control_controllers::{ControllersConfig, Custom};
use control_store::{EmbeddedStore, Options};
use futures::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        coordination::v1::Lease,
        core::v1::{Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    core::{ApiResource, ClusterResourceScope, DynamicObject, GroupVersionKind},
    runtime::watcher::{self, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use viaduct_api::v1alpha1::IPBlockSpec;

const PATIENCE: Duration = Duration::from_secs(60);
const NODE_GRACE: Duration = Duration::from_secs(3);

pub(crate) struct Cluster {
    client: Client,
    namespace: String,
    inner: Arc<Inner>,
}

struct Inner {
    url: String,
    nodes: Mutex<BTreeMap<String, JoinSet<()>>>,
    controllers: Mutex<JoinSet<()>>,
    shutdown: CancellationToken,
    _dir: TempDir,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path().join("state.redb"), Options::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let config = ServerConfig {
            store: Arc::new(store),
            plain: Some(listener),
            plain_sockets: "/proc/self/net".into(),
            secure: None,
            service_cidrs: ["10.96.0.0/16", "fd00:10:96::/112"].map(|t| t.parse().unwrap()).into(),
            node_port_range: ServerConfig::NODE_PORTS,
            speakers: Vec::new(),
            kubelet_tls: None,
            eviction_secs: 1,
            advertised: Vec::new(),
        };
        tokio::spawn(control_apiserver::serve(config, shutdown.clone()));
        let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
        let inner = Inner {
            url,
            nodes: Mutex::default(),
            controllers: Mutex::default(),
            shutdown,
            _dir: dir,
        };
        let cluster = Self { client, namespace: "default".into(), inner: Arc::new(inner) };
        cluster.restart_controllers();
        for (name, cidr) in [("v4", "10.244.0.0/16"), ("v6", "fd00:10:244::/56")] {
            cluster.create_custom("IPPool", "ippools", name, json!({"cidr": cidr})).await;
        }
        let cidrs = json!({"cidrs": ["198.51.100.0/24", "2001:db8:f::/64"]});
        cluster.create_custom("VIPPool", "vippools", "default", cidrs).await;
        cluster
    }

    pub(crate) fn url(&self) -> &str {
        &self.inner.url
    }

    /// Kills the controllers in whatever they are doing, and starts them anew.
    pub(crate) fn restart_controllers(&self) {
        let config =
            ControllersConfig { node_grace: NODE_GRACE, eviction_delay: Duration::from_secs(1) };
        let (client, shutdown) = (self.client.clone(), self.inner.shutdown.clone());
        let mut controllers = self.inner.controllers.lock().unwrap();
        controllers.abort_all();
        controllers.spawn(async move {
            control_controllers::run(client, config, shutdown).await.unwrap();
        });
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        Self { client: self.client.clone(), namespace: namespace.into(), inner: self.inner.clone() }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn cluster_api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api().create(&Default::default(), &object).await.unwrap()
    }

    async fn create_custom(&self, kind: &str, plural: &str, name: &str, spec: Value) {
        let resource = custom(kind, plural);
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let object = DynamicObject::new(name, &resource).data(json!({"spec": spec}));
        // The server is started beside us.
        let create = async {
            loop {
                match api.create(&Default::default(), &object).await {
                    Ok(_) => break,
                    Err(kube::Error::Api(status)) => panic!("{status}"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(PATIENCE, create).await.expect("the server answers");
    }

    pub(crate) async fn add_node(&self, name: &str) {
        self.add_node_with_cpus(name, 4).await;
    }

    /// A node that is alive and runs what it is given, with an address from nowhere.
    pub(crate) async fn add_node_with_cpus(&self, name: &str, cpus: u32) {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {
                "allocatable": {"cpu": cpus.to_string(), "memory": "8Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }))
        .unwrap();
        let nodes: Api<Node> = self.cluster_api();
        nodes.create(&Default::default(), &node).await.unwrap();
        self.revive(name);
    }

    /// The node does what nodes do.
    fn revive(&self, name: &str) {
        let mut tasks = JoinSet::new();
        tasks.spawn(renew(self.client.clone(), name.to_owned()));
        tasks.spawn(run_pods(self.client.clone(), name.to_owned()));
        self.inner.nodes.lock().unwrap().insert(name.to_owned(), tasks);
    }

    /// The node is there again after it was cut off.
    pub(crate) fn rejoin(&self, name: &str) {
        self.revive(name);
    }

    /// The node is cut off.
    pub(crate) async fn silence(&self, name: &str) {
        let tasks = self.inner.nodes.lock().unwrap().remove(name);
        tasks.expect("is a node").shutdown().await;
    }

    /// Waits until the objects of the namespace are as they should be.
    pub(crate) async fn until<K>(&self, what: &str, is: impl FnMut(&[K]) -> bool) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Clone
            + Debug
            + Send
            + 'static,
    {
        until(self.api(), what, is).await
    }

    pub(crate) async fn until_cluster<K>(&self, what: &str, is: impl FnMut(&[K]) -> bool) -> Vec<K>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Clone
            + Debug
            + Send
            + 'static,
    {
        until(self.cluster_api(), what, is).await
    }

    pub(crate) async fn until_blocks(
        &self,
        what: &str,
        is: impl FnMut(&[Custom<IPBlockSpec>]) -> bool,
    ) -> Vec<Custom<IPBlockSpec>> {
        let resource = custom("IPBlock", "ipblocks");
        until(Api::all_with(self.client.clone(), &resource), what, is).await
    }
}

async fn until<K>(api: Api<K>, what: &str, mut is: impl FnMut(&[K]) -> bool) -> Vec<K>
where
    K: Resource + DeserializeOwned + Clone + Debug + Send + 'static,
{
    let mut known: BTreeMap<String, K> = BTreeMap::new();
    let watching = async {
        let mut stream = watcher(api, watcher::Config::default()).boxed();
        let mut listed = false;
        while let Some(event) = stream.next().await {
            match event.unwrap() {
                watcher::Event::Init => known.clear(),
                watcher::Event::InitDone => listed = true,
                watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                    known.insert(object.name_any(), object);
                }
                watcher::Event::Delete(object) => {
                    known.remove(&object.name_any());
                }
            }
            let all: Vec<K> = known.values().cloned().collect();
            if listed && is(&all) {
                return all;
            }
        }
        unreachable!("a watch has no end")
    };
    match timeout(PATIENCE, watching).await {
        Ok(all) => all,
        Err(_) => panic!("never saw {what}: {known:#?}"),
    }
}

fn custom(kind: &str, plural: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk("viaduct.dev", "v1alpha1", kind);
    ApiResource::from_gvk_with_plural(&kind, plural)
}

async fn renew(client: Client, node: String) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let nodes: Api<Node> = Api::all(client);
    loop {
        let now = format!("{:.6}", Timestamp::now());
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": node},
            "spec": {"holderIdentity": node, "leaseDurationSeconds": 3, "renewTime": now},
        });
        let params = PatchParams::apply("test-node").force();
        leases.patch(&node, &params, &Patch::Apply(lease)).await.unwrap();
        // As kubelets do that were given up.
        let status = nodes.get_status(&node).await.ok().and_then(|node| node.status);
        let mut conditions = status.and_then(|status| status.conditions).into_iter().flatten();
        if conditions.any(|condition| condition.type_ == "Ready" && condition.status != "True") {
            let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
            nodes.patch_status(&node, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
        }
        tokio::time::sleep(NODE_GRACE / 6).await;
    }
}

/// Pods of the node are running and ready as soon as they are there, and gone as soon as they are
/// to go.
async fn run_pods(client: Client, node: String) {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut pods = watcher(Api::<Pod>::all(client.clone()), config).boxed();
    let mut addresses = 0u32;
    while let Some(event) = pods.next().await {
        let (watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event.unwrap() else {
            continue;
        };
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        let name = pod.name_any();
        // Either may meet a pod that has gone meanwhile.
        if pod.metadata.deletion_timestamp.is_some() {
            let _gone = api.delete(&name, &DeleteParams::default().grace_period(0)).await;
        } else if is_to_run(&pod) {
            addresses += 1;
            let number = node.bytes().last().map(u32::from).unwrap_or_default();
            let v4 = format!("192.0.{number}.{addresses}");
            let v6 = format!("2001:db8:{number:x}::{addresses:x}");
            let status = json!({"status": {
                "phase": "Running",
                "podIP": v4,
                "podIPs": [{"ip": v4}, {"ip": v6}],
                "conditions": [{"type": "Ready", "status": "True",
                    "lastTransitionTime": Timestamp::now().to_string()}],
            }});
            let _gone =
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
        }
    }
}

/// An image named `broken` is none that could be run.
fn is_to_run(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let broken = |image: &Option<String>| image.as_deref().is_some_and(|i| i.starts_with("broken"));
    // Also one that was given up while the node was away.
    let runs = !running_on(std::slice::from_ref(pod)).is_empty();
    !runs && !containers.into_iter().any(|one| broken(&one.image))
}

pub(crate) fn replica_set(name: &str, replicas: u32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "echo",
                    "ports": [{"containerPort": 8080}]}]},
            },
        },
    })
}

/// Running pods that stay, by node.
pub(crate) fn running_on(pods: &[Pod]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for pod in pods {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let ready = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let ready = ready.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
        if phase == Some("Running") && ready && pod.metadata.deletion_timestamp.is_none() {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            *count.entry(node.unwrap_or_default()).or_default() += 1;
        }
    }
    count
}

/// Of a service, by family.
pub(crate) fn ready_endpoints(slices: &[EndpointSlice], service: &str) -> [usize; 2] {
    ["IPv4", "IPv6"].map(|family| {
        let label = |slice: &EndpointSlice| {
            slice.labels().get("kubernetes.io/service-name").is_some_and(|name| name == service)
        };
        let mine = slices.iter().filter(|s| s.address_type == family && label(s));
        mine.flat_map(|slice| slice.endpoints.iter().flatten())
            .filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true))
            .count()
    })
}

pub(crate) fn vips(service: &Service) -> Vec<String> {
    let status = service.status.as_ref();
    let ingress = status.and_then(|s| s.load_balancer.as_ref()?.ingress.as_ref());
    ingress.into_iter().flatten().filter_map(|one| one.ip.clone()).collect()
}

pub(crate) fn block_nodes(blocks: &[Custom<IPBlockSpec>]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for block in blocks {
        *count.entry(block.spec.node.clone()).or_default() += 1;
    }
    count
}
