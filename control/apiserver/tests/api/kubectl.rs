//! The real kubectl, from `KUBECTL` or PATH, against a server on a loopback socket.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use crate::common::Server;

pub(crate) struct Kubectl {
    server: String,
    home: tempfile::TempDir,
}

impl Kubectl {
    pub(crate) fn new(server: &Server) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { server: format!("--server=http://{}", server.address), home }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(program);
        command
            .arg(&self.server)
            .args(arguments)
            // Discovery is cached by address, and addresses come again.
            .env("KUBECACHEDIR", self.home.path())
            .env("HOME", self.home.path())
            .env_remove("KUBECONFIG")
            .env("KUBECONFIG", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Whether it succeeded, and what it printed on both outputs.
    pub(crate) fn try_run(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = self.command(arguments).spawn().expect("kubectl 1.32 in PATH or KUBECTL");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> String {
        let (succeeded, text) = self.try_run(arguments, input);
        assert!(succeeded, "{arguments:?}: {text}");
        text
    }

    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], input: &str) -> String {
        let (succeeded, text) = self.try_run(arguments, input);
        assert!(!succeeded, "{arguments:?}: {text}");
        text
    }
}

const MANIFEST: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {colour: blue}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: echo
        ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: viaduct.dev/v1alpha1
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.244.0.0/16}
";

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_created_applied_changed_and_deleted() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    let out = kubectl.run(&["create", "-f", "-"], MANIFEST);
    assert!(out.contains("configmap/settings created"), "{out}");
    assert!(out.contains("ippool.viaduct.dev/pods created"), "{out}");

    let out = kubectl.run(&["get", "rs,svc,cm,ippool"], "");
    assert!(out.contains("replicaset.apps/web") && out.contains("DESIRED"), "{out}");
    let out = kubectl.run(&["get", "svc", "web", "-o", "wide"], "");
    assert!(out.contains("SELECTOR") && out.contains("app=web"), "{out}");
    let out = kubectl.run(&["get", "cm", "settings", "-o", "yaml"], "");
    assert!(out.contains("colour: blue"), "{out}");

    kubectl.run(&["apply", "-f", "-"], MANIFEST);
    let changed = MANIFEST.replace("blue", "green");
    let (same, diff) = kubectl.try_run(&["diff", "-f", "-"], &changed);
    assert!(
        !same && diff.contains("-  colour: blue") && diff.contains("+  colour: green"),
        "{diff}"
    );
    let out = kubectl.run(&["apply", "-f", "-"], &changed);
    assert!(out.contains("configmap/settings configured"), "{out}");
    assert!(out.contains("service/web unchanged"), "{out}");
    let out = kubectl.run(&["diff", "-f", "-"], &changed);
    assert_eq!(out, "");
    let out = kubectl.run(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &changed);
    assert!(out.contains("configmap/settings serverside-applied"), "{out}");

    kubectl.run(&["label", "cm", "settings", "tier=front"], "");
    kubectl.run(&["annotate", "rs", "web", "note=hello"], "");
    kubectl.run(&["patch", "rs", "web", "-p", "{\"spec\":{\"replicas\":3}}"], "");
    kubectl.run(&["scale", "rs", "web", "--replicas=4"], "");
    let out = kubectl.run(&["get", "rs", "web", "-o", "jsonpath={.spec.replicas}"], "");
    assert_eq!(out, "4");
    let out = kubectl.run(&["get", "cm", "-l", "tier=front", "-o", "name"], "");
    assert_eq!(out, "configmap/settings\n");
    let out = kubectl.run(&["describe", "svc", "web"], "");
    assert!(out.contains("NodePort:") && out.contains("IP Families:"), "{out}");
    let out = kubectl.run(&["explain", "replicaset.spec.replicas"], "");
    assert!(out.contains("FIELD: replicas"), "{out}");
    let out = kubectl.run(&["api-resources"], "");
    assert!(out.contains("bgppeers") && out.contains("endpointslices"), "{out}");
    let out = kubectl.run(&["version"], "");
    assert!(out.contains("Server Version: v1.32"), "{out}");

    let out = kubectl.run(&["delete", "-f", "-", "--wait=true"], MANIFEST);
    assert!(out.contains("service \"web\" deleted"), "{out}");
    let out = kubectl.fails(&["get", "svc", "web"], "");
    assert!(out.contains("Error from server (NotFound): services \"web\" not found"), "{out}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_get_the_errors_of_kubernetes() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    for (wrong, right, expected) in [
        (
            "dat: {colour: blue}",
            "data: {colour: blue}",
            "strict decoding error: unknown field \"dat\"",
        ),
        (
            "matchLabels: {app: other}",
            "matchLabels: {app: web}",
            "`selector` does not match template `labels`",
        ),
        ("port: 80000", "port: 80", "must be between 1 and 65535"),
        ("10.244.0.0/99", "10.244.0.0/16", "Invalid value"),
    ] {
        let manifest = MANIFEST.replacen(right, wrong, 1);
        assert_ne!(manifest, MANIFEST, "{wrong}");
        let (_, out) = kubectl.try_run(&["create", "--dry-run=server", "-f", "-"], &manifest);
        assert!(out.contains(expected), "{wrong}: {out}");
    }
    kubectl.run(&["create", "-f", "-"], MANIFEST);
    let out = kubectl.fails(&["create", "-f", "-"], MANIFEST);
    let exists = "Error from server (AlreadyExists): error when creating \"STDIN\": configmaps \
                  \"settings\" already exists";
    assert!(out.contains(exists), "{out}");
    let stale = MANIFEST.replace("{name: settings,", "{name: settings, resourceVersion: \"1\",");
    let out = kubectl.fails(&["replace", "-f", "-"], &stale);
    assert!(out.contains("the object has been modified; please apply your changes"), "{out}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_watched() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    kubectl.run(&["create", "-f", "-"], MANIFEST);
    let mut child = kubectl
        .command(&["get", "rs", "-w", "--no-headers"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(next(), ["web", "2"]);
    kubectl.run(&["scale", "rs", "web", "--replicas=5"], "");
    assert_eq!(next(), ["web", "5"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let out =
        kubectl.run(&["wait", "--for=jsonpath={.spec.replicas}=5", "rs/web", "--timeout=10s"], "");
    assert!(out.contains("condition met"), "{out}");
    server.stop().await;
}
