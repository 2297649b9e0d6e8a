//! `viaduct node`: the network of one node. BGP speaker, routes, services and pod addresses run in
//! one process because their coupling is the point; here they are put together.

mod address;
pub(crate) mod admin;
mod bgp;
mod bgp_answers;
mod cache;
pub(crate) mod dns;
pub(crate) mod door;
mod freshness;
pub(crate) mod generation;
mod guard;
mod handover;
pub(crate) mod health;
mod inputs;
mod lost;
pub(crate) mod metrics;
mod monitoring;
pub(crate) mod passwords;
mod secrets;
mod services;
mod withdrawal;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use viaduct_net::{Family, LostNodes, Prefix, RouterId, feed};
use vrouter_cni::{Mark, PodNetwork, PodNetworkConfig};

use self::{
    bgp::Identity,
    cache::Source,
    door::Left,
    generation::Generation,
    guard::Guard,
    handover::{ADMIN, ANSWER_WAIT, Begun, CNI},
    inputs::{Inputs, Sources},
    metrics::Process,
};
use crate::{
    kubeclient,
    operator::admin::socket_in,
    passed, router, shutdown,
    successor::{self, Inherited, Wanted},
    turn::Turn,
};

/// How long ADD waits for the first block of a node that has just joined.
const BLOCK_WAIT: Duration = Duration::from_secs(20);
/// For how long a successor waits for what the API says now; then what it said last will do.
const VIEW_WAIT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct NodeArgs {
    /// Name of the node in the API; this machine's name where not given.
    #[arg(long, env = "NODE_NAME")]
    name: Option<String>,
    /// How to reach the API; a pod's service account where not given.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The node's own address, one for each family; detected by the default routes where not given.
    #[arg(long = "node-ip", value_name = "ADDRESS")]
    node_ips: Vec<IpAddr>,
    /// An interface that leads to other nodes; those with the node's addresses where not given.
    #[arg(long = "uplink", value_name = "INTERFACE")]
    uplinks: Vec<String>,
    /// The BGP identifier; the IPv4 address, or a number made of the name, where not given.
    #[arg(long)]
    router_id: Option<RouterId>,
    /// Folder of the sockets and of what ends with a reboot.
    #[arg(long, default_value = "/run/viaduct")]
    run_dir: PathBuf,
    /// Folder of what must survive this process: the addresses of pods, the last view of the API,
    /// the passwords of BGP sessions.
    #[arg(long, default_value = "/var/lib/viaduct/node")]
    state_dir: PathBuf,
    /// The folder of cgroup2 whose processes reach services; all of the host's where not given.
    #[arg(long, value_name = "FOLDER")]
    cgroup: Option<PathBuf>,
    /// Folder of a bpffs for pinned programs and maps.
    #[arg(long, default_value = "/sys/fs/bpf/viaduct")]
    bpf_dir: PathBuf,
    /// An address at which this node answers DNS for its pods, put on `lo`; no DNS where not given.
    #[arg(long = "cluster-dns", value_name = "ADDRESS")]
    cluster_dns: Vec<IpAddr>,
    /// The domain of the cluster's names.
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
    /// The file that names the name servers for all other names.
    #[arg(long, default_value = "/etc/resolv.conf", value_name = "FILE")]
    resolv_conf: PathBuf,
    /// A network of services; reverse names there are known to exist or not.
    #[arg(long = "service-cidr", value_name = "PREFIX")]
    service_cidrs: Vec<Prefix>,
    /// Go on in place of the node's daemon that runs in this folder, without a peer or a pod noticing;
    /// where none does start as ever. SIGUSR2 has a running daemon start its successor so.
    #[arg(long)]
    takeover: bool,
}

