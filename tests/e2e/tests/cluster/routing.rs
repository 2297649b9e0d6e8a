//! Pod to pod across nodes, by plain routed address.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use viaduct_lab::Cluster;

pub(crate) fn pod_to_pod_v4(cluster: &Cluster) -> Result<()> {
    pod_to_pod(cluster, false)
}

pub(crate) fn pod_to_pod_v6(cluster: &Cluster) -> Result<()> {
    pod_to_pod(cluster, true)
}

/// Every pod asks every other and is seen by its own address: nothing in between translates.
fn pod_to_pod(cluster: &Cluster, v6: bool) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let nodes: std::collections::BTreeSet<&str> =
        pods.iter().map(|pod| pod.node.as_str()).collect();
    ensure!(nodes.len() == 3, "the pods are not spread over the nodes: {nodes:?}");
    for from in &pods {
        let shell = cluster.pod_shell(from)?;
        for to in pods.iter().filter(|to| to.name != from.name) {
            let url = format!("http://{}/", socket(to.address(v6)?, 8080));
            let outcome = shell.ask("get", &url, 3)?;
            outcome.none_lost(&format!("{} → {url}", from.name))?;
            for reply in &outcome.replies {
                ensure!(reply.pod == to.name, "{url} was answered by {}", reply.pod);
                let seen = reply.client_address();
                ensure!(seen == from.address(v6)?, "{} was seen as {seen}", from.name);
            }
        }
    }
    Ok(())
}

pub(crate) fn kernel_routes_are_what_bgp_said(cluster: &Cluster) -> Result<()> {
    for node in &cluster.nodes {
        let shell = cluster.host(node);
        let paths = cluster.node_json(node, &["bgp", "routes"])?;
        let routes = cluster.node_json(node, &["routes"])?;
        let learned = paths.as_array().context("bgp routes")?.iter();
        let learned = learned.filter(|path| path["best"] == true && !path["peer"].is_null());
        let mut count = 0;
        for path in learned {
            let prefix = path["prefix"].as_str().context("a path without prefix")?;
            let via = path["resolved"][0]["address"].as_str().context("an unresolved best path")?;
            let row = routes.as_array().into_iter().flatten().find(|row| row["prefix"] == prefix);
            let row = row.with_context(|| format!("{prefix} is not among the routes of {node}"))?;
            ensure!(row["installed"] == true, "{node}: {prefix} is not installed");
            let family = if prefix.contains(':') { "-6" } else { "-4" };
            let kernel = shell.run("ip", &[family, "route", "get", &host_in(prefix)?])?;
            // A virtual IP leads to several nodes, and the kernel picks one of them.
            let hops = path["resolved"].as_array().map_or(0, Vec::len);
            let fits = row["nextHops"].as_array().map_or(0, Vec::len) > 1 || hops > 1;
            ensure!(fits || kernel.contains(via), "{node}: {prefix} via {via}, but {kernel}");
            count += 1;
        }
        ensure!(
            count >= 4,
            "{node} has learned {count} prefixes: two blocks of two nodes at least"
        );
        for kind in ["vxlan", "ipip", "geneve"] {
            let tunnels = shell.run("ip", &["-o", "link", "show", "type", kind])?;
            ensure!(tunnels.trim().is_empty(), "{node} has a tunnel: {tunnels}");
        }
    }
    Ok(())
}

/// While the address of a router's link is tentative, up to two seconds after the link is up, the
/// router asks for no IPv6 neighbour, and whoever comes first is not answered for a second. `up`
/// takes less than that, so its links must not detect duplicates.
pub(crate) fn links_need_no_second_to_forward_v6(cluster: &Cluster) -> Result<()> {
    for host in cluster.nodes.iter().map(String::as_str).chain(["border", "outside"]) {
        let shell = cluster.host(host);
        for link in ["default", "uplink"] {
            let setting = format!("net.ipv6.conf.{link}.accept_dad");
            let value = shell.run("sysctl", &["-n", &setting])?;
            ensure!(value.trim() == "0", "{host}: {setting} is {value}");
        }
    }
    Ok(())
}

/// An address of a prefix, to look up its route.
fn host_in(prefix: &str) -> Result<String> {
    Ok(prefix.split('/').next().context("no prefix")?.to_owned())
}

pub(crate) fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
