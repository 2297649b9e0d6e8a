//! kubectl as people use it, against the cluster's API.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use viaduct_lab::{Cluster, wait_for};

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: everyday
  labels: {app: everyday}
spec:
  containers:
    - name: echo
      image: viaduct.dev/echo:latest
      imagePullPolicy: Never
      ports: [{containerPort: 8080}]
"#;

fn contains(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    Ok(())
}

pub(crate) fn everyday_commands(cluster: &Cluster) -> Result<()> {
    let created = cluster.kubectl_with_input(&["create", "-f", "-"], POD)?;
    contains(&created, &["pod/everyday created"])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "everyday", "--timeout=30s"])?;

    contains(
        &cluster.kubectl(&["get", "pods"])?,
        &["NAME", "READY", "everyday", "1/1", "Running"],
    )?;
    let wide = cluster.kubectl(&["get", "pod", "everyday", "-o", "wide"])?;
    contains(&wide, &["IP", "NODE", "10.244.", "node-"])?;
    let yaml = cluster.kubectl(&["get", "pod", "everyday", "-o", "yaml"])?;
    contains(&yaml, &["kind: Pod", "hostIP:", "podIPs:", "phase: Running"])?;
    contains(&cluster.kubectl(&["get", "nodes", "-o", "wide"])?, &["node-3", "Ready", "172.30."])?;
    contains(&cluster.kubectl(&["get", "ipblocks"])?, &["10.244.", "node-1"])?;

    let described = cluster.kubectl(&["describe", "pod", "everyday"])?;
    contains(&described, &["Name:", "everyday", "Containers:", "Events:", "Scheduled", "Started"])?;
    contains(&cluster.kubectl(&["describe", "node", "node-1"])?, &["Addresses:", "InternalIP"])?;
    contains(&cluster.kubectl(&["describe", "service", "echo"])?, &["LoadBalancer", "Endpoints:"])?;

    cluster.kubectl(&["label", "pod", "everyday", "tier=front"])?;
    contains(&cluster.kubectl(&["get", "pods", "-l", "tier=front"])?, &["everyday"])?;
    let patch = r#"{"metadata":{"annotations":{"note":"patched"}}}"#;
    cluster.kubectl(&["patch", "pod", "everyday", "-p", patch])?;
    let note = cluster.kubectl(&[
        "get",
        "pod",
        "everyday",
        "-o",
        "jsonpath={.metadata.annotations.note}",
    ])?;
    ensure!(note == "patched", "the annotation is `{note}`");

    logs(cluster)?;
    watch(cluster)?;

    // diff exits with 1 where there is a difference.
    let changed = POD.replace("labels: {app: everyday}", "labels: {app: everyday, tier: back}");
    let diff = cluster.kubectl_with_input(&["diff", "-f", "-"], &changed);
    let diff = format!("{:#}", diff.err().context("diff saw no difference")?);
    contains(&diff, &["tier: back"])?;
    contains(&cluster.apply(&changed)?, &["pod/everyday configured"])?;
    contains(&cluster.apply(&changed)?, &["pod/everyday unchanged"])?;

    let deleted = cluster.kubectl(&["delete", "pod", "everyday", "--timeout=40s"])?;
    contains(&deleted, &["pod \"everyday\" deleted"])?;
    ensure!(cluster.kubectl(&["get", "pod", "everyday"]).is_err(), "it is still there");
    Ok(())
}

/// `logs -f` shows what is written while it runs.
fn logs(cluster: &Cluster) -> Result<()> {
    contains(&cluster.kubectl(&["logs", "everyday"])?, &["8080"])?;
    follow(cluster, &["logs", "-f", "--tail=1", "everyday"], "8080", || {
        // The program's first line is what is followed; its end is seen below by `delete`.
        Ok(())
    })
}

/// `get -w` shows a change that is made while it runs.
fn watch(cluster: &Cluster) -> Result<()> {
    follow(cluster, &["get", "pod", "everyday", "-w", "-L", "seen"], "by-the-watch", || {
        cluster.kubectl(&["label", "pod", "everyday", "seen=by-the-watch"])?;
        Ok(())
    })
}

/// Starts a command that does not end, does something, and waits until its output has `wanted`.
fn follow(
    cluster: &Cluster,
    arguments: &[&str],
    wanted: &str,
    act: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let output = tempfile::NamedTempFile::new()?;
    let mut child = cluster
        .kubectl_command()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.reopen()?)
        .spawn()?;
    let shown = || std::fs::read_to_string(output.path()).unwrap_or_default();
    let result = wait_for("the first line", Duration::from_secs(10), || {
        ensure!(!shown().is_empty());
        Ok(())
    })
    .and_then(|()| act())
    .and_then(|()| {
        wait_for(&arguments.join(" "), Duration::from_secs(10), || {
            ensure!(shown().contains(wanted), "no `{wanted}` in: {}", shown());
            Ok(())
        })
    });
    let running = child.try_wait()?.is_none();
    child.kill()?;
    child.wait()?;
    result?;
    ensure!(running, "`kubectl {}` ended on its own", arguments.join(" "));
    Ok(())
}

const PORT: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: wrong}
spec:
  selector: {app: echo}
  ports: [{port: 70000}]
"#;

const SELECTOR: &str = r#"
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: wrong}
spec:
  replicas: 1
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: other}}
    spec:
      containers: [{name: c, image: viaduct.dev/echo:latest}]
"#;

/// Wrong manifests get the errors Kubernetes gives.
pub(crate) fn wrong_manifests(cluster: &Cluster) -> Result<()> {
    let refused = |arguments: &[&str], input: &str, parts: &[&str]| -> Result<()> {
        let result = cluster.kubectl_with_input(arguments, input);
        let error = result.err().with_context(|| format!("accepted:\n{input}"))?;
        contains(&format!("{error:#}"), parts)
    };
    let create = ["create", "-f", "-"];
    let unknown = POD.replace("containers:", "contaniers:");
    refused(&create, &unknown, &["strict decoding error: unknown field \"spec.contaniers\""])?;
    refused(
        &create,
        PORT,
        &[
            "The Service \"wrong\" is invalid",
            "spec.ports[0].port",
            "must be between 1 and 65535, inclusive",
        ],
    )?;
    refused(
        &create,
        SELECTOR,
        &["The ReplicaSet \"wrong\" is invalid", "`selector` does not match template `labels`"],
    )?;
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice}\ndata: {a: b}\n";
    cluster.kubectl_with_input(&create, map)?;
    refused(&create, map, &["(AlreadyExists)", "configmaps \"twice\" already exists"])?;
    let stale = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice, resourceVersion: \"1\"}\n\
                 data: {a: c}\n";
    refused(
        &["replace", "-f", "-"],
        stale,
        &[
            "(Conflict)",
            "the object has been modified; please apply your changes to the latest version",
        ],
    )?;
    cluster.kubectl(&["delete", "configmap", "twice"])?;
    refused(&["get", "configmap", "twice"], "", &["(NotFound)", "configmaps \"twice\" not found"])
}
