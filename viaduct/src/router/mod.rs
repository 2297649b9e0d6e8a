//! `viaduct router` and `viaduct reflector`: the BGP speaker from a file, on a machine that is no node
//! of a cluster. The router has the kernel's routes and nothing else: it is the border of a cluster
//! of `up`, and a router for whoever wants one. The reflector has not even those.

mod changes;
mod hops;
mod reload;
mod running;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use bgp_speaker::LocalAddresses;
use clap::Args;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;
use viaduct_net::{IfIndex, Prefix, Route, RouterId, Underlay, UnderlayRoute, feed};

use self::reload::{Outputs, Read, Source};
pub(crate) use self::running::{Running, digests};
use crate::{
    node::{
        self, admin, dns::Dns, door::Left, generation::Generation, health::Health, metrics::Process,
    },
    operator::admin::socket_in,
    shutdown,
    successor::{self, Wanted},
    turn::Turn,
};

#[derive(Args)]
pub(crate) struct SpeakerArgs {
    /// YAML documents: one BGPConfiguration, any number of BGPPeers and BGPReplays. Read again when it
    /// has become another, and on SIGHUP.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Name to show; this machine's where not given.
    #[arg(long)]
    name: Option<String>,
    /// The BGP identifier; the IPv4 address where not given.
    #[arg(long)]
    router_id: Option<RouterId>,
    /// The speaker's own address, one for each family.
    #[arg(long = "node-ip", value_name = "ADDRESS", required = true)]
    node_ips: Vec<IpAddr>,
    /// Folder of the admin socket.
    #[arg(long, default_value = "/run/viaduct")]
    run_dir: PathBuf,
    /// Go on in place of the speaker that runs in this folder, without a peer noticing; where none does
    /// start as ever. SIGUSR2 has a running speaker start its successor so.
    #[arg(long)]
    takeover: bool,
}

/// `viaduct router`.
pub(crate) async fn run(args: SpeakerArgs) -> Result<()> {
    let stop = shutdown::token()?;
    let speaker = Speaker::prepare(args).await?;
    let (routes, fib) = feed::feed();
    // There are no pods and no blocks, and that is all of it.
    let local = vrouter::LocalState { complete: true, ..Default::default() };
    let (_local, local) = watch::channel(Arc::new(local));
    let config = vrouter::Config { turn: Some(speaker.turn.ours()), ..Default::default() };
    let vrouter = vrouter::spawn(config, fib, local, stop.clone())?;
    speaker.run(vrouter.underlay(), Some(routes), Some(vrouter), stop).await
}

/// `viaduct reflector`. No packet passes through it, so it needs no privilege but that of its port,
/// and looks at no kernel: see ADR 0005.
pub(crate) async fn reflect(args: SpeakerArgs) -> Result<()> {
    let stop = shutdown::token()?;
    let speaker = Speaker::prepare(args).await?;
    let (_underlay, underlay) = watch::channel(everywhere()?);
    speaker.run(underlay, None, None, stop).await
}

/// An underlay in which every address is a neighbour: clients resolve next hops over their own, and
/// a reflector that judged them by its place in the network would hide what others can reach.
fn everywhere() -> Result<Underlay> {
    let route = |prefix: &str| -> Result<UnderlayRoute> {
        let prefix = prefix.parse()?;
        Ok(UnderlayRoute { prefix, gateway: None, interface: IfIndex(0), metric: 0 })
    };
    Ok(Underlay::from([route("0.0.0.0/0")?, route("::/0")?]))
}

/// A speaker whose file was read and found good.
struct Speaker {
    name: String,
    addresses: Vec<IpAddr>,
    run_dir: PathBuf,
    source: Source,
    read: Read,
    takeover: bool,
    turn: Turn,
    wanted: Wanted,
}

