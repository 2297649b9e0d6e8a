//! A node falls silent, and within a few intervals of BFD no other sends it new connections: each
//! decides by itself, while the API still says that the node and its pods are ready.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use viaduct_lab::{Cluster, Load, Outcome, PodHandle, Shell, wait_for};

use crate::{
    node_loss::vips_of,
    routing::socket,
    services::{REQUESTS, node_address},
};

const LIMIT: Duration = Duration::from_secs(30);
/// From the cut to the last connection that went the wrong way. Detection takes 150 ms; the bound is
/// for a machine where everybody else is busy, too.
const BOUND: Duration = Duration::from_secs(3);
/// After which a node that is back gets connections again, at the earliest.
const HOLD: Duration = Duration::from_secs(3);
/// Between two connections of a load.
const INTERVAL: Duration = Duration::from_millis(5);
/// What a connection to nobody costs. Below a second, after which TCP tries again, and the balancer
/// sends a client outside elsewhere.
const TIMEOUT: Duration = Duration::from_millis(500);
const WATCHED: &str =
    r#"{"bfd": {"minTransmitMilliseconds": 50, "minReceiveMilliseconds": 50, "multiplier": 3}}"#;

pub(crate) fn lost_node_is_masked(cluster: &Cluster) -> Result<()> {
    with_bfd(cluster, lose_and_find)
}

pub(crate) fn restarting_daemon_is_not(cluster: &Cluster) -> Result<()> {
    with_bfd(cluster, restart_a_daemon)
}

