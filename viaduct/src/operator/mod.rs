//! What an operator asks of a running node, and how it is printed.

pub(crate) mod admin;
mod bgp;
mod check;
mod routes;
mod services;
mod status;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde::{Serialize, de::DeserializeOwned};

use crate::{output, paths::ClusterPaths};

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        self == Self::Json
    }
}

/// Which node is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// Name of the cluster, where it was made by `viaduct up`.
    #[arg(long, default_value = crate::up::DEFAULT_NAME)]
    cluster: String,
    /// Ask this node only; without it, every node of this machine.
    #[arg(long)]
    node: Option<String>,
    /// The admin socket itself, in place of --cluster and --node.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["cluster", "node"])]
    socket: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Target {
    /// The cluster of `viaduct up` whose nodes are asked, if that is what there is.
    fn own_cluster(&self) -> Option<ClusterPaths> {
        let paths = ClusterPaths::new(&self.cluster).ok()?;
        (self.socket.is_none() && paths.plan().exists()).then_some(paths)
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the nodes of this machine and what is wrong with them.
    ///
    /// PEERS are sessions that are established, of all; ROUTES those in the kernel, of those wanted.
    Status(Target),
    /// Show the BGP speaker.
    #[command(subcommand)]
    Bgp(bgp::Command),
    /// Show the routes that are wanted beside those in the kernel.
    ///
    /// KERNEL is `installed`, `missing` (wanted, and not there), or `leftover` (there, and not wanted).
    Routes(Target),
    /// Show the services, their frontends and the backends behind them.
    ///
    /// CONNECTIONS are those that are open, one count for each backend in their order: those that this
    /// node's own pods and processes have made, and those of clients outside that entered here.
    #[command(after_help = "Example: viaduct services default/echo --node node-1")]
    Services {
        /// Only services whose name, or namespace/name, is this.
        service: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

pub(crate) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Status(target) => status::print(&target).await,
        Command::Bgp(command) => bgp::run(command).await,
        Command::Routes(target) => routes::print(&target).await,
        Command::Services { service, target } => services::print(&target, service.as_deref()).await,
    }
}

/// The answer of one node.
#[derive(Serialize)]
struct Answer<T> {
    node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<T>,
}

/// Asks every node of `target` for `path`. A node that does not answer is a row of its own, so that
/// a dead daemon is seen beside the living.
async fn ask<T: DeserializeOwned>(target: &Target, path: &str) -> Result<Vec<Answer<T>>> {
    let sockets = admin::sockets(target)?;
    let questions = sockets.into_iter().map(|(node, socket)| async move {
        match admin::get(&socket, path).await {
            Ok(answer) => Answer { node, error: None, answer: Some(answer) },
            Err(error) => Answer { node, error: Some(format!("{error:#}")), answer: None },
        }
    });
    Ok(futures::future::join_all(questions).await)
}

/// Prints the answers: as JSON, or in words by `text`, which is called for each node that answered.
fn print<T: Serialize>(
    target: &Target,
    answers: &[Answer<T>],
    text: impl FnOnce(&[(&str, &T)]) -> String,
) -> Result<()> {
    if target.output.is_json() {
        output::print(serde_json::to_string_pretty(answers)?)?;
    } else {
        let good: Vec<_> = answers
            .iter()
            .filter_map(|one| Some((one.node.as_str(), one.answer.as_ref()?)))
            .collect();
        if !good.is_empty() {
            output::print(text(&good))?;
        }
        for one in answers {
            if let Some(error) = &one.error {
                eprintln!("{}: {error}", one.node);
            }
        }
    }
    if answers.iter().all(|one| one.answer.is_none()) {
        anyhow::bail!("no node answered");
    }
    Ok(())
}
