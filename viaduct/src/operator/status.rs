use anyhow::Result;
use viaduct_api::admin::NodeStatus;

use super::{
    Target,
    table::{self, age, list},
};

pub(crate) async fn print(target: &Target) -> Result<()> {
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
                    age(status.uptime_secs),
                ]
            })
            .collect();
        let header = ["NODE", "ADDRESSES", "PEERS", "ROUTES", "BLOCKS", "PODS", "SERVICES", "UP"];
        table::print(&header, &rows);
        for (node, status) in nodes {
            for problem in &status.problems {
                println!("{node}: {problem}");
            }
        }
    })
}
