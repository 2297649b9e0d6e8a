use anyhow::Result;
use viaduct_api::admin::NodeStatus;

use super::{
    Target,
    table::{self, age, list},
};

pub(crate) async fn print(target: &Target) -> Result<()> {
    if let Some(cluster) = target.own_cluster()
        && !cluster.is_supervised()
    {
        let name = &cluster.name;
        eprintln!(
            "the supervisor of cluster `{name}` does not run, so that nothing is started again \
             that ends: `viaduct down --name {name}`, then `viaduct up --name {name}`"
        );
    }
    let answers = super::ask::<NodeStatus>(target, "/v1/status").await?;
    super::print(target, &answers, |nodes| {
        let rows: Vec<_> = nodes
            .iter()
            .map(|(_, status)| {
                vec![
                    status.node.clone(),
                    list(&status.addresses),
                    format!("{}/{}", status.peers_established, status.peers),
                    format!("{}/{}", status.routes_installed, status.routes_wanted),
                    list(&status.blocks),
                    status.pods.to_string(),
                    status.services.to_string(),
                    status.dns.as_ref().map_or_else(|| "-".into(), |dns| dns.answered.to_string()),
                    age(status.uptime_secs),
                ]
            })
            .collect();
        let header = [
            "NODE",
            "ADDRESSES",
            "PEERS",
            "ROUTES",
            "BLOCKS",
            "PODS",
            "SERVICES",
            "DNS QUERIES",
            "UP",
        ];
        let mut text = table::columns(&header, &rows);
        for (node, status) in nodes {
            for problem in &status.problems {
                text += &format!("\n{node}: {problem}");
            }
        }
        text
    })
}
