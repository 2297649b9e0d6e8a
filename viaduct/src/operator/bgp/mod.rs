//! `viaduct bgp`: the speaker of a node, a router or a reflector.

mod bfd;
mod dump;
mod events;
mod paths;
mod peer;
mod peers;
mod policy;
mod policy_test;
mod question;
mod routes;

use anyhow::Result;
use clap::Subcommand;

use super::{Target, admin, check, table};
use crate::output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the neighbours and their sessions.
    ///
    /// ACC/RCV are the prefixes that import has accepted, of all the peer has told; SENT those it was told.
    Peers(Target),
    /// Show one neighbour in full: capabilities, timers, counters, limits.
    #[command(after_help = "Example: viaduct bgp peer 192.0.2.1")]
    Peer(peer::Args),
    /// Show the rules that hold for what is taken from each neighbour and for what it is told.
    ///
    /// The first rule that fits a route decides, but for those that say `continue`; what no rule accepts
    /// is rejected.
    #[command(after_help = "Examples:
  viaduct bgp policy 192.0.2.1
  viaduct bgp policy test import 192.0.2.1 10.1.0.0/16 --as-path '65001 65002'")]
    Policy(policy::Args),
    /// Show the BFD sessions with neighbours.
    ///
    /// TX is what is let pass between our packets, DETECT the silence after which the neighbour is
    /// lost, both as negotiated; OFFER and PEER are what each side asks for: sending, taking,
    /// multiplier.
    Bfd(Target),
    /// Show the paths of the table, the best of each prefix first, and why the others lost.
    ///
    /// Small answers are sorted by prefix. Large ones are printed as they come, in the order in which the
    /// speaker keeps them, which costs neither side any memory.
    #[command(after_help = "Examples:
  viaduct bgp routes 10.1.2.3               the most specific prefix around it, with every path
  viaduct bgp routes 10.0.0.0/8 --longer    all prefixes inside it
  viaduct bgp routes --peer 192.0.2.1 --rejected
  viaduct bgp routes -o json | jq -c '.[].answer[] | select(.best)'")]
    Routes(routes::Args),
    /// Show what has happened to the speaker: sessions, NOTIFICATIONs, configuration, limits.
    ///
    /// The latest 4096 are kept, from the start of the daemon on. Where they come faster than they are
    /// read, a line of the kind `missed` says how many are not shown.
    #[command(after_help = "Examples:
  viaduct bgp events --since 10m
  viaduct bgp events --peer 192.0.2.1 --follow
  viaduct bgp events --follow -o json | jq -r 'select(.kind == \"session-down\") | .peer'")]
    Events(events::Args),
    /// Write the table of a speaker to a file.
    #[command(subcommand)]
    Dump(dump::Command),
    /// Check the file of a speaker, and show what reading it would change.
    ///
    /// Every error with its document and field; the exit code is 1 where there is one.
    #[command(after_help = "Examples:
  viaduct bgp check new.yaml --against running
  viaduct bgp check new.yaml --against running -o json | jq '.changes.changed[].endsSession'
  viaduct bgp check new.yaml --against /etc/viaduct/bgp.yaml")]
    Check(check::CheckArgs),
}

pub(crate) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Peers(target) => peers::print(&target).await,
        Command::Peer(args) => peer::print(&args).await,
        Command::Policy(args) => policy::print(&args).await,
        Command::Bfd(target) => bfd::print(&target).await,
        Command::Routes(args) => routes::print(&args).await,
        Command::Events(args) => events::print(&args).await,
        Command::Dump(command) => dump::run(command).await,
        Command::Check(args) => check::run(&args).await,
    }
}
