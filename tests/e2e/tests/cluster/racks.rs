//! Racks behind routers, nodes behind reflectors: only on a cluster that has them.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use viaduct_lab::{Cluster, repeat, wait_for};

use crate::restart::{Monitor, Traffic, established};

/// Longer than the hold time of 9 s: whoever is silent for so long is lost.
const SILENCE: Duration = Duration::from_secs(12);
const LIMIT: Duration = Duration::from_secs(60);

fn list<'a>(value: &'a Value, what: &str) -> Result<&'a Vec<Value>> {
    value.as_array().with_context(|| format!("no {what} in the report"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key} in {value}"))
}

fn family(address: &str) -> (&'static str, &'static str) {
    if address.contains(':') { ("-6", "v6") } else { ("-4", "v4") }
}

/// The routers of the racks, by name.
pub(crate) fn routers(cluster: &Cluster) -> Result<Vec<String>> {
    let racks = list(&cluster.report["cluster"]["racks"], "racks")?.iter();
    racks.map(|rack| Ok(text(&rack["router"], "name")?.to_owned())).collect()
}

pub(crate) fn reflectors(cluster: &Cluster) -> Result<Vec<String>> {
    let reflectors = list(&cluster.report["cluster"]["reflectors"], "reflectors")?.iter();
    reflectors.map(|host| Ok(text(host, "name")?.to_owned())).collect()
}

/// From each node to each block of a node in another rack: by the router of the own rack, then by
/// that of the other, then to the node. Within a rack the nodes are neighbours. The same way back is
/// a case of its own, for every pair is looked at in both directions.
pub(crate) fn routes_lead_through_the_routers(cluster: &Cluster) -> Result<()> {
    let plan = &cluster.report["cluster"];
    let racks: BTreeMap<&str, &Value> = list(&plan["racks"], "racks")?
        .iter()
        .map(|rack| Ok((text(&rack["router"], "name")?, rack)))
        .collect::<Result<_>>()?;
    let nodes: BTreeMap<&str, &Value> = list(&plan["nodes"], "nodes")?
        .iter()
        .map(|node| Ok((text(node, "name")?, node)))
        .collect::<Result<_>>()?;
    let blocks = cluster.json(&["get", "ipblocks"])?;
    let mut ways = 0;
    for block in list(&blocks["items"], "blocks")? {
        let address = text(&block["spec"], "cidr")?.split('/').next().context("no prefix")?;
        let (option, key) = family(address);
        let owner = nodes.get(text(&block["spec"], "node")?).context("a block of nobody")?;
        let goal = text(owner, "rack")?;
        for (name, node) in nodes.iter().filter(|(name, _)| owner["name"] != **name) {
            let own = text(node, "rack")?;
            let mut hops: Vec<(&str, &str)> = Vec::new();
            if own == goal {
                hops.push((name, text(owner, key)?));
            } else {
                hops.push((name, text(&racks[own]["gateway"], key)?));
                hops.push((own, text(&racks[goal]["router"], key)?));
                hops.push((goal, text(owner, key)?));
            }
            for (at, via) in hops {
                let route = cluster.host(at).run("ip", &[option, "route", "get", address])?;
                let expected = format!(" via {via} ");
                ensure!(route.contains(&expected), "{at}: {address} not{expected}but {route}");
            }
            ways += 1;
        }
    }
    let count = nodes.len() * (nodes.len() - 1) * 2;
    ensure!(ways >= count, "{ways} ways, of {count} at least");
    println!("{ways} ways between nodes and blocks lead through their routers, hop by hop");
    Ok(())
}

/// A router tells others of its own rack and gives nobody transit, and the nodes of nothing.
pub(crate) fn policies_are_as_documented(cluster: &Cluster) -> Result<()> {
    let cluster_asn = "64512";
    let border = cluster.node_json("border", &["bgp", "routes"])?;
    for path in list(&border, "routes")? {
        let as_path: Vec<&str> = text(path, "asPath")?.split(' ').collect();
        ensure!(as_path.len() == 2 && as_path[1] == cluster_asn, "the border was told {path}");
    }
    let reflectors = reflectors(cluster)?;
    for node in &cluster.nodes {
        let peers = cluster.node_json(node, &["bgp", "peers"])?;
        for peer in list(&peers, "peers")? {
            let internal = peer["asn"] == 64512;
            let received = peer["prefixesReceived"].as_u64().context("no count")?;
            ensure!(internal == (received > 0), "{node} was told {received} by {peer}");
        }
        ensure!(list(&peers, "peers")?.len() == reflectors.len() + 1, "{node} has {peers}");
    }
    for reflector in reflectors {
        let routes = cluster.node_json(&reflector, &["routes"])?;
        ensure!(list(&routes, "routes")?.is_empty(), "{reflector} has routes: {routes}");
        let metrics = cluster.metrics(&reflector)?;
        ensure!(metrics.contains("viaduct_bgp_peer_established"), "{reflector}: {metrics}");
    }
    Ok(())
}

