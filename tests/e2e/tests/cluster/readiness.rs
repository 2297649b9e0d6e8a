//! A pod that becomes unready leaves the services, and comes back when it recovers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use viaduct_lab::{Cluster, PodHandle, wait_for};

use crate::{routing::socket, services::REQUESTS};

const LIMIT: Duration = Duration::from_secs(15);

pub(crate) fn unready_gets_no_connection(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let (victim, client) = (&pods[2], &pods[0]);
    let (cluster_ips, ..) = cluster.service("echo")?;
    let shell = cluster.pod_shell(client)?;

    // Its own node turns it off, as its program would.
    let node = cluster.host(&victim.node);
    let readiness = format!("http://{}/ready", socket(victim.address(false)?, 8080));
    node.ask("get", &format!("{readiness}?off"), 1)?;
    let off = Instant::now();
    let unready = seen_by_api(cluster, victim, "False")?;
    wait_for("the pod to leave the maps", LIMIT, || in_maps(cluster, victim, false))?;
    println!(
        "unready: in the API {:?} after the program said so, in the maps of 3 nodes {:?} after it",
        unready.duration_since(off),
        off.elapsed()
    );
    for ip in &cluster_ips {
        let outcome = shell.ask("get", &format!("http://{}/", socket(*ip, 80)), REQUESTS)?;
        outcome.none_lost("requests beside an unready pod")?;
        let got = outcome.by_pod().get(victim.name.as_str()).copied();
        ensure!(got.is_none(), "{} is unready and got {got:?} requests", victim.name);
    }

    node.ask("get", &format!("{readiness}?on"), 1)?;
    let on = Instant::now();
    wait_for("the pod to come back to the maps", LIMIT, || in_maps(cluster, victim, true))?;
    println!("ready: in the maps of 3 nodes {:?} after the program said so", on.elapsed());
    let outcome = shell.ask("get", &format!("http://{}/", socket(cluster_ips[0], 80)), REQUESTS)?;
    outcome.none_lost("requests after it recovered")?;
    ensure!(outcome.by_pod().contains_key(victim.name.as_str()), "it gets no requests again");
    cluster.ready_pods("app=echo", 3)?;
    Ok(())
}

fn seen_by_api(cluster: &Cluster, pod: &PodHandle, ready: &str) -> Result<Instant> {
    let wanted = format!("--for=condition=Ready={ready}");
    cluster.kubectl(&["wait", &wanted, "pod", &pod.name, "--timeout=15s"])?;
    Ok(Instant::now())
}

/// Whether every node has the pod among the active backends of the service, or none has.
fn in_maps(cluster: &Cluster, pod: &PodHandle, wanted: bool) -> Result<()> {
    for node in &cluster.nodes {
        let services = cluster.node_json(node, &["services", "echo"])?;
        let frontends = services[0]["frontends"].as_array().context("echo has no frontends")?;
        for frontend in frontends {
            ensure!(frontend["programmed"] == true, "a frontend on {node} is not programmed");
            let v6 = frontend["address"].as_str().is_some_and(|text| text.starts_with('['));
            let address = socket(pod.address(v6)?, 8080);
            let backends = frontend["backends"].as_array().context("no backends")?;
            let active = backends
                .iter()
                .any(|one| one["address"] == address.as_str() && one["state"] == "active");
            ensure!(active == wanted, "{node}: {address} active={active} in {frontend}");
        }
    }
    Ok(())
}
