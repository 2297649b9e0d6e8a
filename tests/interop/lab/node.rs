//! A running speaker of ours, with a FIB that is a map.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bgp_speaker::{Config, DecisionRules, LocalAddresses, PeerConfig, Policy, RestartTime};
use bgp_wire::HoldTime;
use bgpd::{Handle, Inputs, Predecessor, Replay};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use viaduct_api::admin::PeerStatus;
use viaduct_net::{
    Asn, IfIndex, OriginSource, Origination, Prefix, Route, RouterId, Underlay, UnderlayRoute, feed,
};

/// A port of our own: the standard one may be in use in the namespace of a developer.
pub(crate) const PORT: u16 = 1790;

pub(crate) fn v4(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

pub(crate) fn v6(number: u8) -> IpAddr {
    format!("2001:db8::{number}").parse().unwrap()
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A speaker 192.0.2.N, 2001:db8::N with peers that are told and believed everything.
pub(crate) fn config(number: u8, asn: u32, peers: &[(IpAddr, u32)]) -> Config {
    let (IpAddr::V4(four), IpAddr::V6(six)) = (v4(number), v6(number)) else { unreachable!() };
    let asn = Asn::new(asn);
    let peer = |&(address, peer_asn): &(IpAddr, u32)| {
        let hold_time = HoldTime::from_secs(9).unwrap();
        let mut peer = PeerConfig::new(asn, Asn::new(peer_asn), hold_time);
        (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
        peer.port = PORT;
        (address, peer)
    };
    Config {
        asn,
        router_id: RouterId::try_from(four).unwrap(),
        cluster_id: four,
        addresses: LocalAddresses { v4: Some(four), v6: Some(six) },
        listen_port: PORT,
        restart_time: RestartTime::try_from(30).unwrap(),
        deferral: Duration::from_secs(30),
        restarting: false,
        incomplete: false,
        coalesce: Duration::from_millis(10),
        confederation: None,
        decision: DecisionRules::DEFAULT,
        interfaces: BTreeMap::new(),
        peers: peers.iter().map(peer).collect(),
        ranges: Default::default(),
    }
}

#[derive(Default)]
pub(crate) struct Fib {
    pub(crate) routes: BTreeMap<Prefix, Route>,
    pub(crate) synced: bool,
    /// Everything that was ever taken away.
    pub(crate) withdrawn: BTreeSet<Prefix>,
}

pub(crate) struct Node {
    pub(crate) handle: Handle,
    pub(crate) config: watch::Sender<Arc<Config>>,
    pub(crate) originations: watch::Sender<BTreeSet<Origination>>,
    pub(crate) fib: Arc<Mutex<Fib>>,
    _underlay: watch::Sender<Underlay>,
}

impl Node {
    /// Starts a speaker that sees 192.0.2.0/24 and 2001:db8::/64 on interface 2.
    pub(crate) fn start(config: Config, originated: &[&str]) -> Self {
        let (inputs, outside) = outside(config, originated);
        outside.with(bgpd::spawn(inputs))
    }

    /// The same for one that goes on in another's place.
    pub(crate) async fn start_after(
        predecessor: Predecessor,
        config: Config,
        originated: &[&str],
        replays: Vec<Replay>,
    ) -> Self {
        let (inputs, outside) = outside(config, originated);
        outside.with(bgpd::spawn_after(predecessor, inputs, replays).await.unwrap())
    }

    pub(crate) fn originate(&self, prefixes: &[&str]) {
        self.originations.send_replace(originated_set(prefixes));
    }

    /// Where a prefix leads.
    pub(crate) fn hops(&self, text: &str) -> Vec<IpAddr> {
        let fib = self.fib.lock().unwrap();
        let route = fib.routes.get(&prefix(text));
        route.map_or_else(Vec::new, |route| route.next_hops.iter().map(|hop| hop.address).collect())
    }

    /// Whether packets to a prefix are discarded.
    pub(crate) fn discards(&self, text: &str) -> bool {
        self.fib.lock().unwrap().routes.get(&prefix(text)).is_some_and(Route::is_discard)
    }

    pub(crate) fn synced(&self) -> bool {
        self.fib.lock().unwrap().synced
    }

    pub(crate) async fn peer(&self, address: IpAddr) -> PeerStatus {
        let peers = self.handle.peers().await.unwrap();
        peers.into_iter().find(|peer| peer.address == address).unwrap()
    }

    pub(crate) async fn established(&self, address: IpAddr) -> bool {
        self.peer(address).await.state == "Established"
    }

    /// Waits until something holds; panics after half a minute with what there is.
    pub(crate) async fn wait(&self, what: &str, mut condition: impl AsyncFnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !condition(self).await {
            if Instant::now() > end {
                let peers = self.handle.peers().await;
                let routes = self.handle.routes().await;
                panic!("never: {what}\n{peers:#?}\n{routes:#?}");
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What is around a speaker.
struct Outside {
    config: watch::Sender<Arc<Config>>,
    originations: watch::Sender<BTreeSet<Origination>>,
    underlay: watch::Sender<Underlay>,
    fib: Arc<Mutex<Fib>>,
}

impl Outside {
    fn with(self, handle: Handle) -> Node {
        let Self { config, originations, underlay, fib } = self;
        Node { handle, config, originations, fib, _underlay: underlay }
    }
}

fn outside(config: Config, originated: &[&str]) -> (Inputs, Outside) {
    let on_link = |text| UnderlayRoute {
        prefix: prefix(text),
        gateway: None,
        interface: IfIndex(2),
        metric: 0,
    };
    let underlay = Underlay::from([on_link("192.0.2.0/24"), on_link("2001:db8::/64")]);
    let (config, config_receiver) = watch::channel(Arc::new(config));
    let (originations, originations_receiver) = watch::channel(originated_set(originated));
    let (underlay, underlay_receiver) = watch::channel(underlay);
    let (routes, mut reader) = feed::feed::<Prefix, Option<Route>>();
    let fib = Arc::new(Mutex::new(Fib::default()));
    let shared = fib.clone();
    tokio::spawn(async move {
        while let Some(batch) = reader.next().await {
            let mut fib = shared.lock().unwrap();
            for (prefix, route) in batch.changes {
                match route {
                    Some(route) => fib.routes.insert(prefix, route),
                    None => {
                        fib.withdrawn.insert(prefix);
                        fib.routes.remove(&prefix)
                    }
                };
            }
            fib.synced = batch.synced;
        }
    });
    let inputs = Inputs {
        config: config_receiver,
        originations: originations_receiver,
        underlay: underlay_receiver,
        routes: Some(routes),
    };
    (inputs, Outside { config, originations, underlay, fib })
}

fn originated_set(prefixes: &[&str]) -> BTreeSet<Origination> {
    prefixes
        .iter()
        .map(|text| Origination { prefix: prefix(text), source: OriginSource::Block })
        .collect()
}
