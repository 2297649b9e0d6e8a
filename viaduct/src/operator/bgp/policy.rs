use std::net::IpAddr;

use anyhow::Result;
use viaduct_api::admin::{PeerPolicy, PeerQuery};

use super::{Target, policy_test, question};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Of this neighbour only.
    peer: Option<IpAddr>,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Try a policy with a route: the rules that it fits, what each changes, and the end.
    ///
    /// The route need not be there. What is asked is what import or export would say of it, by the
    /// same evaluation; what comes before and after a policy (loops, next hop, our own AS in front) is
    /// not shown.
    #[command(after_help = "Examples:
  viaduct bgp policy test import 192.0.2.1 10.1.0.0/16 --as-path '65001 65002' --community 65001:7
  viaduct bgp policy test export 192.0.2.1 10.1.0.0/16 --peer 192.0.2.9
  viaduct bgp policy test import transit 10.1.0.0/16 --file new.yaml
  viaduct bgp policy test import 192.0.2.1 10.1.0.0/16 -o json | jq '.[].answer.accepted'")]
    Test(Box<policy_test::Args>),
}

pub(super) async fn print(args: &Args) -> Result<()> {
    if let Some(Command::Test(test)) = &args.command {
        return policy_test::print(test).await;
    }
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
