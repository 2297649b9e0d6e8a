//! A node is cut off: its routes and backends leave, its pods come up elsewhere, services answer.
//! It comes back, and nobody notices.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use viaduct_lab::{Cluster, Load, Shell, wait_for};

use crate::{routing::socket, services::REQUESTS};

const LIMIT: Duration = Duration::from_secs(60);
/// Between two requests of a load: what a load has sent is a clock, too.
const INTERVAL: Duration = Duration::from_millis(10);
/// So many requests of each load take ten seconds at least: before the link is back, and when the
/// node announces the virtual IPs again.
const AROUND: usize = 1000;
const _: () = assert!(AROUND as u128 * INTERVAL.as_millis() >= 10_000);

pub(crate) fn cut_off_node(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let lost = &pods[2];
    let observer =
        cluster.nodes.iter().find(|node| **node != lost.node).context("no other node")?;
    let underlay = Shell { cgroup: None, ..cluster.host("underlay") };

    underlay.run("ip", &["link", "set", &lost.node, "down"])?;
    let cut = Instant::now();
    let result = check(cluster, &lost.node, observer, cut);
    let loads = result.and_then(|()| start_loads(cluster));
    // The tests that follow want a whole cluster, whatever became of this one.
    underlay.run("ip", &["link", "set", &lost.node, "up"])?;
    come_back(cluster, &lost.node, observer, loads?)?;
    cluster.ready_pods("app=echo", 3)?;
    answers(cluster, observer)
}

/// From when the link is there: the blocks are routed again at once, the virtual IPs are announced
/// when the node has read what it has missed, and no request of `loads` fails.
fn come_back(
    cluster: &Cluster,
    node: &str,
    observer: &str,
    loads: Vec<(String, Load)>,
) -> Result<()> {
    let back = Instant::now();
    wait_for("the node to read the API again", LIMIT, || {
        let problems = cluster.node_json(node, &["status"])?["problems"].to_string();
        let waits = problems.contains("cut off:") || problems.contains("until the API is read");
        ensure!(!waits, "its problems are {problems}");
        Ok(())
    })?;
    println!(
        "it had read the API, and its peers' routes, {:?} after the link was back",
        back.elapsed()
    );
    wait_for("the node to announce the virtual IPs", LIMIT, || {
        let (announced, all) = vips_of(cluster, node)?;
        ensure!(announced == all, "it announces {announced} of {all}");
        Ok(())
    })?;
    println!("it announced the virtual IPs {:?} after the link was back", back.elapsed());
    wait_for("the routes of the node to come back", LIMIT, || {
        let learned = routes_of(cluster, node, observer)?;
        ensure!(learned >= 2, "{learned} of its blocks are routed");
        Ok(())
    })?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "node", node, "--timeout=60s"])?;
    println!("it was ready {:?} after the link was back", back.elapsed());
    let mut sent = 0;
    for (what, load) in &loads {
        let before = load.sent();
        wait_for(what, LIMIT, || {
            ensure!(load.sent() >= before + AROUND, "{} requests", load.sent() - before);
            Ok(())
        })?;
    }
    let mut lost = Vec::new();
    for (what, load) in loads {
        let outcome = load.stop()?;
        lost.extend(outcome.none_lost(&what).err().map(|error| error.to_string()));
        sent += outcome.sent();
    }
    ensure!(lost.is_empty(), "{}", lost.join("\n"));
    println!("none of {sent} requests failed while it came back");
    Ok(())
}

fn start_loads(cluster: &Cluster) -> Result<Vec<(String, Load)>> {
    let (_, vips, _) = cluster.service("echo")?;
    let outside = cluster.host("outside");
    let interval = INTERVAL.as_millis().to_string();
    let options = ["-n", "0", "--interval-ms", &interval, "--timeout-ms", "2000"];
    let mut loads = Vec::new();
    for vip in vips {
        let url = format!("http://{}/", socket(vip, 80));
        let arguments = [&["get", &url][..], &options].concat();
        let load = Load::start(&outside, &arguments)?;
        loads.push((format!("outside → {url}"), load));
    }
    for (what, load) in &loads {
        wait_for(what, LIMIT, || {
            ensure!(load.sent() >= AROUND, "{} requests", load.sent());
            Ok(())
        })?;
    }
    Ok(loads)
}

