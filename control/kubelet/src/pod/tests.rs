//! Real pods: runc and conmon, as root, in directories and a cgroup of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
    time::Instant,
};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    api::{ApiError, PodApi},
    *,
};
use crate::{Capacity, KubeletConfig, image};

mod lifecycle;
mod limits;

const PATIENCE: Duration = Duration::from_secs(20);

/// The API as far as a worker sees it.
#[derive(Default)]
struct Recorder {
    status: watch::Sender<Value>,
    deleted: Notify,
    events: Mutex<Vec<PodEvent>>,
    config_maps: Mutex<std::collections::BTreeMap<String, ConfigMap>>,
}

impl PodApi for Recorder {
    fn patch_status<'a>(
        &'a self,
        _pod: &'a Pod,
        status: Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(async move {
            self.status.send_modify(|known| {
                if !known.is_object() {
                    *known = json!({});
                }
                for (field, value) in status.as_object().unwrap() {
                    known[field] = value.clone();
                }
            });
            Ok(())
        })
    }

    fn confirm_deletion<'a>(&'a self, _pod: &'a Pod) -> BoxFuture<'a, Result<(), ApiError>> {
        self.deleted.notify_one();
        Box::pin(async { Ok(()) })
    }

    fn config_map<'a>(
        &'a self,
        _namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ConfigMap>, ApiError>> {
        let found = self.config_maps.lock().unwrap().get(name).cloned();
        Box::pin(async { Ok(found) })
    }

    fn secret<'a>(
        &'a self,
        _namespace: &'a str,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Secret>, ApiError>> {
        Box::pin(async { Ok(None) })
    }

    fn services<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<Service>, ApiError>> {
        let service = json!({ "metadata": { "name": "web", "namespace": namespace },
                              "spec": { "clusterIP": "10.96.0.9", "ports": [{ "port": 80 }] } });
        Box::pin(async { Ok(vec![serde_json::from_value(service).unwrap()]) })
    }

    fn event(&self, _pod: &Pod, event: PodEvent) {
        self.events.lock().unwrap().push(event);
    }
}

/// The example program, linked statically; built once for all tests, beside them.
fn echo() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let dir = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let fresh = dir.join(format!("kubelet-unit-echo-{}", std::process::id()));
        let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../echo/src/main.rs");
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let status = Command::new(rustc)
            .args(["--edition", "2024", "--crate-name", "viaduct_echo", "-O"])
            .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
            .args([fresh.as_os_str(), main.as_os_str()])
            .status()
            .unwrap();
        assert!(status.success(), "the example program does not build");
        let binary = dir.join("kubelet-unit-echo");
        std::fs::rename(fresh, &binary).unwrap();
        binary
    })
}

/// A node without an API server, in a directory of its own; all of it goes with the value.
struct Node {
    name: String,
    dir: tempfile::TempDir,
    api: Arc<Recorder>,
    stop: CancellationToken,
}

impl Node {
    fn new(test: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "pods need root");
        let name = format!("kubelet-{test}-{}", std::process::id());
        let dir = tempfile::Builder::new().prefix(&name).tempdir().unwrap();
        let archive = dir.path().join("echo.tar");
        image::pack_static(echo(), "echo", &archive).unwrap();
        image::import(&archive, &dir.path().join("images")).unwrap();
        Self { name, dir, api: Arc::default(), stop: CancellationToken::new() }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn cgroup(&self) -> String {
        format!("/viaduct-test-{}", self.name)
    }

