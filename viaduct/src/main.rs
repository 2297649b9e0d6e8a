//! `viaduct`: every part of a cluster's network and control plane in one binary.

mod image;
mod kubeclient;
mod kubelet;
mod logging;
mod node;
mod operator;
mod output;
mod passed;
mod paths;
mod programs;
mod router;
mod server;
mod shutdown;
mod successor;
mod tls;
mod turn;
mod up;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Routed pods over BGP and services in eBPF: a cluster network, and a small control plane that
/// speaks the Kubernetes API.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a whole cluster on this machine, each node in a network namespace.
    Up(up::UpArgs),
    /// Stop a cluster that `up` started and remove all that it made.
    Down(up::DownArgs),
    /// Run the control plane: API server, scheduler and controllers.
    Server(server::ServerArgs),
    /// Run a node's network: BGP speaker, routes, services, pod addresses.
    Node(node::NodeArgs),
    /// Run a node's pods (only where the control plane is `viaduct server`).
    Kubelet(kubelet::KubeletArgs),
    /// Run the BGP speaker with the kernel's routes, and nothing else, from a file.
    Router(router::SpeakerArgs),
    /// Run the BGP speaker alone, from a file: a route reflector (RFC 4456).
    Reflector(router::SpeakerArgs),
    /// Import and list the images that pods can be started from.
    #[command(subcommand)]
    Image(image::Command),
    #[command(flatten)]
    Operator(operator::Command),
    /// Ask services until they answer; started by `up` on a node.
    #[command(hide = true)]
    Probe(up::ProbeArgs),
    /// Keep the processes of a cluster running; started by `up`.
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        name: String,
    },
}

fn main() -> ExitCode {
    // A container runtime calls the same file by another name.
    let invoked_as = std::env::args_os().next();
    let name = invoked_as.as_deref().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == "viaduct-cni") {
        return vrouter_cni::plugin_main();
    }
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("viaduct: {}", output::describe(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Daemons stand many to a machine, and none of them computes for long.
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Up(args) => up::up(args).await,
            Command::Down(args) => up::down(args).await,
            Command::Server(args) => daemon(server::run(args)).await,
            Command::Node(args) => daemon(node::run(args)).await,
            Command::Kubelet(args) => daemon(kubelet::run(args)).await,
            Command::Router(args) => daemon(router::run(args)).await,
            Command::Reflector(args) => daemon(router::reflect(args)).await,
            Command::Image(command) => image::run(command),
            Command::Operator(command) => operator::run(command).await,
            Command::Probe(args) => up::probe(args).await,
            Command::Supervise { name } => daemon(up::supervise(&name)).await,
        }
    })
}

async fn daemon(run: impl Future<Output = Result<()>>) -> Result<()> {
    logging::init();
    run.await
}
