//! A pod on its way out: it gets its SIGTERM once no node sends it new flows and no request is under
//! way, so that a program which ends at once loses nothing.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::Instant};
use tracing::debug;
use viaduct_api::admin::{NodeEndpoint, WITHDRAWN_PATH, Withdrawal};

use super::{
    Network, connections,
    exchange::{ExchangeError, exchange, read},
};

/// Nodes that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;
/// Before a node that did not answer is asked again: its daemon may be on its way back.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// A client that chose this pod right before it was withdrawn has connected by then.
const QUIET: Duration = Duration::from_millis(20);
/// Between two looks at the connections: the kernel tells of none that ends.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The pod that leaves.
#[derive(Clone, Debug)]
pub(crate) struct Leaver {
    pub(crate) addresses: Vec<IpAddr>,
    /// Processes in its network namespace.
    pub(crate) pids: Vec<i32>,
}

/// How a pod left the services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parting {
    /// In some service; otherwise nobody was asked.
    pub(crate) was_endpoint: bool,
    pub(crate) nodes: usize,
    /// Nodes of which it is not known that they send it nothing new.
    pub(crate) unacknowledged: usize,
    /// Requests were under way at the end of the time.
    pub(crate) busy: bool,
    pub(crate) withdrawn_after: Duration,
    pub(crate) took: Duration,
}

impl Network {
    /// Waits until the pod has left the services of all ready nodes and serves nobody any more, and
    /// at most for so long.
    pub(crate) async fn leave(&self, leaver: &Leaver, limit: Duration) -> Parting {
        let began = Instant::now();
        let until = began + limit;
        let mut parting = Parting::default();
        if let Ok(Ok(found)) =
            tokio::time::timeout_at(until, self.ask_here(leaver, until, false)).await
            && !found.endpoint
        {
            parting.took = began.elapsed();
            return parting;
        }
        parting.was_endpoint = true;
        let acknowledged = AtomicUsize::new(0);
        let asked = AtomicUsize::new(1);
        // Not to know the other nodes is as if one of them had not answered.
        let everywhere = async {
            let here = persist(|| self.ask_here(leaver, until, true), &acknowledged);
            let elsewhere = async {
                let others = self.other_nodes().await;
                asked.fetch_add(others.len(), Ordering::Relaxed);
                futures::stream::iter(others)
                    .for_each_concurrent(ASKED_AT_ONCE, |address| {
                        persist(move || self.ask_there(address, leaver, until), &acknowledged)
                    })
                    .await;
            };
            tokio::join!(here, elsewhere);
        };
        let everyone = tokio::time::timeout_at(until, everywhere).await.is_ok();
        parting.nodes = asked.into_inner();
        parting.unacknowledged = parting.nodes - acknowledged.into_inner().min(parting.nodes);
        parting.withdrawn_after = began.elapsed();
        parting.busy = match everyone {
            true => !quiet(&leaver.pids, until).await,
            false => busy(&leaver.pids),
        };
        parting.took = began.elapsed();
        parting
    }

    async fn ask_here(
        &self,
        leaver: &Leaver,
        until: Instant,
        waits: bool,
    ) -> Result<Withdrawal, ExchangeError> {
        let until = if waits { until } else { Instant::now() };
        let target = format!("/{}", question(&leaver.addresses, until));
        let answer = self.daemon.ask(&target).await;
        answer.map_err(|error| ExchangeError::Body(error.into()))
    }

    async fn ask_there(
        &self,
        address: SocketAddr,
        leaver: &Leaver,
        until: Instant,
    ) -> Result<Withdrawal, ExchangeError> {
        let target = format!("/network/{}", question(&leaver.addresses, until));
        let host = address.to_string();
        let limit = until.saturating_duration_since(Instant::now());
        let stream = TcpStream::connect(address).await?;
        let answer = match &self.tls {
            None => exchange(stream, &host, &target, limit, ()).await?,
            Some(config) => {
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                let name = ServerName::IpAddress(address.ip().into());
                let stream = connector.connect(name, stream).await?;
                exchange(stream, &host, &target, limit, ()).await?
            }
        };
        read(answer).await
    }

    /// Where the kubelets of the other ready nodes listen, asked for until the daemon answers.
    async fn other_nodes(&self) -> Vec<SocketAddr> {
        let nodes: Vec<NodeEndpoint> = loop {
            match self.daemon.ask("/v1/nodes").await {
                Ok(nodes) => break nodes,
                Err(error) => debug!(%error, "nodes"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        };
        let others = nodes.into_iter().filter(|node| node.ready && node.name != self.node);
        let address = |node: NodeEndpoint| {
            Some(SocketAddr::new(*node.addresses.first()?, node.kubelet_port?))
        };
        others.filter_map(address).collect()
    }
}

fn question(addresses: &[IpAddr], until: Instant) -> String {
    let wait = until.saturating_duration_since(Instant::now());
    let mut text = format!("{WITHDRAWN_PATH}?wait={}", wait.as_millis());
    for address in addresses {
        // Writing to a String cannot fail.
        let _ = write!(text, "&address={address}");
    }
    text
}

/// Asks until the answer is that the pod is withdrawn, and counts that. Whoever waits has a bound.
async fn persist<Answer>(ask: impl Fn() -> Answer, acknowledged: &AtomicUsize)
where
    Answer: Future<Output = Result<Withdrawal, ExchangeError>>,
{
    loop {
        match ask().await {
            Ok(found) if found.withdrawn => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(_) => {}
            Err(error) => debug!(%error, "withdrawal"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Waits until nobody is connected any more; whether that was in time.
async fn quiet(pids: &[i32], until: Instant) -> bool {
    tokio::time::sleep_until(until.min(Instant::now() + QUIET)).await;
    while busy(pids) {
        if until <= Instant::now() {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

/// By the first process that is still there: all of them share the pod's network.
fn busy(pids: &[i32]) -> bool {
    pids.iter().find_map(|pid| connections::are_under_way(*pid).ok()).unwrap_or(false)
}