    /// A new process, as far as the node can tell: nothing is known but what is on disk.
    fn context(&mut self) -> Arc<NodeContext> {
        self.stop = CancellationToken::new();
        let mut config =
            KubeletConfig::new(&self.name, self.root(), self.dir.path().join("images"));
        config.cgroup_parent = self.cgroup();
        let capacity = Capacity::detect().unwrap();
        let api: Arc<dyn PodApi> = Arc::clone(&self.api) as Arc<dyn PodApi>;
        let node = Arc::new(NodeContext::new(config, capacity, api).unwrap());
        node.runtime.prepare().unwrap();
        let (exits, listeners) = (node.runtime.exits(), node.exits.clone());
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = exits::watch(&exits, &listeners) => ended.unwrap(),
            }
        });
        node
    }

    fn start(&mut self, pod: &Pod) -> Running {
        let (sender, assignment) = watch::channel(Assignment::Present(Arc::new(pod.clone())));
        let worker = Worker::new(self.context(), pod.clone(), assignment);
        let task = tokio::spawn(worker.run(self.stop.clone()));
        Running { sender, task }
    }

    async fn status(&self, what: &str, until: impl Fn(&Value) -> bool) -> Value {
        let mut statuses = self.api.status.subscribe();
        let wait = statuses.wait_for(|status| until(status));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(status) => status.unwrap().clone(),
            Err(_) => panic!(
                "{what}: {:#}\n{:#?}",
                *self.api.status.borrow(),
                self.api.events.lock().unwrap()
            ),
        }
    }

    fn observed(&self, pod: &Pod) -> Observed {
        let uid = pod.metadata.uid.as_deref().unwrap();
        let path = self.root().join("pods").join(uid).join("state.json");
        crate::disk::read_json(&path).unwrap().unwrap()
    }

    fn pid(&self, pod: &Pod, container: &str) -> i32 {
        let uid = pod.metadata.uid.as_deref().unwrap();
        let restarts = self.observed(pod).containers[container].restarts;
        let bundle = self.root().join("pods").join(uid).join("containers").join(container);
        let text = std::fs::read_to_string(bundle.join(restarts.to_string()).join("pid")).unwrap();
        text.parse().unwrap()
    }

    /// Until then the program has no handler, and the kernel drops a SIGTERM to a first process.
    async fn listening(&self, pod: &Pod, container: &str, restarts: u32) {
        let deadline = Instant::now() + PATIENCE;
        let line = "stdout F {\"listening\":\"[::]:";
        while !self.log(pod, container, restarts).contains(line) {
            assert!(Instant::now() < deadline, "{}", self.log(pod, container, restarts));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn log(&self, pod: &Pod, container: &str, restarts: u32) -> String {
        let uid = pod.metadata.uid.as_deref().unwrap();
        let path = log_path(&self.root().join("pods").join(uid), container, restarts);
        std::fs::read_to_string(path).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
        crate::purge(&self.root(), &self.cgroup()).unwrap();
    }
}

struct Running {
    sender: watch::Sender<Assignment>,
    task: JoinHandle<()>,
}

impl Running {
    async fn finished(self) {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the pod goes").unwrap();
    }

    /// As kill -9 does: no further step, and nothing is told to anyone.
    async fn die(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn pod(uid: &str, spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": format!("web-{uid}"), "namespace": "default", "uid": uid },
        "spec": spec,
    }))
    .unwrap()
}

fn container(status: &Value) -> &Value {
    &status["containerStatuses"][0]
}

fn is_running(status: &Value) -> bool {
    status["phase"] == "Running" && container(status)["state"]["running"].is_object()
}

#[tokio::test]
async fn a_pod_runs_logs_and_is_stopped() {
    let mut node = Node::new("run");
    let pod = pod(
        "u-run",
        json!({ "containers": [{
        "name": "echo", "image": "echo",
        "env": [{ "name": "PORT", "value": "0" },
                { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
    }] }),
    );
    let began = Instant::now();
    let running = node.start(&pod);
    let status = node.status("running", is_running).await;
    println!("running after {:?}", began.elapsed());
    assert_eq!(container(&status)["ready"], true);
    assert_eq!(container(&status)["restartCount"], 0);
    assert!(status["conditions"].as_array().unwrap().iter().all(|c| c["status"] == "True"));
    node.listening(&pod, "echo", 0).await;

    let mut deleted = pod.clone();
    deleted.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()));
    let began = Instant::now();
    running.sender.send(Assignment::Present(Arc::new(deleted))).unwrap();
    node.api.deleted.notified().await;
    println!("stopped after {:?}", began.elapsed());
    // SIGTERM was enough: the program's own code, not 137.
    let status = node.status("ended", |s| container(s)["state"]["terminated"].is_object()).await;
    assert_eq!(container(&status)["state"]["terminated"]["exitCode"], 0);
    assert_eq!(container(&status)["state"]["terminated"]["reason"], "Completed");
    running.finished().await;
    assert!(!node.root().join("pods/u-run").exists());
    let hierarchies = crate::runtime::cgroup::Hierarchies::detect().unwrap();
    assert_eq!(hierarchies.usage(&format!("{}/podu-run", node.cgroup())), None);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&node.name), "{mounts}");
}

