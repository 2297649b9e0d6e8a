use std::{
    fs,
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{Shell, wait_for};

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Options {
    pub name: String,
    pub nodes: usize,
    pub api_port: u16,
    /// The manifests to apply: those of `echo`, which the tests ask; the example application that
    /// users see where there are none.
    pub apps: Vec<PathBuf>,
    /// Further arguments of `viaduct up`.
    pub arguments: Vec<String>,
}

impl Options {
    pub fn new(name: &str, api_port: u16) -> Self {
        let apps = vec![examples().join("echo.yaml")];
        Self { name: name.to_owned(), nodes: 3, api_port, apps, arguments: Vec::new() }
    }
}

/// The folder of the example manifests.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/examples")
}

/// A running cluster; it is taken down when dropped.
pub struct Cluster {
    pub name: String,
    pub nodes: Vec<String>,
    /// What `viaduct up -o json` printed.
    pub report: Value,
    api_port: u16,
    cache: tempfile::TempDir,
}

/// A pod as the API shows it.
#[derive(Clone, Debug)]
pub struct PodHandle {
    pub name: String,
    pub uid: String,
    pub node: String,
    pub addresses: Vec<IpAddr>,
}

impl PodHandle {
    /// Its address of the same family as `like`.
    pub fn address(&self, v6: bool) -> Result<IpAddr> {
        let found = self.addresses.iter().find(|address| address.is_ipv6() == v6);
        found.copied().with_context(|| format!("{} has no such address: {self:?}", self.name))
    }
}

/// A program that `make build` built, from `VIADUCT_BIN`.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("VIADUCT_BIN")
        .context("VIADUCT_BIN is not set: run the tests by `make test`")?;
    let path = Path::new(&folder).join(name);
    ensure!(path.exists(), "{} is not there: run the tests by `make test`", path.display());
    Ok(path)
}

