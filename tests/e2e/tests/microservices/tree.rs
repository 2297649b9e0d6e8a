//! What a request to the gateway brings back: every hop is there, and each saw the client that the
//! contract of the hooks promises.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use viaduct_lab::{Called, Cluster, PodHandle, Reply};

/// Who asks whom, in the order of `CALLS`.
const CALLS: [(&str, &[&str]); 6] = [
    ("api-gateway", &["user-edge-service", "course-edge-service"]),
    ("user-edge-service", &["user-thrift-service", "message-service"]),
    ("user-thrift-service", &[]),
    ("course-edge-service", &["course-dubbo-service"]),
    ("course-dubbo-service", &["message-service"]),
    ("message-service", &[]),
];

/// Asks the gateway from outside, over either family, and looks at all that comes back.
pub(crate) fn check(cluster: &Cluster) -> Result<()> {
    let (_, vips, _) = cluster.service("api-gateway")?;
    ensure!(vips.len() == 2, "the gateway has the virtual IPs {vips:?}");
    for vip in vips {
        let url = format!("http://{}/", SocketAddr::new(vip, 80));
        let outcome = cluster.host("outside").ask("get", &url, 1)?;
        outcome.none_lost(&url)?;
        let tree = outcome.replies.first().context("no answer")?;
        entry(cluster, tree).with_context(|| url.clone())?;
        // Whoever has just been told to end may have answered, and is a pod all the same.
        let list = cluster.pods("app.kubernetes.io/part-of=microservices")?;
        let pods = list.iter().map(|pod| (pod.name.as_str(), pod)).collect();
        hop(tree, "api-gateway", &pods).with_context(|| url.clone())?;
        ensure!(tree.hops()?.len() == 7, "{url}: {} hops", tree.hops()?.len());
    }
    Ok(())
}

/// From outside: the client's own address where the node that the request came to has the pod, that
/// node's where it has not.
fn entry(cluster: &Cluster, tree: &Reply) -> Result<()> {
    let plan = &cluster.report["cluster"];
    let address = |host: &serde_json::Value| {
        let family = if tree.client_address().is_ipv6() { "v6" } else { "v4" };
        host[family].as_str().map(str::to_owned)
    };
    let seen = Some(tree.client_address().to_string());
    let nodes = plan["nodes"].as_array().context("a plan without nodes")?;
    let others = nodes.iter().filter(|node| node["name"] != tree.node.as_str());
    let allowed = others.chain([&plan["outside"]]).any(|host| address(host) == seen);
    ensure!(allowed, "the gateway on {} saw {}", tree.node, tree.client);
    Ok(())
}

fn hop(reply: &Reply, service: &str, pods: &BTreeMap<&str, &PodHandle>) -> Result<()> {
    ensure!(reply.service == service, "{} answered for {service}", reply.service);
    let (_, wanted) = CALLS.iter().find(|(name, _)| *name == service).context("who is that?")?;
    ensure!(reply.calls.len() == wanted.len(), "{service} made {} calls", reply.calls.len());
    for (called, name) in reply.calls.iter().zip(*wanted) {
        let called = match called {
            Called::Reply(called) => called,
            Called::Failure { url, error, message } => {
                bail!("{service} asked {url}: {error}: {message}")
            }
        };
        hop(called, name, pods)?;
        let client = called.client_address();
        if called.service == "course-dubbo-service" {
            let server: SocketAddr = called.server.parse()?;
            let is_local = client.is_loopback() && server.ip().is_loopback();
            ensure!(is_local, "{name} at {server} saw {client}");
            ensure!(called.pod == reply.pod, "{} asked {} on localhost", reply.pod, called.pod);
            continue;
        }
        ensure!(called.host == *name, "{service} asked {} by the name {}", name, called.host);
        // A pod that ends is not on the list any more.
        if let Some(pod) = pods.get(reply.pod.as_str()) {
            let known = pod.addresses.contains(&client);
            ensure!(known, "{name} saw {client}, and {} has {:?}", pod.name, pod.addresses);
        }
    }
    Ok(())
}