fn with_bfd(cluster: &Cluster, test: fn(&Cluster) -> Result<()>) -> Result<()> {
    configure(cluster, WATCHED)?;
    wait_for("BFD between all nodes", LIMIT, || {
        cluster.nodes.iter().try_for_each(|node| bfd_is_up(cluster, node))
    })?;
    let result = test(cluster);
    configure(cluster, r#"{"bfd": null}"#)?;
    wait_for("no BFD", LIMIT, || {
        cluster.nodes.iter().try_for_each(|node| {
            let bfd = cluster.node_json(node, &["bgp", "bfd"])?;
            ensure!(bfd["sessions"].as_array().is_some_and(Vec::is_empty), "{node} has {bfd}");
            Ok(())
        })
    })?;
    result
}

/// Its BFD dies with it, and so does its session: it restarts, and its pods are there all the while.
fn restart_a_daemon(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let restarted = &pods[2].node;
    let observer = cluster.nodes.iter().find(|node| *node != restarted).context("no other")?;
    let masks = || -> Result<String> {
        let metrics = cluster.metrics(observer)?;
        let line = metrics.lines().find(|line| line.starts_with("viaduct_lb_masks_total "));
        line.map(str::to_owned).context("no such metric")
    };
    let (loads, before) = (start(cluster, observer)?, masks()?);
    let address = node_address(cluster, restarted, false)?.to_string();
    let downs = || -> Result<u64> {
        let bfd = cluster.node_json(observer, &["bgp", "bfd"])?;
        let mut sessions = bfd["sessions"].as_array().into_iter().flatten();
        let session = sessions.find(|one| one["peer"] == address.as_str());
        session.and_then(|one| one["downs"].as_u64()).context("no BFD session with it")
    };
    let downs_before = downs()?;
    cluster.kill(&format!("{restarted}.node"))?;
    wait_for("BFD to miss the daemon", LIMIT, || {
        ensure!(downs()? > downs_before, "it does not");
        Ok(())
    })?;
    for node in &cluster.nodes {
        wait_for("BFD to be up again", LIMIT, || bfd_is_up(cluster, node))?;
    }
    for (what, load) in loads {
        load.stop()?.none_lost(&what)?;
    }
    ensure!(masks()? == before, "{} and not {before}", masks()?);
    Ok(())
}

fn lose_and_find(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let hosts: BTreeSet<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
    ensure!(hosts.len() == 3, "the pods are on {hosts:?}, not on a node each");
    let lost = &pods[2];
    let observer = cluster.nodes.iter().find(|node| **node != lost.node).context("no other")?;
    let underlay = Shell { cgroup: None, ..cluster.host("underlay") };
    let loads = start(cluster, observer)?;

    let cut_at = SystemTime::now();
    underlay.run("ip", &["link", "set", &lost.node, "down"])?;
    let result = while_it_is_lost(cluster, lost, observer, &loads);
    underlay.run("ip", &["link", "set", &lost.node, "up"])?;
    let back = Instant::now();
    result?;
    come_back(cluster, lost, observer, back)?;
    // What went wrong went wrong before the mask, and never again until now.
    for (what, load) in loads {
        let outcome = load.stop()?;
        let window = window(&what, &outcome, cut_at)?;
        println!(
            "{what}: {} of {} connections went to the lost node, the last {window:?} after the cut",
            outcome.failures.len(),
            outcome.sent()
        );
        ensure!(window < BOUND, "{what}: {window:?} after the cut");
    }
    wait_for("the node to announce the virtual IPs", LIMIT * 2, || {
        let (announced, all) = vips_of(cluster, &lost.node)?;
        ensure!(announced == all, "it announces {announced} of {all}");
        Ok(())
    })
}

/// A process of the node asks by the socket hooks, and a client outside by the node's port.
fn start(cluster: &Cluster, observer: &str) -> Result<Vec<(String, Load)>> {
    let (cluster_ips, _, service) = cluster.service("echo")?;
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("no node port")?;
    let (interval, timeout) = (INTERVAL.as_millis().to_string(), TIMEOUT.as_millis().to_string());
    let options = ["-n", "0", "--interval-ms", &interval, "--timeout-ms", &timeout];
    let mut loads = Vec::new();
    for ip in cluster_ips {
        let address = node_address(cluster, observer, ip.is_ipv6())?;
        let inside = (cluster.host(observer), format!("http://{}/", socket(ip, 80)));
        let outside = format!("http://{}/", socket(address, port.try_into()?));
        for (shell, url) in [inside, (cluster.host("outside"), outside)] {
            let from = if shell.cgroup.is_some() { observer } else { "outside" };
            let load = Load::start(&shell, &[&["get", &url][..], &options].concat())?;
            loads.push((format!("{from} → {url}"), load));
        }
    }
    for (what, load) in &loads {
        wait_for(what, LIMIT, || {
            ensure!(load.sent() >= REQUESTS, "{} requests", load.sent());
            Ok(())
        })?;
        load.so_far().none_lost(what)?;
        ensure!(load.so_far().by_pod().len() == 3, "{what}: not all pods answer");
    }
    Ok(loads)
}

fn while_it_is_lost(
    cluster: &Cluster,
    lost: &PodHandle,
    observer: &str,
    loads: &[(String, Load)],
) -> Result<()> {
    let expected = format!("node {} lost (BFD)", lost.node);
    wait_for("the mask", BOUND, || {
        let (state, why) = backend(cluster, observer, lost)?;
        ensure!(state == "masked" && why == expected, "{state}: {why}");
        Ok(())
    })?;
    // Nobody has told it so: to the API all is well.
    let node = cluster.json(&["get", "node", &lost.node])?;
    ensure!(condition(&node) == Some("True"), "the API has seen it, too: {}", node["status"]);
    ensure!(cluster.ready_pods("app=echo", 3)?.len() == 3, "a pod is not ready any more");
    let metrics = cluster.metrics(observer)?;
    for line in ["viaduct_lb_masked_nodes 1", "viaduct_lb_masks_ignored 0"] {
        ensure!(metrics.lines().any(|one| one == line), "no `{line}` in {metrics}");
    }
    // It has lost the two others, which are too many to be masked.
    for other in cluster.ready_pods("app=echo", 3)?.iter().filter(|pod| pod.node != lost.node) {
        wait_for("the lost node to notice", BOUND, || {
            let (state, why) = backend(cluster, &lost.node, other)?;
            let seen = state == "active" && why.ends_with(", as 2 of 3 are");
            ensure!(seen, "{}: {state}: {why}", other.node);
            Ok(())
        })?;
    }
    // From now on every connection is answered.
    for (what, load) in loads {
        let (before, failed) = (load.sent(), load.so_far().failures.len());
        wait_for(what, LIMIT, || {
            ensure!(load.sent() >= before + REQUESTS, "{} requests", load.sent() - before);
            Ok(())
        })?;
        println!("{what}: {failed} had failed when the mask was seen");
    }
    Ok(())
}

/// It is there again for new connections when it has stayed for a while, and not before.
fn come_back(cluster: &Cluster, lost: &PodHandle, observer: &str, back: Instant) -> Result<()> {
    wait_for("BFD with the node that is back", LIMIT, || bfd_is_up(cluster, observer))?;
    let up = back.elapsed();
    wait_for("the end of the mask", LIMIT * 2, || {
        let (state, why) = backend(cluster, observer, lost)?;
        ensure!(state == "active" && why.is_empty(), "{state}: {why}");
        Ok(())
    })?;
    let unmasked = back.elapsed();
    println!("BFD was up {up:?} after the link, and the backend was unmasked after {unmasked:?}");
    ensure!(unmasked >= HOLD, "it was unmasked after {unmasked:?} already");
    let (cluster_ips, ..) = cluster.service("echo")?;
    for ip in cluster_ips {
        let url = format!("http://{}/", socket(ip, 80));
        let outcome = cluster.host(observer).ask("get", &url, REQUESTS)?;
        outcome.none_lost(&url)?;
        let got = outcome.by_pod().contains_key(lost.name.as_str());
        ensure!(got, "{url}: it gets no connections again: {:?}", outcome.by_pod());
    }
    Ok(())
}

/// From the cut to the last connection that was begun and not answered. Those that were under way
/// at the cut are not counted.
fn window(what: &str, outcome: &Outcome, cut_at: SystemTime) -> Result<Duration> {
    let cut = cut_at.duration_since(UNIX_EPOCH)?;
    let last = outcome.failed_at.iter().max().copied().unwrap_or_default();
    let first = outcome.failed_at.iter().min().copied().map(Duration::from_millis);
    let before = first.is_none_or(|first| first + TIMEOUT >= cut);
    ensure!(before, "{what}: failed before the cut: {:?}", outcome.failures.first());
    Ok(Duration::from_millis(last).saturating_sub(cut))
}

/// What a node makes of a pod, by its first address: the state and why.
fn backend(cluster: &Cluster, node: &str, pod: &PodHandle) -> Result<(String, String)> {
    let services = cluster.node_json(node, &["services", "echo"])?;
    let address: IpAddr = pod.address(false)?;
    let address = socket(address, 8080);
    let frontends = services[0]["frontends"].as_array().context("echo has no frontends")?;
    let mut backends = frontends.iter().flat_map(|one| one["backends"].as_array()).flatten();
    let backend = backends.find(|one| one["address"] == address.as_str());
    let backend = backend.with_context(|| format!("{node} has no backend {address}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((text(&backend["state"]), text(&backend["why"])))
}

fn condition(node: &Value) -> Option<&str> {
    let mut conditions = node["status"]["conditions"].as_array()?.iter();
    conditions.find(|one| one["type"] == "Ready")?["status"].as_str()
}

fn configure(cluster: &Cluster, spec: &str) -> Result<()> {
    let patch = format!(r#"{{"spec": {spec}}}"#);
    let arguments = ["patch", "bgpconfiguration", "default", "--type=merge", "-p", &patch];
    cluster.kubectl(&arguments).map(drop)
}

fn bfd_is_up(cluster: &Cluster, node: &str) -> Result<()> {
    let bfd = cluster.node_json(node, &["bgp", "bfd"])?;
    let sessions = bfd["sessions"].as_array().context("no sessions")?;
    let up = sessions.iter().filter(|one| one["state"] == "Up").count();
    ensure!(up == cluster.nodes.len() - 1, "{node}: {up} of its BFD sessions are up: {bfd}");
    Ok(())
}