/// Every router and every reflector, one after another: SIGKILL, while requests pass between pods
/// of different racks and from outside.
pub(crate) fn router_and_reflector_killed(cluster: &Cluster) -> Result<()> {
    let rounds = repeat(2);
    let routers = routers(cluster)?;
    let monitored = || routers.iter().chain(&cluster.nodes);
    let monitors: Vec<_> =
        monitored().map(|host| Monitor::start(cluster, host)).collect::<Result<_>>()?;
    let traffic = Traffic::start(cluster)?;
    let mut slowest = Duration::ZERO;
    let mut kills = 0;
    for _ in 0..rounds {
        let victims = routers.iter().map(|name| (name.clone(), "router"));
        let reflectors = reflectors(cluster)?.into_iter().map(|name| (name, "reflector"));
        for (host, part) in victims.chain(reflectors) {
            let killed = Instant::now();
            cluster.kill(&format!("{host}.{part}"))?;
            established(cluster, &host)?;
            slowest = slowest.max(killed.elapsed());
            kills += 1;
            traffic.flows()?;
        }
    }
    let sent = traffic.stop()?;
    for (host, monitor) in monitored().zip(monitors) {
        let deleted = monitor.deletions()?;
        ensure!(deleted.is_empty(), "{host} lost {} entries: {deleted:?}", deleted.len());
    }
    println!(
        "routers and reflectors killed {kills} times under {sent} requests: none lost, nothing \
         removed from a kernel; all sessions were back {slowest:?} after the kill at the latest"
    );
    Ok(())
}

/// A reflector falls silent for longer than the hold time, so that all it has told is withdrawn; the
/// other is enough. Then it is back.
pub(crate) fn reflector_silent(cluster: &Cluster) -> Result<()> {
    let silent = reflectors(cluster)?.remove(0);
    let address: IpAddr = {
        let all = list(&cluster.report["cluster"]["reflectors"], "reflectors")?;
        let host = all.iter().find(|host| host["name"] == silent.as_str());
        text(host.context("it is not in the report")?, "v4")?.parse()?
    };
    let monitors: Vec<_> =
        cluster.nodes.iter().map(|node| Monitor::start(cluster, node)).collect::<Result<_>>()?;
    let traffic = Traffic::start(cluster)?;
    let pid = cluster.pid(&format!("{silent}.reflector"))?;
    kill(pid, Signal::SIGSTOP)?;
    let lost = lost_by_all(cluster, address);
    let flowed = traffic.flows();
    kill(pid, Signal::SIGCONT)?;
    lost?;
    flowed?;
    established(cluster, &silent)?;
    traffic.flows()?;
    let sent = traffic.stop()?;
    for (node, monitor) in cluster.nodes.iter().zip(monitors) {
        let deleted = monitor.deletions()?;
        ensure!(deleted.is_empty(), "{node} lost {} entries: {deleted:?}", deleted.len());
    }
    println!("{silent} silent beyond its hold time under {sent} requests: none lost");
    Ok(())
}

/// Waits until every node has given a peer up and forgotten what it told.
fn lost_by_all(cluster: &Cluster, peer: IpAddr) -> Result<()> {
    let address = peer.to_string();
    let begun = Instant::now();
    for node in &cluster.nodes {
        wait_for(&format!("{node} to give {peer} up"), LIMIT, || {
            let peers = cluster.node_json(node, &["bgp", "peers"])?;
            let row = list(&peers, "peers")?.iter().find(|row| row["address"] == address);
            let row = row.with_context(|| format!("{node} has no peer {peer}"))?;
            ensure!(row["state"] != "Established" && row["prefixesReceived"] == 0, "{row}");
            Ok(())
        })?;
    }
    let given_up = begun.elapsed();
    ensure!(given_up < SILENCE * 10, "given up after {given_up:?}");
    println!("given up by all nodes after {given_up:?}");
    Ok(())
}
