//! Clients of the API, whoever serves it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use hyper_util::{client::legacy, client::legacy::connect::HttpConnector, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::{Body, ConfigExt, retry::RetryPolicy},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::utils::Backoff,
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};

/// For TCP alone; the server is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A watch may be silent for long. Whether the server is still there is asked of its kernel, which
/// answers also while the server is busy: after this much silence, and so often.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// What is sent or asked and not acknowledged for so long will not be: the connection is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 4;

/// The client that a kubeconfig describes; without one, what a pod of a cluster is given.
pub(crate) async fn client(kubeconfig: Option<&Path>) -> Result<Client> {
    connect(config(kubeconfig).await?)
}

pub(crate) async fn config(kubeconfig: Option<&Path>) -> Result<Config> {
    match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("read kubeconfig {}", path.display()))?;
            Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
        }
        None => Config::incluster().context(
            "no --kubeconfig is given and this is no pod of a cluster (no service account)",
        ),
    }
}

/// A client with connections of its own, none of which outlives the path to the server for long:
/// the library's own would wait for minutes on a connection that nobody answers any more.
pub(crate) fn connect(config: Config) -> Result<Client> {
    // Behind a proxy the connections are those to the proxy, which are its operator's matter.
    if config.proxy_url.is_some() {
        return Ok(Client::try_from(config)?);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(KEEPALIVE_IDLE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    connector.set_tcp_user_timeout(Some(USER_TIMEOUT));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: legacy::Client<_, Body> = legacy::Builder::new(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

/// Delays between tries to reach the API server: soon at first, since a server that is started
/// again is back at once, and spread by a jitter, since all nodes lose it together.
#[derive(Debug)]
pub(crate) struct Retry {
    next: Duration,
    noise: u64,
}

impl Retry {
    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(10);

    /// `seed` is what differs from node to node.
    pub(crate) fn new(seed: &str) -> Self {
        let noise = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { next: Self::MIN, noise }
    }
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.next;
        self.next = (delay * 2).min(Self::MAX);
        // An LCG is random enough to keep nodes apart; the upper half of each delay is noise.
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let half = delay / 2;
        Some(half + half.mul_f64((self.noise >> 33) as f64 / f64::from(1u32 << 31)))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.next = Self::MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_begin_anew() {
        let mut retry = Retry::new("node-1");
        let delays: Vec<_> = retry.by_ref().take(12).collect();
        assert!(delays[0] <= Retry::MIN && delays[11] > Retry::MAX / 3);
        assert!(delays.iter().all(|delay| *delay <= Retry::MAX));
        retry.reset();
        assert!(retry.next() <= Some(Retry::MIN));
    }
}
