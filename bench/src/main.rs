//! What is measured of a whole cluster, for `make bench-up`: how long its start takes, what its
//! processes weigh, how fast pods start, and what the way of a packet costs beside plain kernel
//! forwarding. And of the BGP speaker alone, beside those of other makers, for `make bench-bgp`.

mod bgp;
mod memory;
mod path;
mod pods;
mod reference;
mod stages;
mod statistics;
mod traffic;

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use viaduct_lab::{Cluster, Options};

/// Measures a cluster of `viaduct up`, or the BGP speaker.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Starts of a cluster, of which the median is printed.
    #[arg(long, env = "ROUNDS", default_value_t = 3)]
    rounds: usize,
    /// Pods of the large measurement.
    #[arg(long, env = "PODS", default_value_t = 100)]
    pods: usize,
}

#[derive(Subcommand)]
enum Command {
    /// The BGP speaker beside BIRD, FRR, GoBGP and OpenBGPD.
    Bgp(bgp::BgpArgs),
    /// Accept connections and read what they bring; runs inside a namespace.
    #[command(hide = true)]
    Serve { listen: SocketAddr },
    /// Time connects to targets in turn; runs inside a namespace.
    #[command(hide = true)]
    Connects { count: usize, target: SocketAddr },
    /// Send for some milliseconds; runs inside a namespace.
    #[command(hide = true)]
    Stream { millis: u64, target: SocketAddr },
}

const NAME: &str = "bench-up";
const API_PORT: u16 = 18082;

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Bgp(args)) => bgp::measure(&args),
        Some(Command::Serve { listen }) => traffic::serve(listen),
        Some(Command::Connects { count, target }) => traffic::connects(count, target),
        Some(Command::Stream { millis, target }) => traffic::stream(millis, target),
        None => measure(&cli),
    }
}

fn measure(cli: &Cli) -> Result<()> {
    ensure!(cli.rounds > 0, "--rounds 0: there is nothing to take the median of");
    stages::measure(cli.rounds)?;
    let cluster = Cluster::up(&options())?;
    println!();
    path::measure(&cluster)?;
    println!();
    let idle = memory::settled(&cluster)?;
    let started = pods::start_many(&cluster, cli.pods)?;
    let loaded = memory::settled(&cluster)?;
    memory::print(&idle, &loaded, started.count);
    println!();
    started.print();
    pods::cni(&cluster)
}

/// A cluster of three nodes with the echo pods alone: the example's size is not the cluster's.
fn options() -> Options {
    let mut options = Options::new(NAME, API_PORT);
    options.nodes = 3;
    options
}
