//! What `up` says when it is done: what there is, and what to try next.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Result;
use serde_json::json;

use super::{
    DEFAULT_NAME,
    plan::{ClusterPlan, Host},
    probe::Target,
    progress::Progress,
    speakers,
};
use crate::{operator::Output, output, paths::ClusterPaths};

pub(crate) fn print(
    plan: &ClusterPlan,
    paths: &ClusterPaths,
    progress: &Progress,
    answered: &[Target],
    output: Output,
) -> Result<()> {
    if output.is_json() {
        let vips: BTreeSet<IpAddr> = answered.iter().map(|target| target.address().ip()).collect();
        let report = json!({
            "cluster": plan,
            "api": format!("http://127.0.0.1:{}", plan.api_port),
            "page": page(plan),
            "run": paths.run,
            "state": paths.state,
            "speakers": speakers::outside_the_nodes(plan).iter().map(|speaker| json!({
                "name": speaker.host.name,
                "part": speaker.part,
                "asn": speaker.asn(),
            })).collect::<Vec<_>>(),
            "sessions": speakers::sessions(plan)
                .into_iter()
                .map(|(host, count)| (host.name.clone(), count))
                .collect::<std::collections::BTreeMap<_, _>>(),
            "virtualIPs": vips,
            "stages": progress.stages,
            "totalMillis": progress.total().as_millis() as u64,
        });
        output::print(serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    let name = &plan.name;
    let kubectl = format!("kubectl --server=http://127.0.0.1:{}", plan.api_port);
    let viaduct = std::env::current_exe()?;
    let viaduct = viaduct.display();
    let cluster = if name == DEFAULT_NAME { String::new() } else { format!(" --cluster {name}") };
    let mut lines = vec![format!(
        "\nCluster `{name}` is up after {:.1} s: {} nodes, each a network namespace.\n",
        progress.total().as_secs_f64(),
        plan.nodes.len(),
    )];
    lines.extend(topology(plan));
    lines.extend([
        format!("Page: {}\n", page(plan)),
        "Try next:".to_owned(),
        format!("  {kubectl} get nodes,pods,services -o wide"),
        format!("  {viaduct} status{cluster}"),
    ]);
    for command in ["bgp peers", "routes", "services"] {
        lines.push(format!("  {viaduct} {command}{cluster} --node {}", plan.nodes[0].name));
    }
    let outside = plan.netns("outside");
    for target in answered {
        let Target::Http(_) = target else { continue };
        // Quoted, since some shells take the brackets of an IPv6 address for a pattern.
        lines.push(format!("  nsenter --net=/run/netns/{outside} curl -s '{target}'"));
    }
    let named = if name == DEFAULT_NAME { String::new() } else { format!(" --name {name}") };
    lines.push(format!("  {viaduct} down{named}\n"));
    lines.push(format!(
        "Logs are in {}, the cluster's state in {}.",
        paths.logs().display(),
        paths.state.display()
    ));
    output::print(lines.join("\n"))?;
    Ok(())
}

/// Where the cluster can be looked at, with a browser that root runs.
fn page(plan: &ClusterPlan) -> String {
    format!("http://127.0.0.1:{}/ui/", plan.api_port)
}

/// The racks and the reflectors, where there are any.
fn topology(plan: &ClusterPlan) -> Vec<String> {
    let names = |hosts: &mut dyn Iterator<Item = &Host>| {
        hosts.map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    for rack in &plan.racks {
        let router = &rack.router;
        let inside =
            names(&mut plan.edge().filter(|host| host.rack.as_ref() == Some(&router.name)));
        let name = &router.name;
        lines.push(format!("  {name}: router {} of AS {}, with {inside}", router.v4, rack.asn));
    }
    if !plan.reflectors.is_empty() {
        let reflectors = names(&mut plan.reflectors.iter());
        lines.push(format!("  {reflectors}: route reflectors in place of the mesh"));
    }
    if let Some(last) = lines.last_mut() {
        last.push('\n');
    }
    lines
}
