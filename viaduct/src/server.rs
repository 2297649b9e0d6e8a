//! `viaduct server`: the API server over its store, the scheduler and the controllers.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use control_apiserver::{ServerConfig, Speaker};
use control_controllers::ControllersConfig;
use control_store::{EmbeddedStore, Options};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use viaduct_net::Prefix;

use crate::{kubeclient, passed, paths, shutdown, tls};

#[derive(Args)]
pub(crate) struct ServerArgs {
    /// Folder of the embedded store.
    #[arg(long, default_value = "/var/lib/viaduct/server")]
    state_dir: PathBuf,
    /// Where to serve without TLS, for the root of this machine alone.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "plain_passed")]
    plain_listen: Option<SocketAddr>,
    /// A listening socket that is open already, in place of --plain-listen.
    #[arg(long, hide = true)]
    plain_passed: bool,
    /// `/proc/PID/net` of a process in the network namespace of the plain listener.
    #[arg(long, hide = true, default_value = "/proc/self/net")]
    plain_sockets: PathBuf,
    /// Where to serve with TLS.
    #[arg(long, default_value = "[::]:6443")]
    listen: SocketAddr,
    /// Certificate of --listen, in PEM; the server shows it to kubelets, too.
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// The CA that signs the certificates of clients, and of the kubelets that are asked for logs.
    #[arg(long, value_name = "FILE")]
    client_ca: PathBuf,
    /// Addresses for services, one prefix for each family.
    #[arg(long = "service-cidr", value_name = "PREFIX", required = true)]
    service_cidrs: Vec<Prefix>,
    /// An address by which nodes and pods reach the secure port.
    #[arg(long = "advertise", value_name = "ADDRESS")]
    advertised: Vec<IpAddr>,
    /// A BGP speaker that is no node, by its admin socket: shown on the page with the nodes.
    #[arg(long = "speaker", value_name = "NAME=SOCKET", value_parser = speaker)]
    speakers: Vec<Speaker>,
    /// How the controllers reach the API.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Seconds without a sign of life after which a node is taken for lost.
    #[arg(long, default_value_t = 40)]
    node_grace_secs: u32,
    /// Seconds after which the pods of a lost node are started elsewhere.
    #[arg(long, default_value_t = 300)]
    eviction_secs: u32,
}

pub(crate) async fn run(args: ServerArgs) -> Result<()> {
    let stop = shutdown::token()?;
    paths::create_private(&args.state_dir)?;
    let store = EmbeddedStore::open(args.state_dir.join("state.redb"), Options::default())
        .with_context(|| format!("open the store in {}", args.state_dir.display()))?;
    let secure =
        TcpListener::bind(args.listen).with_context(|| format!("--listen {}", args.listen))?;
    let port = secure.local_addr()?.port();
    let tls = tls::server(&args.tls_cert, &args.tls_key, &args.client_ca)?;
    let kubelet_tls = tls::client(&args.tls_cert, &args.tls_key, &args.client_ca)?;
    let config = ServerConfig {
        store: Arc::new(store),
        plain: plain_listener(args.plain_listen, args.plain_passed)?,
        plain_sockets: args.plain_sockets,
        secure: Some((secure, Arc::new(tls))),
        service_cidrs: args.service_cidrs,
        node_port_range: ServerConfig::NODE_PORTS,
        speakers: args.speakers,
        kubelet_tls: Some(Arc::new(kubelet_tls)),
        eviction_secs: args.eviction_secs,
        advertised: args.advertised.iter().map(|ip| SocketAddr::new(*ip, port)).collect(),
    };
    let client = kubeclient::client(Some(&args.kubeconfig)).await?;
    let controllers = ControllersConfig {
        node_grace: Duration::from_secs(args.node_grace_secs.into()),
        eviction_delay: Duration::from_secs(args.eviction_secs.into()),
    };
    tokio::spawn(control(client, controllers, stop.clone()));
    control_apiserver::serve(config, stop).await?;
    info!("stopped");
    Ok(())
}

fn speaker(text: &str) -> Result<Speaker, String> {
    match text.split_once('=') {
        Some((name, socket)) if !name.is_empty() && socket.starts_with('/') => {
            Ok(Speaker { name: name.to_owned(), socket: socket.into() })
        }
        _ => Err("a name and the path of a socket are wanted, as border=/run/viaduct/admin.sock"
            .to_owned()),
    }
}

/// The controllers are clients of the API as everyone is, and begin as soon as it answers.
async fn control(client: kube::Client, config: ControllersConfig, stop: CancellationToken) {
    if let Err(error) = control_controllers::run(client, config, stop.clone()).await {
        error!(%error, "controllers ended");
        stop.cancel();
    }
}

fn plain_listener(address: Option<SocketAddr>, passed: bool) -> Result<Option<TcpListener>> {
    if passed {
        return passed::listener(passed::API).map(Some);
    }
    let bind =
        |address| TcpListener::bind(address).with_context(|| format!("--plain-listen {address}"));
    address.map(bind).transpose()
}
