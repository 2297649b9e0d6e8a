//! Watches over the node's own connection to the rest: asks whether the API server's host is there
//! when no BGP session is left, and begins the watches anew when the node is back.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bgpd::SessionCounts;
use tokio::{net::TcpStream, sync::watch, time::Instant};
use tracing::{info, warn};

use super::{
    cache::{Source, View},
    freshness::{BeginAnew, Freshness, Gate, Seen},
};
use crate::kubeclient;

/// Between two questions, and how long an answer is waited for.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// So many in a row without an answer say that there will be none.
const PROBES_MISSED: u32 = 2;

pub(crate) struct Guard {
    freshness: Freshness,
    source: watch::Sender<Source>,
    gate: watch::Sender<Gate>,
}

impl Guard {
    /// Waits for the first view: whose it is says whether to trust it.
    pub(crate) async fn begin(
        source: watch::Sender<Source>,
        mut view: watch::Receiver<Option<Arc<View>>>,
        restarting: bool,
    ) -> Result<Self> {
        let listed =
            view.wait_for(Option::is_some).await?.as_ref().is_some_and(|v| v.generation > 0);
        let freshness = Freshness::new(restarting || listed, Instant::now().into_std());
        let (gate, _) = watch::channel(freshness.gate());
        Ok(Self { freshness, source, gate })
    }

    pub(crate) fn gate(&self) -> watch::Receiver<Gate> {
        self.gate.subscribe()
    }

    /// Runs until the speaker or the balancer has ended. `programmed`: of which generation the
    /// services in the maps are.
    pub(crate) async fn keep(
        mut self,
        mut sessions: watch::Receiver<SessionCounts>,
        mut programmed: watch::Receiver<u64>,
        server: (String, u16),
        kubeconfig: Option<PathBuf>,
    ) {
        let mut probes = Probes::default();
        loop {
            let seen = Seen {
                sessions: *sessions.borrow_and_update(),
                server: probes.verdict(),
                read: *programmed.borrow_and_update() >= self.source.borrow().generation,
                now: Instant::now().into_std(),
            };
            let before = self.freshness.state();
            let order = self.freshness.observe(&seen);
            let state = self.freshness.state();
            if state != before {
                let SessionCounts { established, told, .. } = seen.sessions;
                let Seen { server, read, .. } = seen;
                info!(state = state.name(), established, told, ?server, read, "freshness");
            }
            if let Some(BeginAnew) = order {
                self.begin_anew(kubeconfig.as_ref()).await;
            }
            let gate = self.freshness.gate();
            self.gate.send_if_modified(|told| std::mem::replace(told, gate.clone()) != gate);
            let probing = self.freshness.wants_probe();
            if !probing {
                probes = Probes::default();
            }
            let changed = tokio::select! {
                changed = sessions.changed() => changed,
                changed = programmed.changed() => changed,
                answers = probe(&server), if probing => {
                    probes.take(answers);
                    Ok(())
                }
                () = until(self.freshness.deadline(seen.now)) => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// With a new client: the old one may give out connections that are dead.
    async fn begin_anew(&self, kubeconfig: Option<&PathBuf>) {
        let config = kubeclient::config(kubeconfig.map(PathBuf::as_path)).await;
        let client = match config.and_then(kubeclient::connect) {
            Ok(client) => Some(client),
            Err(error) => {
                warn!(error = format!("{error:#}"), "the old client is kept");
                None
            }
        };
        self.source.send_modify(|source| {
            source.generation += 1;
            if let Some(client) = client {
                source.client = client;
            }
            info!(generation = source.generation, "the API is read anew");
        });
    }
}

/// What the probes have shown since they were begun.
#[derive(Debug, Default)]
struct Probes {
    answered: bool,
    missed: u32,
}

impl Probes {
    fn take(&mut self, answers: bool) {
        self.answered = answers;
        self.missed = if answers { 0 } else { self.missed.saturating_add(1) };
    }

    fn verdict(&self) -> Option<bool> {
        if self.answered {
            return Some(true);
        }
        (self.missed >= PROBES_MISSED).then_some(false)
    }
}

/// Where the API server is, for the probe.
pub(crate) fn address(config: &kube::Config) -> Result<(String, u16)> {
    let url = config.proxy_url.as_ref().unwrap_or(&config.cluster_url);
    let host = url.host().with_context(|| format!("the server {url} has no host"))?;
    let default = if url.scheme_str() == Some("http") { 80 } else { 443 };
    // An IPv6 address is in brackets there.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, url.port_u16().unwrap_or(default)))
}

/// Whether the server's host answers, after a pause. That nobody listens there is an answer, too:
/// it shows that the path is whole.
async fn probe(server: &(String, u16)) -> bool {
    tokio::time::sleep(PROBE_INTERVAL).await;
    let connect = TcpStream::connect((server.0.as_str(), server.1));
    match tokio::time::timeout(PROBE_TIMEOUT, connect).await {
        Ok(Ok(_connection)) => true,
        Ok(Err(error)) => error.kind() == io::ErrorKind::ConnectionRefused,
        Err(_elapsed) => false,
    }
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_closed_is_an_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = ("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        assert!(probe(&server).await);
        drop(listener);
        assert!(probe(&server).await);
    }

    #[test]
    fn the_server_is_where_the_configuration_says() {
        for (url, host, port) in [
            ("https://[fd00::1]:6443", "fd00::1", 6443),
            ("https://api.example", "api.example", 443),
            ("http://127.0.0.1:8080/x", "127.0.0.1", 8080),
        ] {
            let config = kube::Config::new(url.parse().unwrap());
            assert_eq!(address(&config).unwrap(), (host.to_owned(), port));
        }
    }
}