impl Speaker {
    async fn prepare(args: SpeakerArgs) -> Result<Self> {
        let wanted = Wanted::listen()?;
        let (v4, v6) = split_addresses(&args.node_ips)?;
        let router_id = match (args.router_id, v4) {
            (Some(id), _) => id,
            (None, Some(v4)) => v4.try_into()?,
            (None, None) => bail!("--router-id is needed where no --node-ip is an IPv4 address"),
        };
        let name = args.name.map_or_else(node::hostname, Ok)?;
        let addresses = LocalAddresses { v4, v6 };
        let source = Source { path: args.config, name: name.clone(), router_id, addresses };
        let mut read = source.read()?;
        std::fs::create_dir_all(&args.run_dir)
            .with_context(|| format!("create {}", args.run_dir.display()))?;
        let turn = Turn::in_folder(&args.run_dir)?;
        if !args.takeover {
            turn.take().await?;
        }
        read.config.restarting = Generation::begin(&args.run_dir)?.is_restart();
        let takeover = args.takeover;
        let (addresses, run_dir) = (args.node_ips, args.run_dir);
        Ok(Self { name, addresses, run_dir, source, read, takeover, turn, wanted })
    }

    async fn run(
        self,
        underlay: watch::Receiver<Underlay>,
        routes: Option<feed::Writer<Prefix, Option<Route>>>,
        vrouter: Option<vrouter::Handle>,
        stop: CancellationToken,
    ) -> Result<()> {
        let config = &self.read.config;
        let (router_id, asn) = (config.router_id, config.asn.to_u32());
        info!(name = self.name, %router_id, asn, peers = config.peers.len(), "started");
        let (_originations, originations) = watch::channel(BTreeSet::new());
        let (sender, config) = watch::channel(Arc::new(config.clone()));
        let predecessor = match self.takeover {
            true => successor::predecessor(&self.run_dir, &underlay, &self.turn).await?,
            false => None,
        };
        let inputs = bgpd::Inputs { config, originations, underlay, routes };
        let speaker = match predecessor {
            Some(predecessor) => {
                let replays = self.read.replays.clone();
                let speaker = bgpd::spawn_after(predecessor, inputs, replays).await?;
                self.turn.take_over().await?;
                // One of a version before there were turns.
                admin::vacated(&self.run_dir).await;
                speaker
            }
            None => {
                self.turn.take().await?;
                bgpd::spawn(inputs)
            }
        };
        speaker
            .offer(&successor::socket_in(&self.run_dir))
            .context("listen for a successor of the speaker")?;
        let (problems_sender, problems) = watch::channel(Vec::new());
        let (running_sender, running) = watch::channel(self.read.running.clone());
        let text = self.read.text.clone();
        self.read.tell(&speaker).await?;
        speaker.note_reading(Vec::new()).await?;
        let outputs = Outputs {
            config: sender,
            running: running_sender,
            problems: problems_sender,
            speaker: speaker.clone(),
        };
        tokio::spawn(reload::follow(self.source, text, outputs)?);
        let state = admin::State {
            name: self.name,
            addresses: self.addresses,
            router_id,
            asn,
            speaker: speaker.clone(),
            vrouter,
            pods: None,
            services: None,
            dns: Dns::default(),
            health: Health::default(),
            view: watch::channel(None).1,
            blocks: watch::channel(BTreeSet::new()).1,
            problems,
            process: Process::new(),
            running: Some(running),
        };
        let listener = admin::bind(&self.run_dir).await?;
        // The next process makes another.
        let left = Left { socket: socket_in(&self.run_dir), token: CancellationToken::new() };
        tokio::select! {
            result = admin::serve(listener, state, stop.clone(), left) => {
                admin::remove(&self.run_dir);
                result
            }
            // The admin socket is the successor's by then, or will be.
            ended = successor::follow(speaker, self.wanted), if !stop.is_cancelled() => ended,
        }
    }
}

/// At most one address of each family.
pub(crate) fn split_addresses(
    addresses: &[IpAddr],
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>)> {
    let (mut v4, mut v6) = (None, None);
    for address in addresses {
        let taken = match address {
            IpAddr::V4(address) => v4.replace(*address).is_some(),
            IpAddr::V6(address) => v6.replace(*address).is_some(),
        };
        if taken {
            bail!("--node-ip {address}: there is one address of this family already");
        }
    }
    Ok((v4, v6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_of_each_family() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(split_addresses(&[address("192.0.2.1"), address("::1")]).is_ok());
        assert!(split_addresses(&[address("192.0.2.1"), address("192.0.2.2")]).is_err());
    }
}
