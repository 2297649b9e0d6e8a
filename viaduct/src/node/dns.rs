//! The node's DNS: its addresses and sockets, and what it knows from the view of the API.
//!
//! It runs beside the parts that the daemon does not live without. What is wrong with it is a
//! problem to be told, and is tried again.

mod address;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use control_dns::{Config, Handle, Key, Service, Slice, Sockets, Zone, ZoneConfig};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use viaduct_api::admin::DnsStatus;
use viaduct_net::Prefix;

use super::cache::{Objects, View};

/// Where pods ask in a cluster of `up`, and what other clusters may well take, too.
///
/// One address on every node, so that a pod asks its own node, whose daemon has what it needs to
/// answer while the rest of the world is away. Link-local (RFC 3927), since it means another node
/// on each node: no router passes it on. It is the one that node-local caches of DNS use. IPv6 has
/// no such address that can be used without naming an interface, so this is a unique local one
/// (RFC 4193) that no pool of addresses of ours contains.
pub(crate) const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 0x10)),
];

/// How soon what failed is tried again, and how often it is looked whether the addresses are there.
const PAUSE: Duration = Duration::from_secs(5);

/// What the daemon is told of it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub addresses: Vec<IpAddr>,
    pub domain: String,
    pub resolv_conf: PathBuf,
    pub service_cidrs: Vec<Prefix>,
}

/// The DNS of this node, as far as it runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dns(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    handle: Option<Handle>,
    /// Copies of what it is asked at.
    sockets: Vec<OwnedFd>,
    /// Why it does not run, or not everywhere.
    problems: Vec<String>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("State").field("problems", &self.problems).finish_non_exhaustive()
    }
}

impl Dns {
    /// Starts it, with the sockets that somebody has held for us. Without addresses there is none.
    pub(crate) fn start(
        &self,
        settings: Settings,
        held: Vec<OwnedFd>,
        view: watch::Receiver<Option<Arc<View>>>,
        stop: CancellationToken,
    ) {
        if !settings.addresses.is_empty() {
            let running = self.clone();
            let ended = stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = running.run(settings, held, view, stop) => {}
                    () = ended.cancelled() => {}
                }
            });
        }
    }

    /// Copies of the sockets, for another process.
    pub(crate) fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.state().sockets.iter().map(OwnedFd::try_clone).collect()
    }

    /// Waits, after it was told to end, until it has answered what it had read.
    pub(crate) async fn drained(&self) {
        let handle = self.state().handle.clone();
        if let Some(handle) = handle {
            handle.drained().await;
        }
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let state = self.state();
        let served = state.handle.iter().flat_map(Handle::problems);
        state.problems.iter().cloned().chain(served).collect()
    }

    pub(crate) fn metrics(&self) -> Option<String> {
        self.state().handle.as_ref().map(Handle::metrics)
    }

    pub(crate) fn status(&self) -> Option<DnsStatus> {
        self.state().handle.as_ref().map(|handle| DnsStatus {
            addresses: handle.addresses().map(|address| address.ip()).collect(),
            answered: handle.answered(),
            services: handle.services(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_problems(&self, problems: Vec<String>) {
        let mut state = self.state();
        if state.problems != problems {
            for problem in &problems {
                warn!(problem, "DNS");
            }
            state.problems = problems;
        }
    }

    async fn run(
        &self,
        settings: Settings,
        held: Vec<OwnedFd>,
        view: watch::Receiver<Option<Arc<View>>>,
        stop: CancellationToken,
    ) {
        let (handle, sockets, known) = loop {
            let problems = address::place(&settings.addresses).await;
            let known = view.borrow().clone();
            match serve(&settings, &held, known.as_deref(), &stop) {
                Ok((handle, sockets)) => {
                    self.set_problems(problems);
                    break (handle, sockets, known.unwrap_or_default());
                }
                Err(error) => self.set_problems(vec![format!("DNS: {error:#}")]),
            }
            sleep(PAUSE).await;
        };
        drop(held);
        {
            let mut state = self.state();
            state.handle = Some(handle.clone());
            state.sockets = sockets;
        }
        let follow = follow(handle, known, view, settings.service_cidrs);
        let keep = async {
            loop {
                sleep(PAUSE).await;
                self.set_problems(address::place(&settings.addresses).await);
            }
        };
        tokio::join!(follow, keep);
    }
}

/// Takes the sockets that somebody holds for us, opens the others, and serves what is known. Gives
/// copies of the sockets, too.
fn serve(
    settings: &Settings,
    held: &[OwnedFd],
    known: Option<&View>,
    stop: &CancellationToken,
) -> Result<(Handle, Vec<OwnedFd>)> {
    let held = held.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>();
    let mut sockets = Sockets::adopt(held.context("copy a passed socket")?)?;
    sockets.keep_only(&settings.addresses);
    let held = sockets.udp.iter().map(|socket| Ok(socket.local_addr()?.ip()));
    let held: Vec<IpAddr> = held.collect::<Result<_>>().context("look at a passed socket")?;
    let missing = settings.addresses.iter().copied().filter(|address| !held.contains(address));
    let opened = control_dns::bind(&missing.collect::<Vec<_>>())?;
    sockets.udp.extend(opened.udp);
    sockets.tcp.extend(opened.tcp);
    let copies = sockets.copies().context("copy a socket")?;
    let config = Config {
        zone: ZoneConfig { domain: settings.domain.clone(), addresses: settings.addresses.clone() },
        resolv_conf: settings.resolv_conf.clone(),
    };
    let fill = |zone: &mut Zone| {
        if let Some(known) = known {
            update(zone, &View::default(), known, &settings.service_cidrs);
            zone.set_complete();
        }
    };
    Ok((control_dns::spawn(config, sockets, fill, stop.clone())?, copies))
}

/// Keeps the names what the view says, which were what `known` says, until it ends.
async fn follow(
    handle: Handle,
    mut known: Arc<View>,
    mut view: watch::Receiver<Option<Arc<View>>>,
    service_cidrs: Vec<Prefix>,
) {
    loop {
        let next = view.borrow_and_update().clone();
        if let Some(next) = next {
            handle.change(|zone| {
                update(zone, &known, &next, &service_cidrs);
                zone.set_complete();
            });
            known = next;
        }
        if view.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the zone what differs between two views. Objects that did not change are the same ones.
fn update(zone: &mut Zone, known: &View, next: &View, service_cidrs: &[Prefix]) {
    differences(&known.namespaces, &next.namespaces, |key, namespace| {
        zone.set_namespace(key, namespace.is_some());
    });
    differences(&known.services, &next.services, |key, service| {
        zone.set_service(&key_of(key), service.and_then(Service::of));
    });
    differences(&known.slices, &next.slices, |key, slice| {
        zone.set_slice(&key_of(key), slice.and_then(Slice::of));
    });
    let pools = next.pools.values().map(|pool| pool.spec.cidr);
    zone.set_ranges(pools.chain(service_cidrs.iter().copied()).collect());
}

fn differences<K>(
    known: &Objects<K>,
    next: &Objects<K>,
    mut changed: impl FnMut(&str, Option<&K>),
) {
    for key in known.keys().filter(|key| !next.contains_key(*key)) {
        changed(key, None);
    }
    for (key, object) in next {
        if !known.get(key).is_some_and(|before| Arc::ptr_eq(before, object)) {
            changed(key, Some(object));
        }
    }
}

/// The view's key of an object is `namespace/name`.
fn key_of(key: &str) -> Key {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    Key::new(namespace, name)
}