/// How many virtual IPs a node announces, and how many there are. It is asked itself: behind
/// reflectors others hear the best of several ways only.
pub(crate) fn vips_of(cluster: &Cluster, node: &str) -> Result<(usize, usize)> {
    let (_, vips, _) = cluster.service("echo")?;
    let paths = cluster.node_json(node, &["bgp", "routes"])?;
    let paths = paths.as_array().context("no paths")?;
    let announced = |vip: &IpAddr| {
        let prefix = format!("{vip}/{}", if vip.is_ipv4() { 32 } else { 128 });
        paths.iter().any(|path| path["prefix"] == prefix && path["peer"].is_null())
    };
    Ok((vips.iter().filter(|vip| announced(vip)).count(), vips.len()))
}

fn check(cluster: &Cluster, lost: &str, observer: &str, cut: Instant) -> Result<()> {
    wait_for("the routes of the node to leave", LIMIT, || {
        let learned = routes_of(cluster, lost, observer)?;
        ensure!(learned == 0, "{learned} of its blocks are still routed");
        Ok(())
    })?;
    println!("its routes were gone {:?} after the cut", cut.elapsed());
    // It knows itself, and says so to whoever asks on it.
    wait_for("the node to notice", LIMIT, || {
        let status = cluster.node_json(lost, &["status"])?;
        let problems = status["problems"].to_string();
        ensure!(problems.contains("cut off"), "its problems are {problems}");
        Ok(())
    })?;
    println!("it knew that it was cut off {:?} after the cut", cut.elapsed());
    wait_for("the pods to be ready elsewhere", LIMIT, || {
        let pods = cluster.pods("app=echo")?;
        let elsewhere = pods.iter().filter(|pod| pod.node != lost && !pod.addresses.is_empty());
        let count = elsewhere.count();
        ensure!(count == 3, "{count} of {} pods are on other nodes", pods.len());
        Ok(())
    })?;
    println!("its pods were started elsewhere {:?} after the cut", cut.elapsed());
    wait_for("the services to answer from the others only", LIMIT, || answers(cluster, observer))?;
    println!("every request was answered {:?} after the cut", cut.elapsed());
    Ok(())
}

/// How many of a node's blocks another node has a route to.
fn routes_of(cluster: &Cluster, node: &str, observer: &str) -> Result<usize> {
    let blocks = cluster.json(&["get", "ipblocks"])?;
    let routes = cluster.node_json(observer, &["routes"])?;
    let routed = |cidr: &str| {
        let mut rows = routes.as_array().into_iter().flatten();
        rows.any(|row| row["prefix"] == cidr && row["installed"] == true)
    };
    let blocks = blocks["items"].as_array().context("no blocks")?.iter();
    let own = blocks.filter(|block| block["spec"]["node"] == node);
    Ok(own.filter(|block| block["spec"]["cidr"].as_str().is_some_and(routed)).count())
}

/// Every service answers every request of a node and of `outside`.
fn answers(cluster: &Cluster, node: &str) -> Result<()> {
    let (cluster_ips, vips, _) = cluster.service("echo")?;
    for ip in cluster_ips {
        let url = format!("http://{}/", socket(ip, 80));
        cluster.host(node).ask("get", &url, REQUESTS / 3)?.none_lost(&url)?;
    }
    for vip in vips {
        let url = format!("http://{}/", socket(vip, 80));
        cluster.host("outside").ask("get", &url, REQUESTS / 3)?.none_lost(&url)?;
    }
    Ok(())
}
