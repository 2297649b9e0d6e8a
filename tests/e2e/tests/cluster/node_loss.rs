//! A node is cut off: its routes and backends leave, its pods come up elsewhere, services answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use viaduct_lab::{Cluster, Shell, wait_for};

use crate::{routing::socket, services::REQUESTS};

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cut_off_node(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let lost = &pods[2];
    let observer =
        cluster.nodes.iter().find(|node| **node != lost.node).context("no other node")?;
    let underlay = Shell { cgroup: None, ..cluster.host("underlay") };

    underlay.run("ip", &["link", "set", &lost.node, "down"])?;
    let cut = Instant::now();
    let result = check(cluster, &lost.node, observer, cut);
    // The tests that follow want a whole cluster, whatever became of this one.
    underlay.run("ip", &["link", "set", &lost.node, "up"])?;
    result?;

    let back = Instant::now();
    cluster.kubectl(&["wait", "--for=condition=Ready", "node", &lost.node, "--timeout=60s"])?;
    wait_for("the routes of the node to come back", LIMIT, || {
        let learned = routes_of(cluster, &lost.node, observer)?;
        ensure!(learned >= 2, "{learned} of its blocks are routed");
        Ok(())
    })?;
    println!("the node was whole again {:?} after it was joined again", back.elapsed());
    cluster.ready_pods("app=echo", 3)?;
    // It announces the virtual IPs as soon as it has its sessions, and hears a moment later what it
    // has missed: until then what it is sent may go to a backend that is gone.
    wait_for("every request to be answered again", LIMIT, || answers(cluster, observer))?;
    println!("every request was answered {:?} after it was joined again", back.elapsed());
    Ok(())
}

fn check(cluster: &Cluster, lost: &str, observer: &str, cut: Instant) -> Result<()> {
    wait_for("the routes of the node to leave", LIMIT, || {
        let learned = routes_of(cluster, lost, observer)?;
        ensure!(learned == 0, "{learned} of its blocks are still routed");
        Ok(())
    })?;
    println!("its routes were gone {:?} after the cut", cut.elapsed());
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
