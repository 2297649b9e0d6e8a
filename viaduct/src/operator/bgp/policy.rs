use std::net::IpAddr;

use anyhow::Result;
use viaduct_api::admin::{PeerPolicy, PeerQuery};

use super::{Target, question};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Of this neighbour only.
    peer: Option<IpAddr>,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn print(args: &Args) -> Result<()> {
    let path = question::path("/v1/bgp/policy", &PeerQuery { peer: args.peer })?;
    let answers = crate::operator::ask::<Vec<PeerPolicy>>(&args.target, &path).await?;
    crate::operator::print(&args.target, &answers, |nodes| {
        let mut lines = Vec::new();
        for (node, policies) in nodes {
            for policy in *policies {
                lines.push(format!("{} on {node}", policy.name()));
                tell("import", &policy.import, &mut lines);
                tell("export", &policy.export, &mut lines);
            }
        }
        lines.join("\n")
    })
}

fn tell(name: &str, rules: &[String], lines: &mut Vec<String>) {
    lines.push(format!("  {name}"));
    let numbered = rules.iter().enumerate();
    lines.extend(numbered.map(|(number, rule)| format!("    {:>3}  {rule}", number + 1)));
    lines.push("         else reject".to_owned());
}
