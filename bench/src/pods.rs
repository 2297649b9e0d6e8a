//! How fast pods start, and how fast they are put on the network.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use viaduct_lab::{Cluster, program};

use crate::statistics::percentile;

const CNI_ROUNDS: usize = 50;
const LIMIT: Duration = Duration::from_secs(180);

/// From the moment a pod was seen first to the moment it was seen ready, in milliseconds.
pub(crate) struct Started {
    pub(crate) count: usize,
    one_by_one: Vec<f64>,
    at_once: Vec<f64>,
    all_ready: Duration,
}

impl Started {
    pub(crate) fn print(&self) {
        println!("POD START, from creation to ready, as a watch sees it (ms)");
        let row = |values: &[f64], what: &str| {
            let mut values = values.to_vec();
            let (p50, p99) = (percentile(&mut values, 0.5), percentile(&mut values, 0.99));
            println!("{p50:>8.0} p50 {p99:>8.0} p99  {what}");
        };
        row(&self.one_by_one, "one after another");
        row(&self.at_once, &format!("{} at once", self.at_once.len()));
        println!("{:>8.0}  until all of them were ready", self.all_ready.as_secs_f64() * 1e3);
    }
}

/// Single pods first, then all that are missing to `count` at once; they stay.
pub(crate) fn start_many(cluster: &Cluster, count: usize) -> Result<Started> {
    let template = pod_template();
    let single = |name: &str| {
        let mut pod = template.clone();
        pod["metadata"]["name"] = name.into();
        pod["metadata"]["labels"] = json!({"app": "bench-single"});
        pod
    };
    let mut one_by_one = Vec::new();
    for number in 0..10 {
        let name = format!("bench-{number}");
        let pod = single(&name).to_string();
        let times = watch(cluster, "app=bench-single", 1, || cluster.apply(&pod).map(drop))?;
        one_by_one.push(*times.get(&name).context("the pod was not seen")?);
        cluster.kubectl(&["delete", "pod", &name, "--wait"])?;
    }
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "bench-many", "namespace": "default"},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": {"app": "bench-many"}},
            "template": {"metadata": {"labels": {"app": "bench-many"}}, "spec": template["spec"]},
        },
    });
    let begun = Instant::now();
    let set = set.to_string();
    let times = watch(cluster, "app=bench-many", count, || cluster.apply(&set).map(drop))?;
    let at_once = times.into_values().collect();
    Ok(Started { count, one_by_one, at_once, all_ready: begun.elapsed() })
}

/// A pod of the echo example's image, probed every second.
fn pod_template() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "echo", "image": "viaduct.dev/echo:latest", "imagePullPolicy": "Never",
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
            }],
        },
    })
}

/// Follows the pods with a label until `count` of them are ready; when each was, after it was seen
/// first.
fn watch(
    cluster: &Cluster,
    selector: &str,
    count: usize,
    begin: impl FnOnce() -> Result<()>,
) -> Result<BTreeMap<String, f64>> {
    let mut kubectl = cluster
        .kubectl_command()
        .args(["get", "pods", "-l", selector, "--watch", "--output-watch-events", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .context("start kubectl")?;
    let stdout = kubectl.stdout.take().context("kubectl has no output")?;
    begin()?;
    let begun = Instant::now();
    let mut seen: BTreeMap<String, Instant> = BTreeMap::new();
    let mut ready = BTreeMap::new();
    let events = serde_json::Deserializer::from_reader(BufReader::new(stdout)).into_iter::<Value>();
    for event in events {
        let event = event?;
        let pod = &event["object"];
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let since = *seen.entry(name.clone()).or_insert_with(Instant::now);
        let conditions = pod["status"]["conditions"].as_array();
        let is_ready = conditions.is_some_and(|all| {
            all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
        });
        if is_ready {
            ready.entry(name).or_insert_with(|| since.elapsed().as_secs_f64() * 1e3);
        }
        ensure!(begun.elapsed() < LIMIT, "{} of {count} pods are ready", ready.len());
        if ready.len() == count {
            break;
        }
    }
    // It would watch for ever.
    kubectl.kill()?;
    kubectl.wait()?;
    ensure!(ready.len() == count, "the watch ended with {} of {count} pods ready", ready.len());
    Ok(ready)
}

/// ADD and DEL as a runtime calls them: the plugin's process, its daemon, the kernel.
pub(crate) fn cni(cluster: &Cluster) -> Result<()> {
    let node = &cluster.nodes[0];
    let folder = tempfile::tempdir()?;
    let plugin = folder.path().join("viaduct-cni");
    std::os::unix::fs::symlink(program("viaduct")?, &plugin)?;
    let socket = cluster.run_dir().join("nodes").join(node).join("cni.sock");
    let conf = json!({
        "cniVersion": "1.1.0", "name": "viaduct", "type": "viaduct-cni", "socket": socket,
    });
    let host = cluster.host(node);
    let (mut adds, mut deletes) = (Vec::new(), Vec::new());
    for round in 0..CNI_ROUNDS {
        let container = format!("bench-up-cni-{round}");
        // By the process: the node's own mount namespace sees no name that is made in the host's.
        let holder = Holder::start()?;
        let netns = format!("/proc/{}/ns/net", holder.0.id());
        let call = |verb: &str| -> Result<f64> {
            let begun = Instant::now();
            let mut child = host
                .command(&plugin)
                .env("CNI_COMMAND", verb)
                .env("CNI_CONTAINERID", &container)
                .env("CNI_NETNS", &netns)
                .env("CNI_IFNAME", "eth0")
                .env("CNI_PATH", folder.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            child.stdin.take().context("no input")?.write_all(conf.to_string().as_bytes())?;
            let output = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.success(), "{verb}: {said}");
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        };
        adds.push(call("ADD")?);
        deletes.push(call("DEL")?);
    }
    println!("CNI, {CNI_ROUNDS} calls, the plugin's process included (ms)");
    for (what, mut all) in [("ADD", adds), ("DEL", deletes)] {
        println!(
            "{:>8.1} p50 {:>8.1} p99  {what}",
            percentile(&mut all, 0.5),
            percentile(&mut all, 0.99)
        );
    }
    Ok(())
}

/// A process in a network namespace of its own; both end when dropped.
struct Holder(Child);

impl Holder {
    fn start() -> Result<Self> {
        let child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .context("start unshare")?;
        let mut holder = Self(child);
        let stdout = holder.0.stdout.take().context("it has no output")?;
        // Once it prints, it is in its namespace.
        BufReader::new(stdout).read_line(&mut String::new())?;
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
