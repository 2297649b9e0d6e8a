//! A pod that is deleted leaves the services first, and its program is told to end after that: the
//! example program ends at once when it is told, and loses nothing.

use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use viaduct_lab::{Cluster, Load, PodHandle, repeat, wait_for};

use crate::routing::socket;

const LIMIT: Duration = Duration::from_secs(60);
/// The target is some tens of milliseconds; the machine may be busy.
const WITHDRAWN_MS_MAX: f64 = 1000.0;

pub(crate) fn pods_deleted_under_load(cluster: &Cluster) -> Result<()> {
    let rounds = repeat(6);
    let client = cluster.ready_pods("app=echo", 3)?.remove(0);
    let (cluster_ips, vips, _) = cluster.service("echo")?;
    let shell = cluster.pod_shell(&client)?;
    let outside = cluster.host("outside");
    let targets = cluster_ips.iter().map(|ip| (&shell, *ip));
    let targets = targets.chain(vips.iter().map(|ip| (&outside, *ip)));
    let mut loads = Vec::new();
    for (shell, ip) in targets {
        let url = format!("http://{}/", socket(ip, 80));
        let arguments = ["get", &url, "-n", "0", "--interval-ms", "10", "--timeout-ms", "2000"];
        loads.push((url.clone(), Load::start(shell, &arguments)?));
    }
    let mut partings = Vec::new();
    for _ in 0..rounds {
        let pods = cluster.ready_pods("app=echo", 3)?;
        let victim = pods.into_iter().find(|pod| pod.name != client.name);
        let victim = victim.context("no other pod")?;
        let slow: Vec<Child> =
            (0..6).map(|_| slow_request(cluster, vips[0])).collect::<Result<_>>()?;
        flows(&loads)?;
        cluster.kubectl(&["delete", "pod", &victim.name])?;
        partings.push(parting(cluster, &victim)?);
        cluster.ready_pods("app=echo", 3)?;
        flows(&loads)?;
        for child in slow {
            let output = child.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            ensure!(
                output.status.success() && text.contains("\"pod\""),
                "a request that was under way: {}, {text}",
                output.status
            );
        }
    }
    let mut sent = 0;
    for (what, load) in loads {
        let outcome = load.stop()?;
        outcome.none_lost(&what)?;
        sent += outcome.sent();
    }
    let of = |field: &str| -> Vec<f64> {
        let mut values: Vec<f64> = partings.iter().filter_map(|one| one[field].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (withdrawn, took) = (of("withdrawn_ms"), of("took_ms"));
    println!(
        "{rounds} pods deleted under {sent} requests: none lost; out of the services of all nodes \
         after {withdrawn:.0?} ms, SIGTERM after {took:.0?} ms (requests of 1 s were under way)"
    );
    for parting in &partings {
        ensure!(parting["endpoint"] == true && parting["unacknowledged"] == 0, "{parting}");
    }
    let slowest = withdrawn.last().copied().unwrap_or_default();
    ensure!(slowest < WITHDRAWN_MS_MAX, "withdrawn after {slowest} ms");
    Ok(())
}

/// Nobody is asked about a pod that no service selects, and it ends at once.
pub(crate) fn pods_of_no_service(cluster: &Cluster) -> Result<()> {
    let manifest = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "alone", "labels": { "app": "alone" } },
        "spec": { "containers": [{ "name": "echo", "image": "viaduct.dev/echo:latest",
                                   "imagePullPolicy": "Never" }] },
    });
    cluster.apply(&manifest.to_string())?;
    let pod = cluster.ready_pods("app=alone", 1)?.remove(0);
    let began = Instant::now();
    cluster.kubectl(&["delete", "pod", "alone"])?;
    let gone = began.elapsed();
    let parting = parting(cluster, &pod)?;
    println!("a pod of no service: SIGTERM after {} ms, gone after {gone:?}", parting["took_ms"]);
    ensure!(parting["endpoint"] == false, "{parting}");
    Ok(())
}

/// A request that the program answers over a second.
fn slow_request(cluster: &Cluster, vip: std::net::IpAddr) -> Result<Child> {
    let url = format!("http://{}/slow?1000", socket(vip, 80));
    let mut command = cluster.host("outside").command("curl");
    let command = command.args(["-sS", "-m", "20", &url]).stdout(Stdio::piped());
    command.spawn().context("start curl")
}

/// Waits until every load has made some more requests.
fn flows(loads: &[(String, Load)]) -> Result<()> {
    for (what, load) in loads {
        let before = load.sent();
        wait_for(what, LIMIT, || {
            ensure!(load.sent() >= before + 20, "{} requests so far", load.sent());
            Ok(())
        })?;
    }
    Ok(())
}

/// What the pod's kubelet has logged of its way out.
fn parting(cluster: &Cluster, pod: &PodHandle) -> Result<Value> {
    let log = cluster.run_dir().join("log").join(format!("{}.kubelet.log", pod.node));
    wait_for(&format!("{} to leave the services", pod.name), LIMIT, || {
        let text = fs::read_to_string(&log)?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut left =
            lines.filter(|line| line["message"] == "left the services" && line["pod"] == *pod.uid);
        left.next().with_context(|| format!("nothing in {}", log.display()))
    })
}