impl Cluster {
    pub fn up(options: &Options) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "these tests need root");
        // What an earlier run may have left when it was killed.
        viaduct(&["down", "--fresh", "--name", &options.name])?;
        let (nodes, port) = (options.nodes.to_string(), options.api_port.to_string());
        let mut arguments =
            vec!["up", "--name", &options.name, "--nodes", &nodes, "--api-port", &port];
        arguments.extend(["-o", "json"]);
        let is_bare = options.arguments.iter().any(|argument| argument == "--bare");
        for app in options.apps.iter().filter(|_| !is_bare) {
            arguments.extend(["--app", app.to_str().context("a path that is not UTF-8")?]);
        }
        arguments.extend(options.arguments.iter().map(String::as_str));
        let cluster = |report| -> Result<Self> {
            Ok(Self {
                name: options.name.clone(),
                nodes: (1..=options.nodes).map(|number| format!("node-{number}")).collect(),
                report,
                api_port: options.api_port,
                cache: tempfile::tempdir()?,
            })
        };
        match viaduct(&arguments) {
            Ok(report) => cluster(serde_json::from_str(&report)?),
            Err(error) => {
                // Dropping it takes down what is there, after its logs were shown.
                let left = cluster(Value::Null)?;
                left.print_logs();
                Err(error)
            }
        }
    }

    pub fn api_port(&self) -> u16 {
        self.api_port
    }

    pub fn run_dir(&self) -> PathBuf {
        Path::new("/run/viaduct").join(&self.name)
    }

    /// The end of every log, for a test that failed.
    pub fn print_logs(&self) {
        let Ok(logs) = fs::read_dir(self.run_dir().join("log")) else { return };
        for log in logs.flatten() {
            let text = fs::read_to_string(log.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- {}", log.path().display());
            for line in &lines[lines.len().saturating_sub(25)..] {
                eprintln!("{line}");
            }
        }
    }

    /// What each node's programs have dropped or refused, for a test that lost a packet.
    pub fn print_drops(&self) {
        for node in &self.nodes {
            let Ok(metrics) = self.metrics(node) else { continue };
            for line in metrics.lines() {
                if line.contains("event=\"drop") && !line.ends_with(" 0") {
                    eprintln!("{node}: {line}");
                }
            }
        }
    }

    /// The metrics of the daemon of a node, a router or a reflector.
    pub fn metrics(&self, host: &str) -> Result<String> {
        let socket = self.run_dir().join("nodes").join(host).join("admin.sock");
        let mut curl = Command::new("curl");
        curl.args(["-s", "--unix-socket"]).arg(socket).arg("http://viaduct/metrics");
        let output = curl.output().context("start curl")?;
        ensure!(output.status.success(), "the metrics of {host}: {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A shell on a host of the cluster: a node, `outside`, `border`, `control`. On a node it is
    /// one of the node's own processes to the socket hooks.
    pub fn host(&self, host: &str) -> Shell {
        let netns = Path::new("/run/netns").join(format!("{}.{host}", self.name));
        let cgroup = self.nodes.iter().any(|node| node == host);
        Shell { netns, cgroup: cgroup.then(|| self.cgroup().join(host).join("daemons")) }
    }

    fn cgroup(&self) -> PathBuf {
        let unified = Path::new("/sys/fs/cgroup/unified");
        let root = if unified.exists() { unified } else { Path::new("/sys/fs/cgroup") };
        root.join("viaduct").join(&self.name)
    }

    /// A shell inside a pod, as far as the network can tell.
    pub fn pod_shell(&self, pod: &PodHandle) -> Result<Shell> {
        let pods = self.cgroup().join(&pod.node).join("pods");
        let cgroup = populated_cgroup(&pods, &pod.uid)?
            .with_context(|| format!("no process of pod {} below {}", pod.name, pods.display()))?;
        let pids = fs::read_to_string(cgroup.join("cgroup.procs"))?;
        let pid = pids.lines().next().context("the container has ended")?;
        Ok(Shell { netns: format!("/proc/{pid}/ns/net").into(), cgroup: Some(cgroup) })
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, "")
    }

    /// Runs kubectl with `input` as its standard input; what it printed, or why it failed.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = self
            .kubectl_command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start kubectl: set KUBECTL to one of version 1.28 or later")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}\n{text}{why}", arguments.join(" "), output.status);
        }
        Ok(text)
    }

    /// kubectl, for this cluster, with a cache of its own.
    pub fn kubectl_command(&self) -> Command {
        let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(program);
        command
            .env("KUBECACHEDIR", self.cache.path())
            .env_remove("KUBECONFIG")
            .arg(format!("--server=http://127.0.0.1:{}", self.api_port));
        command
    }

    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with_input(&["apply", "-f", "-"], manifest)
    }

    /// The pods with a label that are not being deleted, by name.
    pub fn pods(&self, selector: &str) -> Result<Vec<PodHandle>> {
        let list = self.json(&["get", "pods", "-l", selector])?;
        let items = list["items"].as_array().context("a list has no items")?;
        let living = items.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let mut pods: Vec<PodHandle> = living.map(handle).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }

    /// Waits until `count` pods with a label are ready.
    pub fn ready_pods(&self, selector: &str, count: usize) -> Result<Vec<PodHandle>> {
        wait_for(&format!("{count} ready pods of {selector}"), Duration::from_secs(60), || {
            let list = self.json(&["get", "pods", "-l", selector])?;
            let items = list["items"].as_array().context("a list has no items")?;
            let ready = items.iter().filter(|pod| is_ready(pod)).count();
            ensure!(ready == count && items.len() == count, "{ready} of {} are", items.len());
            self.pods(selector)
        })
    }

    /// The addresses of a service: `spec.clusterIPs`, then those of its load balancer.
    pub fn service(&self, name: &str) -> Result<(Vec<IpAddr>, Vec<IpAddr>, Value)> {
        let service = self.json(&["get", "service", name])?;
        let cluster = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
        let cluster = cluster.filter_map(|ip| ip.as_str()?.parse().ok()).collect();
        let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
        let vips = ingress.filter_map(|one| one["ip"].as_str()?.parse().ok()).collect();
        Ok((cluster, vips, service))
    }

    /// What `viaduct COMMAND -o json` says of one node.
    pub fn node_json(&self, node: &str, command: &[&str]) -> Result<Value> {
        let mut arguments = command.to_vec();
        arguments.extend(["--cluster", &self.name, "--node", node, "-o", "json"]);
        let answers: Value = serde_json::from_str(&viaduct(&arguments)?)?;
        Ok(answers[0]["answer"].clone())
    }

    /// The pid of a process of the cluster: `node-1.node`, `control.server`.
    pub fn pid(&self, process: &str) -> Result<Pid> {
        let path = self.run_dir().join("pids").join(process);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Pid::from_raw(text.parse()?))
    }

    /// Has a process start its successor (SIGUSR2), and waits until that goes on in its place and it
    /// has ended itself.
    pub fn replace(&self, process: &str) -> Result<()> {
        let pid = self.pid(process)?;
        kill(pid, Signal::SIGUSR2)?;
        wait_for(&format!("{process} to be replaced"), Duration::from_secs(30), || {
            ensure!(self.pid(process)? != pid, "it still has pid {pid}");
            ensure!(kill(pid, None) == Err(Errno::ESRCH), "{pid} has not ended");
            Ok(())
        })
    }

    /// Kills a process with SIGKILL and waits until another has taken its place.
    pub fn kill(&self, process: &str) -> Result<()> {
        let pid = self.pid(process)?;
        kill(pid, Signal::SIGKILL)?;
        wait_for(&format!("{process} to be started again"), Duration::from_secs(20), || {
            ensure!(self.pid(process)? != pid, "it still has pid {pid}");
            Ok(())
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::env::var_os("VIADUCT_KEEP").is_some() {
            eprintln!("cluster {} is left up, since VIADUCT_KEEP is set", self.name);
            return;
        }
        if let Err(error) = viaduct(&["down", "--fresh", "--name", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

/// Runs `viaduct` and gives what it printed.
pub fn viaduct(arguments: &[&str]) -> Result<String> {
    let output = Command::new(program("viaduct")?).args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("viaduct {}: {}\n{why}", arguments.join(" "), output.status);
    }
    Ok(text)
}

fn handle(pod: &Value) -> PodHandle {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ips = pod["status"]["podIPs"].as_array().into_iter().flatten();
    PodHandle {
        name: text(&pod["metadata"]["name"]),
        uid: text(&pod["metadata"]["uid"]),
        node: text(&pod["spec"]["nodeName"]),
        addresses: ips.filter_map(|one| one["ip"].as_str()?.parse().ok()).collect(),
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The first cgroup with processes in it, below a folder whose name holds `uid`.
fn populated_cgroup(folder: &Path, uid: &str) -> Result<Option<PathBuf>> {
    let belongs = folder.to_string_lossy().contains(uid);
    if belongs && !fs::read_to_string(folder.join("cgroup.procs"))?.is_empty() {
        return Ok(Some(folder.to_owned()));
    }
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Some(found) = populated_cgroup(&entry.path(), uid)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
