//! A whole kubelet against the real API server: real containers, and a CNI plugin that writes
//! down how it was called.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to panic")]

use std::{
    fmt::Debug,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use control_apiserver::ServerConfig;
use control_kubelet::{CPU_USAGE_ANNOTATION, CniConfig, KubeletConfig, image};
use control_store::{EmbeddedStore, Options};
use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Node, Pod},
};
use kube::{
    Api, Client, Config, Resource,
    api::{DeleteParams, ListParams, LogParams, Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Everything is below one directory and one cgroup, and goes with the value.
struct Machine {
    name: String,
    dir: tempfile::TempDir,
    client: Client,
    server: CancellationToken,
    kubelet: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Machine {
    fn new(test: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "pods need root");
        let name = format!("kubelet-{test}-{}", std::process::id());
        let dir = tempfile::Builder::new().prefix(&name).tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path().join("state.redb"), Options::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = CancellationToken::new();
        let config = ServerConfig {
            store: Arc::new(store),
            plain: Some(listener),
            plain_sockets: "/proc/self/net".into(),
            secure: None,
            service_cidrs: ["10.96.0.0/16", "fd00:10:96::/112"].map(|t| t.parse().unwrap()).into(),
            node_port_range: ServerConfig::NODE_PORTS,
            speakers: Vec::new(),
            kubelet_tls: None,
            eviction_secs: ServerConfig::EVICTION_SECS,
            advertised: Vec::new(),
        };
        tokio::spawn(control_apiserver::serve(config, server.clone()));
        let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
        let machine = Self { name, dir, client, server, kubelet: None };
        machine.import_echo();
        machine.write_plugin();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn cgroup(&self) -> String {
        format!("/viaduct-test-{}", self.name)
    }

    fn import_echo(&self) {
        let binary = self.path("viaduct-echo");
        let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../echo/src/main.rs");
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let status = Command::new(rustc)
            .args(["--edition", "2024", "--crate-name", "viaduct_echo"])
            .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
            .args([binary.as_os_str(), main.as_os_str()])
            .status()
            .unwrap();
        assert!(status.success(), "the example program does not build");
        image::pack_static(&binary, "echo", &self.path("echo.tar")).unwrap();
        image::import(&self.path("echo.tar"), &self.path("images")).unwrap();
    }

    fn write_plugin(&self) {
        let plugin = self.path("plugin");
        let calls = self.path("calls");
        let script = format!(
            "#!/bin/sh\necho \"$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS $(cat)\" >> {}\n\
             echo '{{\"cniVersion\":\"1.1.0\",\"ips\":[{{\"address\":\"192.0.2.7/32\"}},{{\"address\":\"2001:db8::7/128\"}}]}}'\n",
            calls.display()
        );
        fs::write(&plugin, script).unwrap();
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn start_kubelet(&mut self) {
        let mut config = KubeletConfig::new("n1", self.path("state"), self.path("images"));
        config.node_addresses = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        config.labels = [("zone".to_owned(), "a".to_owned())].into();
        config.cgroup_parent = self.cgroup();
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.lease_duration = Duration::from_secs(4);
        config.cni =
            Some(CniConfig { plugin: self.path("plugin"), conf: json!({ "name": "test" }) });
        let stop = CancellationToken::new();
        let (client, of_task) = (self.client.clone(), stop.clone());
        let task = tokio::spawn(async move {
            control_kubelet::run(config, client, of_task).await.unwrap();
        });
        self.kubelet = Some((stop, task));
    }

    /// At once and without a word, as far as one process can do that to a part of itself.
    async fn kill_kubelet(&mut self) {
        let (_stop, task) = self.kubelet.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn pods(&self) -> Api<Pod> {
        self.api("default")
    }

    async fn create(&self, name: &str, spec: Value) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": name }, "spec": spec }))
        .unwrap();
        self.pods().create(&Default::default(), &pod).await.unwrap();
    }

    /// Asks until the object is there and as it is wanted.
    async fn until<K>(&self, api: Api<K>, name: &str, what: &str, wanted: impl Fn(&K) -> bool) -> K
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = api.get_opt(name).await;
            match &found {
                Ok(Some(object)) if wanted(object) => return object.clone(),
                _ if tokio::time::Instant::now() > deadline => panic!("{what}: {found:#?}"),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn until_gone(&self, name: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Some(pod) = self.pods().get_opt(name).await.unwrap() {
            assert!(tokio::time::Instant::now() < deadline, "{name} stays: {pod:#?}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn until_ready(&self, name: &str) -> Pod {
        self.until(self.pods(), name, "ready", |pod| condition(pod, "Ready") == Some("True")).await
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.server.cancel();
        if let Some((stop, _)) = &self.kubelet {
            stop.cancel();
        }
        control_kubelet::purge(&self.path("state"), &self.cgroup()).unwrap();
    }
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == kind).map(|c| c.status.as_str())
}

fn container_id(pod: &Pod) -> String {
    let statuses = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
    assert_eq!(statuses[0].restart_count, 0);
    statuses[0].container_id.clone().unwrap()
}

async fn ask(port: u16, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn echo() -> Value {
    json!({ "nodeName": "n1", "terminationGracePeriodSeconds": 5, "containers": [{
        "name": "echo", "image": "echo", "args": ["--port", "0"] }] })
}

#[tokio::test]
async fn a_node_registers_runs_its_pods_and_loses_none() {
    let mut machine = Machine::new("server");
    machine.start_kubelet();
    let nodes: Api<Node> = Api::all(machine.client.clone());
    let ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
        conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    let node = machine.until(nodes.clone(), "n1", "node", ready).await;
    assert_eq!(node.metadata.labels.unwrap()["zone"], "a");
    let leases: Api<Lease> = machine.api("kube-node-lease");
    let lease = machine.until(leases.clone(), "n1", "lease", |_| true).await;
    let renewed = lease.spec.unwrap().renew_time.unwrap();
    let later = |lease: &Lease| lease.spec.as_ref().unwrap().renew_time.as_ref() > Some(&renewed);
    let lease = machine.until(leases, "n1", "renewed", later).await;
    assert!(lease.metadata.annotations.unwrap().contains_key(CPU_USAGE_ANNOTATION));

    machine.create("web", echo()).await;
    machine.create("left", echo()).await;
    let pod = machine.until_ready("web").await;
    machine.until_ready("left").await;
    let status = pod.status.clone().unwrap();
    let addresses: Vec<String> = status.pod_ips.unwrap().into_iter().map(|p| p.ip).collect();
    assert_eq!(addresses, ["192.0.2.7", "2001:db8::7"]);
    let uid = pod.metadata.uid.clone().unwrap();
    let netns = machine.path("state").join("pods").join(&uid).join("ns/net");
    let expected = format!(
        "ADD {uid} {} eth0 IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;\
         K8S_POD_INFRA_CONTAINER_ID={uid};K8S_POD_UID={uid} {{\"name\":\"test\"}}",
        netns.display()
    );
    assert!(machine.calls().contains(&expected), "{:#?}", machine.calls());

    // Logs come through the API server, which asks the kubelet.
    let parameters = LogParams { follow: true, ..LogParams::default() };
    let mut lines = machine.pods().log_stream("web", &parameters).await.unwrap().lines();
    let first = tokio::time::timeout(PATIENCE, lines.try_next()).await.unwrap().unwrap().unwrap();
    assert!(first.starts_with("{\"listening\":"), "{first}");

    let node = nodes.get("n1").await.unwrap();
    let endpoint = node.status.unwrap().daemon_endpoints.unwrap().kubelet_endpoint.unwrap();
    let port = u16::try_from(endpoint.port).unwrap();
    let memory = "container_memory_working_set_bytes{namespace=\"default\",pod=\"web\"";
    for (path, expected) in [
        ("/healthz", "\r\n\r\nok"),
        ("/pods", "\"name\":\"web\""),
        ("/stats/summary", "\"nodeName\":\"n1\""),
        ("/metrics", memory),
        ("/containerLogs/default/web/echo?tailLines=1&timestamps=true", "+00:00 {\"listening\":"),
        ("/containerLogs/default/web/echo?previous=true", "HTTP/1.1 400 "),
        ("/containerLogs/default/web/echo?tailLines=x", "HTTP/1.1 400 "),
        ("/containerLogs/default/nobody/echo", "HTTP/1.1 404 "),
    ] {
        let answer = ask(port, path).await;
        assert!(answer.contains(expected), "{path}: {answer}");
    }

    // The next kubelet finds the pods as they are, and the deletion it has missed.
    let before = container_id(&pod);
    machine.kill_kubelet().await;
    machine.pods().delete("left", &DeleteParams::default()).await.unwrap();
    machine.start_kubelet();
    machine.until_gone("left").await;
    assert_eq!(container_id(&machine.until_ready("web").await), before);
    assert_eq!(machine.calls().iter().filter(|c| c.starts_with("ADD")).count(), 2);
    assert_eq!(machine.calls().iter().filter(|c| c.starts_with("DEL")).count(), 1);

    machine.pods().delete("web", &DeleteParams::default()).await.unwrap();
    machine.until_gone("web").await;
    let events: Api<Event> = machine.api("default");
    let events = events.list(&ListParams::default()).await.unwrap();
    for reason in ["Started", "Killing"] {
        let of_web = events.iter().any(|event| {
            event.reason.as_deref() == Some(reason)
                && event.involved_object.name.as_deref() == Some("web")
        });
        assert!(of_web, "{reason}: {events:#?}");
    }
}

#[tokio::test]
async fn files_follow_their_config_map() {
    let mut machine = Machine::new("files");
    machine.start_kubelet();
    let maps: Api<ConfigMap> = machine.api("default");
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": { "name": "settings" }, "data": { "colour": "red" } }))
    .unwrap();
    let nodes: Api<Node> = Api::all(machine.client.clone());
    machine.until(nodes, "n1", "node", |_| true).await;
    maps.create(&Default::default(), &map).await.unwrap();
    let mut spec = echo();
    spec["volumes"] = json!([{ "name": "files", "configMap": { "name": "settings" } }]);
    spec["containers"][0]["volumeMounts"] = json!([{ "name": "files", "mountPath": "/files" }]);
    spec["containers"][0]["env"] = json!([{ "name": "COLOUR", "valueFrom": {
        "configMapKeyRef": { "name": "settings", "key": "colour" } } }]);
    machine.create("web", spec).await;
    let pod = machine.until_ready("web").await;
    let uid = pod.metadata.uid.clone().unwrap();
    let dir = machine.path("state").join("pods").join(&uid);
    let pid = fs::read_to_string(dir.join("containers/echo/0/pid")).unwrap();
    // As the container sees it.
    let file = PathBuf::from(format!("/proc/{pid}/root/files/colour"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "red");
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.split('\0').any(|v| v == "COLOUR=red"), "{environment}");

    let patch = Patch::Merge(json!({ "data": { "colour": "blue" } }));
    maps.patch("settings", &PatchParams::default(), &patch).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while fs::read_to_string(&file).unwrap() != "blue" {
        assert!(tokio::time::Instant::now() < deadline, "the file stays as it was");
        tokio::time::sleep(POLL).await;
    }
}
