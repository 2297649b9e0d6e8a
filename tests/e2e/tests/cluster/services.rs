//! Services from pods, nodes and outside: the spread, and the client address that the hook contract
//! promises.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use viaduct_lab::{Cluster, Outcome, Shell, wait_for};

use crate::routing::socket;

pub(crate) const REQUESTS: usize = 300;

/// What each of three pods gets of [`REQUESTS`]: 20 to 47 %.
fn spread(outcome: &Outcome, what: &str) -> Result<()> {
    outcome.none_lost(what)?;
    let pods = outcome.by_pod();
    let share = REQUESTS * 20 / 100..=REQUESTS * 47 / 100;
    ensure!(
        pods.len() == 3 && pods.values().all(|count| share.contains(count)),
        "{what}: {REQUESTS} requests went to {pods:?}"
    );
    Ok(())
}

/// TCP and UDP to `address`, all seen from an address that `expected` allows for the reply's node.
fn check(
    shell: &Shell,
    address: IpAddr,
    port: u16,
    what: &str,
    expected: impl Fn(&str) -> BTreeSet<IpAddr>,
) -> Result<()> {
    let target = socket(address, port);
    let http = format!("http://{target}/");
    for (kind, target) in [("get", http.as_str()), ("udp", target.as_str())] {
        let what = format!("{what}: {kind} {target}");
        let outcome = shell.ask(kind, target, REQUESTS)?;
        spread(&outcome, &what)?;
        for reply in &outcome.replies {
            let (seen, allowed) = (reply.client_address(), expected(&reply.node));
            ensure!(
                allowed.contains(&seen),
                "{what}: {} on {} saw {seen}, not one of {allowed:?}",
                reply.pod,
                reply.node
            );
        }
        println!("{what}: {:?}", outcome.by_pod());
    }
    Ok(())
}

pub(crate) fn cluster_ip_from_a_pod(cluster: &Cluster) -> Result<()> {
    let (cluster_ips, ..) = cluster.service("echo")?;
    ensure!(cluster_ips.len() == 2, "echo has cluster IPs {cluster_ips:?}, not one a family");
    let pods = cluster.ready_pods("app=echo", 3)?;
    let shell = cluster.pod_shell(&pods[0])?;
    for ip in cluster_ips {
        let own = pods[0].address(ip.is_ipv6())?;
        check(&shell, ip, 80, "pod", |_node| [own].into())?;
    }
    Ok(())
}

pub(crate) fn cluster_ip_from_a_node(cluster: &Cluster) -> Result<()> {
    let (cluster_ips, ..) = cluster.service("echo")?;
    let node = &cluster.nodes[0];
    for ip in cluster_ips {
        let own = node_address(cluster, node, ip.is_ipv6())?;
        check(&cluster.host(node), ip, 80, "node", |_node| [own].into())?;
    }
    Ok(())
}

/// The border spreads the flows over the nodes. Whichever a flow enters by, its backend sees the
/// client where it is on that node, and the node's address where it is on another.
pub(crate) fn virtual_ip_from_outside(cluster: &Cluster) -> Result<()> {
    let (_, vips, _) = cluster.service("echo")?;
    ensure!(vips.len() == 2, "echo has virtual IPs {vips:?}, not one a family");
    for vip in vips {
        let outside = outside_address(cluster, vip.is_ipv6())?;
        let nodes: Result<Vec<(String, IpAddr)>> = cluster
            .nodes
            .iter()
            .map(|node| Ok((node.clone(), node_address(cluster, node, vip.is_ipv6())?)))
            .collect();
        let nodes = nodes?;
        check(&cluster.host("outside"), vip, 80, "outside", |backend| {
            let others = nodes.iter().filter(|(name, _)| name != backend);
            others.map(|(_, address)| *address).chain([outside]).collect()
        })?;
    }
    Ok(())
}

pub(crate) fn node_port_from_outside(cluster: &Cluster) -> Result<()> {
    let (_, _, service) = cluster.service("echo")?;
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("no node port")?;
    let udp_port = service["spec"]["ports"][1]["nodePort"].as_u64().context("no node port")?;
    let entry = &cluster.nodes[1];
    for v6 in [false, true] {
        let address = node_address(cluster, entry, v6)?;
        let outside = outside_address(cluster, v6)?;
        for (kind, port) in [("get", port), ("udp", udp_port)] {
            let target = socket(address, port.try_into()?);
            let target = if kind == "get" { format!("http://{target}/") } else { target };
            let what = format!("outside: {kind} {target}");
            let outcome = cluster.host("outside").ask(kind, &target, REQUESTS)?;
            spread(&outcome, &what)?;
            for reply in &outcome.replies {
                let wanted = if reply.node == *entry { outside } else { address };
                let seen = reply.client_address();
                ensure!(seen == wanted, "{what}: on {} seen as {seen}, not {wanted}", reply.node);
            }
        }
    }
    Ok(())
}

const EMPTY: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: empty}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  selector: {app: nobody}
  ports: [{name: http, port: 80, protocol: TCP}]
"#;

/// A service without a ready backend refuses at once: from a pod by its socket, from outside, at a
/// node port, by a reset.
pub(crate) fn no_backend_refuses(cluster: &Cluster) -> Result<()> {
    cluster.apply(EMPTY)?;
    let (cluster_ips, _, service) = cluster.service("empty")?;
    let port: u16 = service["spec"]["ports"][0]["nodePort"].as_u64().context("port")?.try_into()?;
    let pods = cluster.ready_pods("app=echo", 3)?;
    let shell = cluster.pod_shell(&pods[0])?;
    let node = &cluster.nodes[0];
    wait_for("the empty service on the node", Duration::from_secs(10), || {
        let services = cluster.node_json(node, &["services", "empty"])?;
        let frontends = services[0]["frontends"].as_array().map_or(&[][..], Vec::as_slice);
        ensure!(!frontends.is_empty() && frontends.iter().all(|one| one["programmed"] == true));
        Ok(())
    })?;
    for ip in cluster_ips {
        refused(&shell, &format!("http://{}/", socket(ip, 80)))?;
        let address = node_address(cluster, node, ip.is_ipv6())?;
        refused(&cluster.host("outside"), &format!("http://{}/", socket(address, port)))?;
    }
    cluster.kubectl(&["delete", "service", "empty"])?;
    Ok(())
}

fn refused(shell: &Shell, url: &str) -> Result<()> {
    let outcome = shell.ask("get", url, 3)?;
    let all = outcome.failures.iter().all(|failure| failure.contains(" refused "));
    ensure!(outcome.failures.len() == 3 && all, "{url}: {outcome:?}");
    Ok(())
}

pub(crate) fn node_address(cluster: &Cluster, node: &str, v6: bool) -> Result<IpAddr> {
    let hosts = cluster.report["cluster"]["nodes"].as_array().context("no nodes in the report")?;
    let host = hosts.iter().find(|host| host["name"] == node);
    address_of(host.with_context(|| format!("no node {node} in the report"))?, v6)
}

pub(crate) fn outside_address(cluster: &Cluster, v6: bool) -> Result<IpAddr> {
    address_of(&cluster.report["cluster"]["outside"], v6)
}

fn address_of(host: &Value, v6: bool) -> Result<IpAddr> {
    let text = host[if v6 { "v6" } else { "v4" }].as_str().context("a host without address")?;
    Ok(text.parse()?)
}