#[tokio::test]
async fn a_killed_container_is_restarted_and_its_logs_stay() {
    let mut node = Node::new("restart");
    let pod = pod(
        "u-restart",
        json!({ "containers": [{
        "name": "echo", "image": "echo", "args": ["--port", "0"] }] }),
    );
    let _running = node.start(&pod);
    node.status("running", is_running).await;
    node.listening(&pod, "echo", 0).await;
    let first = node.pid(&pod, "echo");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let status =
        node.status("restarted", |s| is_running(s) && container(s)["restartCount"] == 1).await;
    assert_eq!(container(&status)["lastState"]["terminated"]["exitCode"], 137);
    assert_ne!(node.pid(&pod, "echo"), first);
    assert!(node.log(&pod, "echo", 0).contains("listening"));
}

#[tokio::test]
async fn a_pod_that_never_restarts_ends_with_its_exit_code() {
    let mut node = Node::new("never");
    let pod = pod(
        "u-never",
        json!({ "restartPolicy": "Never", "containers": [{
        "name": "get", "image": "echo", "args": ["get", "http://127.0.0.1:1/", "-n", "2"] }] }),
    );
    let _running = node.start(&pod);
    let status = node.status("failed", |s| s["phase"] == "Failed").await;
    let terminated = &container(&status)["state"]["terminated"];
    assert_eq!((&terminated["exitCode"], &terminated["reason"]), (&json!(1), &json!("Error")));
    let log = node.log(&pod, "get", 0);
    assert!(log.contains(r#"stdout F {"summary":true,"sent":2,"ok":0,"failed":2"#), "{log}");
}

/// The process that ran the pods is gone without a word; the next one finds them.
#[tokio::test]
async fn pods_are_adopted_and_none_is_restarted() {
    let mut node = Node::new("adopt");
    let pod = pod(
        "u-adopt",
        json!({ "containers": [
        { "name": "stays", "image": "echo", "args": ["--port", "0"] },
        { "name": "ends", "image": "echo", "args": ["--port", "0"] },
    ] }),
    );
    let running = node.start(&pod);
    let all_running = |s: &Value| {
        s["phase"] == "Running"
            && s["containerStatuses"].as_array().unwrap().iter().all(|c| c["ready"] == true)
    };
    node.status("running", all_running).await;
    let (stays, ends) = (node.pid(&pod, "stays"), node.pid(&pod, "ends"));
    node.listening(&pod, "stays", 0).await;
    node.listening(&pod, "ends", 0).await;
    node.stop.cancel();
    running.die().await;

    // What ends in the meantime is found by its exit code.
    let pid = nix::unistd::Pid::from_raw(ends);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let exits = node.root().join("exits/u-adopt_ends_0");
    let deadline = Instant::now() + PATIENCE;
    while !exits.exists() {
        assert!(Instant::now() < deadline, "conmon leaves the exit code");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = std::fs::read_to_string(format!("/proc/{stays}/stat")).unwrap();

    node.api.status.send_replace(Value::Null);
    let mut shown = pod.clone();
    shown.status = None;
    let running = node.start(&shown);
    let status = node
        .status("adopted", |s| {
            s["containerStatuses"].is_array()
                && s["containerStatuses"][1]["restartCount"] == 1
                && all_running(s)
        })
        .await;
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(status["containerStatuses"][1]["lastState"]["terminated"]["exitCode"], 0);
    assert_eq!(node.pid(&pod, "stays"), stays);
    // Field 22 is the time at which the process started: it is the same process.
    let after = std::fs::read_to_string(format!("/proc/{stays}/stat")).unwrap();
    let started =
        |stat: &str| stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().to_owned();
    assert_eq!(started(&before), started(&after));
    node.listening(&pod, "ends", 1).await;
    running.sender.send(Assignment::Gone).unwrap();
    running.finished().await;
}

/// The process was killed after it had written down a container's end and before it had cleaned
/// up after it.
#[tokio::test]
async fn what_an_end_left_behind_is_swept_up() {
    let mut node = Node::new("sweep");
    let mut pod = pod(
        "u-sweep",
        json!({ "containers": [{
        "name": "echo", "image": "echo", "args": ["--port", "0"] }] }),
    );
    let running = node.start(&pod);
    node.status("running", is_running).await;
    let pid = node.pid(&pod, "echo");
    node.stop.cancel();
    running.die().await;
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let state = node.root().join("pods/u-sweep/state.json");
    let mut observed: Observed = crate::disk::read_json(&state).unwrap().unwrap();
    let now = Timestamp::now();
    observed.containers.get_mut("echo").unwrap().note_exit(Exit {
        id: "u-sweep_echo_0".to_owned(),
        exit_code: 137,
        started_at: now,
        finished_at: now,
        reason: None,
        message: None,
    });
    crate::disk::write_json(&state, &observed).unwrap();

    pod.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    node.start(&pod).finished().await;
    assert!(!node.root().join("pods/u-sweep").exists());
    assert_eq!(std::fs::read_dir(node.root().join("runc")).unwrap().count(), 0);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&node.name), "{mounts}");
}

#[tokio::test]
async fn a_volume_that_stays_missing_is_tried_ever_less_often() {
    let mut node = Node::new("volume");
    let pod = pod(
        "u-volume",
        json!({ "volumes": [{ "name": "v", "configMap": { "name": "missing" } }],
                "containers": [{ "name": "echo", "image": "echo" }] }),
    );
    let running = node.start(&pod);
    let state = node.root().join("pods/u-volume/state.json");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let observed = crate::disk::read_json::<Observed>(&state).ok().flatten();
        let sandbox = observed.map(|observed| observed.sandbox);
        if matches!(sandbox, Some(crate::core::Sandbox::Failed { attempts: 3, .. })) {
            break;
        }
        assert!(Instant::now() < deadline, "attempts are counted: {sandbox:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.sender.send(Assignment::Gone).unwrap();
    running.finished().await;
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named_and_found_later() {
    let mut node = Node::new("image");
    let pod = pod(
        "u-image",
        json!({ "containers": [{
        "name": "echo", "image": "later", "args": ["--port", "0"] }] }),
    );
    let _running = node.start(&pod);
    let status = node
        .status("waiting", |s| container(s)["state"]["waiting"]["reason"] == "ErrImageNeverPull")
        .await;
    let message = container(&status)["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("viaduct image import"), "{message}");
    let archive = node.dir.path().join("later.tar");
    image::pack_static(echo(), "later", &archive).unwrap();
    image::import(&archive, &node.dir.path().join("images")).unwrap();
    node.status("running", is_running).await;
}

#[tokio::test]
async fn probes_decide_readiness_and_restarts() {
    let mut node = Node::new("probes");
    let mut maps = std::collections::BTreeMap::new();
    let map = json!({ "data": { "greeting": "hello" } });
    maps.insert("settings".to_owned(), serde_json::from_value(map).unwrap());
    *node.api.config_maps.lock().unwrap() = maps;
    // On the node's network, so that probes reach it without a CNI plugin; the port is the test's.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let pod = pod(
        "u-probes",
        json!({ "hostNetwork": true,
        "terminationGracePeriodSeconds": 5,
        "volumes": [{ "name": "files", "configMap": { "name": "settings" } }],
        "containers": [{
            "name": "echo", "image": "echo", "args": ["--port", port.to_string()],
            "ports": [{ "name": "http", "containerPort": port }],
            "volumeMounts": [{ "name": "files", "mountPath": "/files" }],
            "readinessProbe": { "httpGet": { "path": "/healthz", "port": "http" },
                                "periodSeconds": 1, "failureThreshold": 1 },
            "livenessProbe": { "exec": { "command": [
                    "/kubelet-unit-echo", "get", format!("http://127.0.0.1:{port}/") ] },
                "periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 5,
                "initialDelaySeconds": 3600 },
        }] }),
    );
    let _running = node.start(&pod);
    node.status("ready", |s| container(s)["ready"] == true).await;
    let ask = |path: &str| {
        let output = Command::new(echo())
            .args(["get", &format!("http://127.0.0.1:{port}{path}")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    ask("/ready?off");
    let status = node.status("unready", |s| container(s)["ready"] == false).await;
    assert_eq!(status["phase"], "Running");
    let unhealthy = |event: &PodEvent| event.reason == "Unhealthy" && event.warning;
    assert!(node.api.events.lock().unwrap().iter().any(unhealthy));
    ask("/ready?on");
    node.status("ready again", |s| container(s)["ready"] == true).await;
    // The volume is a directory of the node as well as of the container.
    let file = node.root().join("pods/u-probes/volumes/files/greeting");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "hello");
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_the_container() {
    let mut node = Node::new("liveness");
    let pod = pod(
        "u-liveness",
        json!({ "terminationGracePeriodSeconds": 5, "containers": [{
        "name": "echo", "image": "echo", "args": ["--port", "0"],
        "livenessProbe": { "exec": { "command": ["/no-such-program"] },
                           "periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 5 },
    }] }),
    );
    let _running = node.start(&pod);
    let status = node
        .status("restarted", |s| {
            s["containerStatuses"].is_array() && container(s)["restartCount"] == 1
        })
        .await;
    assert_eq!(container(&status)["lastState"]["terminated"]["exitCode"], 0, "by SIGTERM");
    let events = node.api.events.lock().unwrap();
    let killing = events.iter().find(|e| e.reason == "Killing").expect("an event");
    assert!(killing.message.contains("failed liveness probe"), "{}", killing.message);
}

#[tokio::test]
async fn a_pod_shares_its_namespaces_and_nothing_of_the_node() {
    let mut node = Node::new("share");
    let pod = pod(
        "u-share",
        json!({ "containers": [
        { "name": "a", "image": "echo", "args": ["--port", "0"],
          "resources": { "limits": { "memory": "64Mi", "cpu": "500m" } } },
        { "name": "b", "image": "echo", "args": ["--port", "0"],
          "securityContext": { "runAsUser": 1000, "readOnlyRootFilesystem": true,
                               "capabilities": { "drop": ["ALL"] } } },
    ] }),
    );
    let _running = node.start(&pod);
    node.status("running", |s| {
        s["containerStatuses"].is_array()
            && s["containerStatuses"].as_array().unwrap().iter().all(|c| c["ready"] == true)
    })
    .await;
    let (a, b) = (node.pid(&pod, "a"), node.pid(&pod, "b"));
    let ns = |pid: i32, name: &str| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
    let own = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    for name in ["net", "ipc", "uts"] {
        assert_eq!(ns(a, name), ns(b, name), "{name}");
        assert_ne!(ns(a, name), own(name), "{name}");
    }
    for name in ["pid", "mnt"] {
        assert_ne!(ns(a, name), ns(b, name), "{name}");
        assert_ne!(ns(a, name), own(name), "{name}");
    }
    let status = std::fs::read_to_string(format!("/proc/{b}/status")).unwrap();
    assert!(status.contains("Uid:\t1000\t1000\t1000\t1000"), "{status}");
    assert!(status.contains("CapBnd:\t0000000000000000"), "{status}");
    let groups = std::fs::read_to_string(format!("/proc/{a}/cgroup")).unwrap();
    let group = format!("{}/podu-share/a", node.cgroup());
    assert!(groups.lines().all(|line| line.ends_with(&group)), "{groups}");
    let hierarchies = crate::runtime::cgroup::Hierarchies::detect().unwrap();
    assert!(hierarchies.usage(&group).unwrap().memory_bytes > 0);
}

#[tokio::test]
async fn a_pre_stop_hook_runs_before_the_signal() {
    let mut node = Node::new("prestop");
    // Without the hook the program would end at once.
    let pod = pod(
        "u-prestop",
        json!({ "containers": [{
        "name": "echo", "image": "echo", "args": ["--port", "0"],
        "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } } }] }),
    );
    let running = node.start(&pod);
    node.status("running", is_running).await;
    node.listening(&pod, "echo", 0).await;
    let began = Instant::now();
    running.sender.send(Assignment::Gone).unwrap();
    running.finished().await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let mut node = Node::new("refuse");
    let pod = pod(
        "u-refuse",
        json!({ "hostPID": true, "containers": [{
        "name": "echo", "image": "echo" }] }),
    );
    let _running = node.start(&pod);
    let status = node
        .status("refused", |s| {
            container(s)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
        .await;
    let message = container(&status)["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("hostPID"), "{message}");
}