pub(crate) async fn run(args: NodeArgs) -> Result<()> {
    let stop = shutdown::token()?;
    let wanted = Wanted::listen()?;
    let process = Process::new();
    for folder in [&args.run_dir, &args.state_dir] {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let turn = Turn::in_folder(&args.run_dir)?;
    let takes_over = args.takeover && !turn.try_take()?;
    if !takes_over {
        turn.take().await?;
    }
    // What ends with us, and when another goes on.
    let parts = stop.child_token();
    let addresses = address::detect(args.node_ips).await?;
    let uplinks = address::uplinks(args.uplinks, &addresses)?;
    let identity = identity(args.name, &addresses, args.router_id, &args.run_dir)?;
    info!(
        node = identity.name,
        ?addresses,
        ?uplinks,
        router_id = %identity.router_id,
        restarting = identity.restarting,
        takes_over,
        "starting"
    );
    let api = kubeclient::config(args.kubeconfig.as_deref()).await?;
    let server = guard::address(&api)?;
    let source = Source { generation: 1, client: kubeclient::connect(api)? };
    let (source, watches) = watch::channel(source);
    let view_file = args.state_dir.join("view.json");
    let view = cache::follow(watches.clone(), &identity.name, view_file, turn.ours());
    let secrets = args.state_dir.join("passwords.json");
    let secrets = secrets::follow(watches, view.clone(), &identity.name, secrets, turn.ours());
    let dns = dns::Dns::default();
    let serve_dns = |sockets| {
        let settings = dns::Settings {
            addresses: args.cluster_dns.clone(),
            domain: args.cluster_domain.clone(),
            resolv_conf: args.resolv_conf.clone(),
            service_cidrs: args.service_cidrs.clone(),
        };
        dns.start(settings, sockets, view.clone(), parts.clone());
    };
    if !takes_over {
        // Before all that takes time: queries wait for it.
        serve_dns(passed::take(passed::DNS)?);
    }
    let (inputs, senders) = Inputs::channels(&identity)?;
    let pods_config = PodNetworkConfig {
        state_dir: args.state_dir.join("pods"),
        uplink_mtu: address::mtu(&uplinks).await?,
        families: addresses.iter().map(|address| Family::of(*address)).collect(),
        block_wait: BLOCK_WAIT,
        service_mark: Some(Mark { value: ebpf_abi::SERVICE_MARK, mask: u32::MAX }),
    };

    let (routes, fib) = feed::feed();
    let vrouter_config =
        vrouter::Config { uplinks: uplinks.clone(), turn: Some(turn.ours()), ..Default::default() };
    let vrouter = vrouter::spawn(vrouter_config, fib, inputs.local.clone(), parts.clone())
        .context("start the vRouter")?;
    if takes_over {
        // What is on disk may be a second old, and peers are to be told nothing but what is so.
        let mut view = view.clone();
        let now = view.wait_for(|view| view.as_ref().is_some_and(|view| view.generation > 0));
        if timeout(VIEW_WAIT, now).await.is_err() {
            warn!("the API does not answer: what it said before will do");
        }
    }
    let (lost_sender, lost_nodes) = watch::channel(LostNodes::default());
    let balancer = lb::spawn(
        lb::Config::new(
            lb::Node {
                name: identity.name.clone(),
                addresses: addresses.iter().copied().collect(),
            },
            uplinks,
            args.cgroup.map_or_else(crate::paths::cgroup2_root, Ok)?,
            args.bpf_dir,
        ),
        inputs.services.clone(),
        lost_nodes,
        inputs.pods.clone(),
        parts.clone(),
    )
    .context("start the service balancer")?;
    let nodes = view.clone();
    let guard = Guard::begin(source, view.clone(), identity.restarting).await?;
    let mut sources = Sources {
        identity: identity.clone(),
        view: view.clone(),
        secrets,
        vips: balancer.vips(),
        gate: guard.gate(),
    };
    sources.begin(&senders).await?;
    let outside = bgpd::Inputs {
        config: inputs.speaker.clone(),
        originations: inputs.originations.clone(),
        underlay: vrouter.underlay(),
        routes: Some(routes),
    };
    let predecessor = match takes_over {
        true => successor::predecessor(&args.run_dir, &outside.underlay, &turn).await?,
        false => None,
    };
    let mut inherited = Inherited::default();
    // As long as it can fail where the one before us would go on, nothing has been changed.
    let speaker = match predecessor {
        Some(mut predecessor) => {
            PodNetwork::check_state(&pods_config).context("look at the network of pods")?;
            inherited = Inherited::of(predecessor.take_beside());
            let speaker = bgpd::spawn_after(predecessor, outside, Vec::new()).await?;
            serve_dns(inherited.take(passed::DNS));
            turn.take_over().await?;
            Begun::Speaks(speaker)
        }
        None => {
            if takes_over {
                // It has ended meanwhile, or is about to.
                turn.take_over().await?;
                admin::vacated(&args.run_dir).await;
                serve_dns(passed::take(passed::DNS)?);
            }
            Begun::Waits(outside)
        }
    };
    let cni_socket = args.run_dir.join("cni.sock");
    let admin_listener = match inherited.listener(ADMIN).context("take over the admin socket")? {
        Some(listener) => listener,
        None => admin::bind(&args.run_dir).await?,
    };
    let cni_listener = match inherited.listener(CNI).context("take over the socket of CNI")? {
        Some(listener) => listener,
        None => vrouter_cni::bind(&cni_socket)?,
    };
    let pods = PodNetwork::start(pods_config, inputs.pod_blocks.clone())
        .await
        .context("start the network of pods")?;
    let speaker = match speaker {
        Begun::Speaks(speaker) => speaker,
        Begun::Waits(outside) => bgpd::spawn(outside),
    };
    handover::offer(
        &speaker,
        &args.run_dir,
        [(ADMIN, &admin_listener), (CNI, &cni_listener)],
        dns.clone(),
    )?;
    let asn = inputs.speaker.borrow().asn.to_u32();
    // Before the services: backends on lost nodes are masked from the beginning.
    tokio::spawn(lost::follow(speaker.lost(), nodes.clone(), lost_sender));
    tokio::spawn(sources.follow(pods.pods(), senders));
    let health = health::Health::default();
    tokio::spawn(health.clone().follow(identity.name.clone(), nodes.clone(), parts.child_token()));
    tokio::spawn(monitoring::follow(identity.name.clone(), nodes.clone(), speaker.clone()));
    tokio::spawn(guard.keep(speaker.sessions(), balancer.programmed(), server, args.kubeconfig));

    let ended = part_ended(vrouter.clone(), balancer.clone());
    let writers = (vrouter.clone(), balancer.clone());
    let followed = speaker.clone();
    let state = admin::State {
        name: identity.name,
        addresses,
        router_id: identity.router_id,
        asn,
        speaker,
        vrouter: Some(vrouter),
        pods: Some(pods.clone()),
        services: Some(balancer),
        dns: dns.clone(),
        health,
        view: nodes,
        blocks: inputs.blocks,
        problems: inputs.problems,
        running: None,
        process,
    };
    let handed_over = CancellationToken::new();
    let left = Left { socket: socket_in(&args.run_dir), token: handed_over.clone() };
    let mut cni = Box::pin(vrouter_cni::serve(cni_listener, pods, handed_over.clone()));
    let mut admin = Box::pin(admin::serve(admin_listener, state, stop.clone(), left));
    tokio::select! {
        biased;
        // SIGTERM leaves the kernel and the peers as a crash would: routes stay, sessions are
        // resumed by graceful restart. A node that is to be emptied is drained first.
        result = &mut admin => {
            admin::remove(&args.run_dir);
            return result;
        }
        result = &mut cni => return Ok(result?),
        part = ended, if !stop.is_cancelled() => bail!("{part} has ended; its log says why"),
        parted = successor::follow(followed, wanted), if !stop.is_cancelled() => parted?,
    }
    handed_over.cancel();
    if !handover::give_way(parts, writers, cni, turn).await {
        return Ok(());
    }
    let answered = async { tokio::join!(admin, dns.drained()) };
    if timeout(ANSWER_WAIT, answered).await.is_err() {
        warn!("some who have asked get no answer");
    }
    Ok(())
}

/// Waits for the end of a part. The daemon does not go on without one: it is better to be started
/// again, which costs nobody anything, than to be half there.
async fn part_ended(vrouter: vrouter::Handle, balancer: lb::Handle) -> &'static str {
    tokio::select! {
        () = vrouter.ended() => "the vRouter",
        () = balancer.ended() => "the service balancer",
    }
}

fn identity(
    name: Option<String>,
    addresses: &[IpAddr],
    router_id: Option<RouterId>,
    run_dir: &std::path::Path,
) -> Result<Identity> {
    let name = match name {
        Some(name) => name,
        None => hostname()?,
    };
    let (v4, v6) = router::split_addresses(addresses)?;
    let router_id = router_id.unwrap_or_else(|| bgp::router_id(&name, v4));
    let restarting = Generation::begin(run_dir)?.is_restart();
    Ok(Identity { name, v4, v6, router_id, restarting })
}

/// This machine's name, as Kubernetes names its node.
pub(crate) fn hostname() -> Result<String> {
    let file = "/proc/sys/kernel/hostname";
    let name = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    Ok(name.trim().to_lowercase())
}
