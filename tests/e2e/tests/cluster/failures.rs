//! What does not work says why, where people look: in `kubectl describe`.

use std::time::Duration;

use anyhow::{Result, ensure};
use viaduct_lab::{Cluster, wait_for};

/// Back-offs are in it: the third start of a program that fails comes after half a minute.
const LIMIT: Duration = Duration::from_secs(90);

/// A pod of its own for each failure, with the fields that make it fail.
fn pod(name: &str, container: &str, spec: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{app: failures}}
spec:
  terminationGracePeriodSeconds: 1
  {spec}
  containers:
    - name: main
      image: viaduct.dev/echo:latest
      imagePullPolicy: Never
      {container}
"#
    )
}

/// Waits until `kubectl describe` says all of it.
fn described(cluster: &Cluster, object: &str, parts: &[&str]) -> Result<String> {
    wait_for(&format!("{object} to be explained"), LIMIT, || {
        let (kind, name) = object.split_once('/').unwrap_or((object, ""));
        let text = cluster.kubectl(&["describe", kind, name])?;
        for part in parts {
            ensure!(text.contains(part), "`{part}` is not in:\n{text}");
        }
        Ok(text)
    })
}

/// Applies a manifest, runs a check and removes what was made, whatever came of it.
fn with(cluster: &Cluster, manifest: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    cluster.apply(manifest)?;
    let result = check();
    let delete = ["delete", "-f", "-", "--timeout=60s"];
    let deleted = cluster.kubectl_with_input(&delete, manifest);
    result?;
    deleted?;
    Ok(())
}

pub(crate) fn an_unknown_image(cluster: &Cluster) -> Result<()> {
    let manifest = pod("no-image", "", "").replace("echo:latest", "nobody-has-this:v1");
    with(cluster, &manifest, || {
        let remedy = "viaduct image import";
        let parts = ["ErrImageNeverPull", "nobody-has-this:v1", remedy, "Warning", "Failed"];
        described(cluster, "pod/no-image", &parts)?;
        let shown = cluster.kubectl(&["get", "pod", "no-image"])?;
        ensure!(shown.contains("ErrImageNeverPull"), "{shown}");
        Ok(())
    })
}

pub(crate) fn more_than_any_node_has(cluster: &Cluster) -> Result<()> {
    let count = cluster.nodes.len();
    let resources = "resources: {requests: {cpu: \"1000\"}}";
    with(cluster, &pod("too-large", resources, ""), || {
        let why = format!("0/{count} nodes are available: {count} Insufficient cpu");
        described(cluster, "pod/too-large", &["Pending", "FailedScheduling", &why]).map(drop)
    })?;
    let nowhere = pod("nowhere", "", "nodeSelector: {disk: tape}");
    with(cluster, &nowhere, || {
        let why = format!(
            "0/{count} nodes are available: {count} node(s) didn't match Pod's node \
             affinity/selector"
        );
        described(cluster, "pod/nowhere", &["Pending", "FailedScheduling", &why]).map(drop)
    })
}

pub(crate) fn a_program_that_fails(cluster: &Cluster) -> Result<()> {
    // A client whose only request fails ends with 1.
    let fails = "args: [get, \"http://127.0.0.1:1/\", -n, \"1\"]";
    with(cluster, &pod("crashes", fails, ""), || {
        let parts =
            ["CrashLoopBackOff", "Last State:     Terminated", "Exit Code:    1", "BackOff"];
        described(cluster, "pod/crashes", &parts)?;
        // The same again is counted, not told again.
        wait_for("the events to be counted", LIMIT, || {
            let selector = "involvedObject.name=crashes,reason=BackOff";
            let events = cluster.json(&["get", "events", "--field-selector", selector])?;
            let events = events["items"].as_array().map_or(&[][..], Vec::as_slice);
            ensure!(events.len() == 1, "{} events of one kind", events.len());
            let count = events[0]["count"].as_u64().unwrap_or(0);
            ensure!(count >= 2, "it happened {count} times so far");
            Ok(())
        })?;
        let shown = cluster.kubectl(&["get", "pod", "crashes"])?;
        ensure!(shown.contains("CrashLoopBackOff") || shown.contains("Error"), "{shown}");
        Ok(())
    })
}

pub(crate) fn configuration_that_is_missing(cluster: &Cluster) -> Result<()> {
    let source = "env: [{name: A, valueFrom: {configMapKeyRef: {name: not-there, key: a}}}]";
    with(cluster, &pod("no-config", source, ""), || {
        let parts = ["CreateContainerConfigError", "not-there", "Failed"];
        described(cluster, "pod/no-config", &parts)?;
        // It starts as soon as what it waits for is there.
        cluster.kubectl(&["create", "configmap", "not-there", "--from-literal=a=b"])?;
        let ready = ["wait", "--for=condition=Ready", "pod", "no-config", "--timeout=60s"];
        let ready = cluster.kubectl(&ready);
        cluster.kubectl(&["delete", "configmap", "not-there"])?;
        ready.map(drop)
    })
}

pub(crate) fn probes_that_fail(cluster: &Cluster) -> Result<()> {
    let probes = "readinessProbe: {httpGet: {path: /not-there, port: 8080}, periodSeconds: 1}
      livenessProbe: {tcpSocket: {port: 1}, periodSeconds: 1, failureThreshold: 3}";
    with(cluster, &pod("unwell", probes, ""), || {
        let parts =
            ["Unhealthy", "Readiness probe failed", "404", "Liveness probe failed", "Killing"];
        described(cluster, "pod/unwell", &parts).map(drop)
    })
}

pub(crate) fn services_that_lead_nowhere(cluster: &Cluster) -> Result<()> {
    let service = |name: &str, type_: &str, annotation: &str| {
        format!(
            r#"
apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations: {{{annotation}}}
spec:
  type: {type_}
  selector: {{app: nobody}}
  ports: [{{port: 80}}]
"#
        )
    };
    with(cluster, &service("deserted", "ClusterIP", ""), || {
        let text = described(cluster, "service/deserted", &["Selector:", "app=nobody"])?;
        let endpoints = text.lines().find(|line| line.starts_with("Endpoints:"));
        let endpoints = endpoints.unwrap_or_default().trim_start_matches("Endpoints:").trim();
        ensure!(matches!(endpoints, "" | "<none>"), "it has {endpoints}");
        Ok(())
    })?;
    // The pool has one address of each family.
    cluster.apply(POOL)?;
    let pool = "viaduct.dev/vip-pool: one-only";
    let first = service("first", "LoadBalancer", pool);
    let result = with(cluster, &first, || {
        described(cluster, "service/first", &["IPAllocated", "198.51.100.77"])?;
        with(cluster, &service("second", "LoadBalancer", pool), || {
            described(cluster, "service/second", &["AllocationFailed", "is taken"]).map(drop)
        })
    });
    cluster.kubectl_with_input(&["delete", "-f", "-"], POOL)?;
    result
}

const POOL: &str = r#"
apiVersion: viaduct.dev/v1alpha1
kind: VIPPool
metadata: {name: one-only}
spec: {cidrs: [198.51.100.77/32]}
"#;
