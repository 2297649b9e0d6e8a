//! Peers of which only the interface is known.
//!
//! On each such interface we send router advertisements and listen to those of others: whoever is heard
//! is the neighbour, and becomes a peer like any other, at its link-local address. The speaker is
//! given the configuration and the underlay with what was found in them, and knows nothing else of it.

mod advertisement;
mod interfaces;
mod link;
mod readable;
mod socket;
mod task;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use bgp_speaker::{Config, PeerConfig, PeerLink, Speaker};
use tokio::{sync::watch, task::JoinHandle};
use viaduct_net::{LinkLocal, Prefix, Underlay, UnderlayRoute};

use self::task::{Task, Wanted};

/// An interface that is there, and who is at its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkState {
    own: LinkLocal,
    global: Option<Ipv6Addr>,
    /// Whether packets can pass.
    is_up: bool,
    /// As in [`LinkLocal::embedded`].
    neighbour: Option<IpAddr>,
    problem: Option<String>,
}

/// What has become of the interfaces of the configuration, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    known: BTreeMap<String, LinkState>,
    /// Why there is nothing of the others.
    missing: BTreeMap<String, String>,
}

/// By interface, as in [`LinkLocal::embedded`].
pub(crate) type Neighbours = BTreeMap<String, IpAddr>;

/// The task that looks for neighbours; there is none before an interface is configured.
#[derive(Debug, Default)]
pub(crate) struct Unnumbered {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    wanted: watch::Sender<Wanted>,
    links: watch::Receiver<Arc<Links>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Unnumbered {
    /// Looks for neighbours on the interfaces of the configuration from now on.
    pub(crate) fn update(&mut self, config: &Config) {
        self.update_with(config, Neighbours::new());
    }

    /// The same in place of a process that has heard these, each of which is there when this returns.
    pub(crate) fn take_over(&mut self, config: &Config, mut heard: Neighbours) -> io::Result<()> {
        heard.retain(|name, _| config.interfaces.contains_key(name));
        self.update_with(config, heard.clone());
        let there = self.links().neighbours();
        match heard.iter().find(|(name, address)| there.get(*name) != Some(address)) {
            Some((name, _)) => {
                let problem = self.links().problem(name).unwrap_or_default();
                Err(io::Error::other(format!("the neighbour on {name}: {problem}")))
            }
            None => Ok(()),
        }
    }

    fn update_with(&mut self, config: &Config, heard: Neighbours) {
        if config.interfaces.is_empty() {
            self.running = None;
            return;
        }
        let running = self.running.get_or_insert_with(|| {
            let interfaces = config.interfaces.keys().cloned().collect();
            let (wanted, told) = watch::channel(Wanted { interfaces, ..Wanted::default() });
            let (sender, links) = watch::channel(Arc::default());
            let is_known = !heard.is_empty();
            let mut task = Task::new(told, sender, heard);
            if is_known {
                task.begin();
            }
            Running { wanted, links, task: tokio::spawn(task.run()) }
        });
        running.wanted.send_if_modified(|wanted| {
            let differs = !wanted.interfaces.iter().eq(config.interfaces.keys());
            if differs {
                wanted.interfaces = config.interfaces.keys().cloned().collect();
            }
            differs
        });
    }

    /// Says which neighbours there are sessions with.
    pub(crate) fn tell_sessions(&self, config: &Config, speaker: &Speaker) {
        let Some(running) = &self.running else { return };
        let of_links = config.peers.iter().filter(|(_, peer)| peer.link.is_some());
        let addresses = of_links.map(|(address, _)| *address);
        let established = addresses.filter(|address| speaker.is_established(*address)).collect();
        running.wanted.send_if_modified(|wanted| {
            let differs = wanted.established != established;
            wanted.established = established;
            differs
        });
    }

    /// Waits for [`Self::links`] to be other than when this was last waited for.
    pub(crate) async fn changed(&mut self) {
        let ended = match &mut self.running {
            Some(running) => running.links.changed().await.is_err(),
            None => true,
        };
        if ended {
            std::future::pending().await
        }
    }

    pub(crate) fn links(&self) -> Arc<Links> {
        self.running.as_ref().map(|running| running.links.borrow().clone()).unwrap_or_default()
    }
}

impl Links {
    /// The configuration with a peer for each neighbour. Without all of them the first picture is not
    /// complete.
    pub(crate) fn configure(&self, config: &Arc<Config>) -> Arc<Config> {
        if config.interfaces.is_empty() {
            return config.clone();
        }
        let mut all = Config::clone(config);
        for (name, peer) in &config.interfaces {
            let found = self.known.get(name).and_then(|state| Some((state.neighbour?, state)));
            let Some((address, state)) = found else {
                all.incomplete |= !peer.is_held_down();
                continue;
            };
            let (link_local, global) = (state.own, state.global);
            let link = Some(PeerLink { name: name.as_str().into(), link_local, global });
            all.peers.insert(address, PeerConfig { link, ..peer.clone() });
        }
        Arc::new(all)
    }

    /// The underlay with the links that can be used, which have no other routes than link-local ones.
    pub(crate) fn lie_under(&self, underlay: &Underlay) -> Underlay {
        let usable = self.known.values().filter(|state| state.is_up);
        let Ok(prefix) = Prefix::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 64) else {
            return underlay.clone();
        };
        let mut routes: Vec<_> = usable
            .map(|state| UnderlayRoute {
                prefix,
                gateway: None,
                interface: state.own.interface(),
                metric: 0,
            })
            .collect();
        if routes.is_empty() {
            return underlay.clone();
        }
        routes.extend(underlay.iter().copied());
        routes.sort_unstable();
        routes.into()
    }

    /// Who is at the other ends.
    pub(crate) fn neighbours(&self) -> Neighbours {
        let known = self.known.iter();
        known.filter_map(|(name, state)| Some((name.clone(), state.neighbour?))).collect()
    }

    pub(crate) fn has_neighbour(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|state| state.neighbour.is_some())
    }

    /// What keeps the peer of an interface from being there, or its packets from passing.
    pub(crate) fn problem(&self, name: &str) -> Option<String> {
        match self.known.get(name) {
            Some(LinkState { problem: Some(problem), .. }) => Some(problem.clone()),
            Some(LinkState { neighbour: None, .. }) => {
                Some("no router advertisement was heard".to_owned())
            }
            Some(_) => None,
            None => Some(self.missing.get(name).cloned().unwrap_or_default()),
        }
    }
}
