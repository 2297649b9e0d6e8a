//! The table through its public face.

mod blackhole;
mod changes;
mod counters;
mod export;
mod model;
mod policy;
mod reflection;
mod resolution;
mod restart;
mod walk;
mod watch;

use std::net::IpAddr;

use bgp_wire::{AsPath, BgpNextHop, Nlri, PathAttributes, PeerKind};
use viaduct_net::{Asn, IfIndex, NextHop, Prefix, RouteUpdate, RouterId, UnderlayRoute};

use super::{Rib, RibConfig};
use crate::{BestChange, Peer, PeerId, Policy, Reason};

/// What follows from a flush, at one glance: each list by prefix.
#[derive(Debug, Default)]
struct Changes {
    fib: Vec<RouteUpdate>,
    best: Vec<BestChange>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.fib.is_empty() && self.best.is_empty()
    }
}

impl Rib {
    fn settle(&mut self) -> Changes {
        let mut best = Vec::new();
        let fib = self.flush(&mut |change| best.push(change));
        best.sort_unstable_by_key(|change: &BestChange| change.prefix);
        Changes { fib, best }
    }
}

const LOCAL_AS: u32 = 64512;

fn asn(number: u32) -> Asn {
    Asn::new(number)
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn nlri(text: &str) -> Nlri {
    prefix(text).into()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn next_hop(text: &str) -> BgpNextHop {
    address(text).into()
}

fn config() -> RibConfig {
    let router_id = "192.0.2.254".parse().unwrap();
    RibConfig::new(asn(LOCAL_AS), router_id, vec![address("192.0.2.254"), address("2001:db8::fe")])
}

/// A peer that may tell us anything; its router id is the number behind its address.
fn peer(text: &str, number: u32) -> Peer {
    let kind = if number == LOCAL_AS { PeerKind::Internal } else { PeerKind::External };
    let address = address(text);
    let id = match address {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(address) => u128::from(address) as u32,
    };
    Peer {
        address,
        asn: asn(number),
        router_id: RouterId::from_u32(id).unwrap(),
        kind,
        interface: Some(IfIndex(1)),
        reflector_client: false,
        import: Policy::accept_all(),
        enforce_first_as: true,
        max_prefixes: Peer::DEFAULT_MAX_PREFIXES,
        max_v4: None,
        max_v6: None,
        ingress: Default::default(),
    }
}

fn path(asns: &[u32]) -> PathAttributes {
    PathAttributes {
        as_path: AsPath::sequence(asns.iter().copied().map(Asn::new)),
        ..PathAttributes::default()
    }
}

fn on_link(text: &str, interface: u32) -> UnderlayRoute {
    let interface = IfIndex(interface);
    UnderlayRoute { prefix: prefix(text), gateway: None, interface, metric: 0 }
}

fn via(text: &str, gateway: &str, interface: u32, metric: u32) -> UnderlayRoute {
    let gateway = Some(address(gateway));
    UnderlayRoute { prefix: prefix(text), gateway, interface: IfIndex(interface), metric }
}

fn hop(text: &str, interface: u32) -> NextHop {
    NextHop { address: address(text), interface: IfIndex(interface) }
}

/// A link of each family, over interface 1.
fn links() -> Vec<UnderlayRoute> {
    vec![on_link("192.0.2.0/24", 1), on_link("2001:db8::/64", 1), on_link("fe80::/64", 1)]
}

fn rib() -> Rib {
    let mut rib = Rib::new(config());
    rib.set_underlay(links().into());
    rib
}

fn announce(rib: &mut Rib, from: PeerId, attributes: &PathAttributes, to: &str, what: &[&str]) {
    let prefixes: Vec<_> = what.iter().map(|text| nlri(text)).collect();
    rib.announce(from, &attributes.into(), next_hop(to), &prefixes).unwrap();
}

/// What the FIB was told: `prefix -> next hops` or `prefix -> nothing`.
fn fib(changes: &Changes) -> Vec<String> {
    changes.fib.iter().map(|update| route_text(update.prefix, update.route.as_ref())).collect()
}

fn route_text(prefix: Prefix, route: Option<&viaduct_net::Route>) -> String {
    let Some(route) = route else { return format!("{prefix} -> nothing") };
    let hops: Vec<_> =
        route.next_hops.iter().map(|hop| format!("{}%{}", hop.address, hop.interface)).collect();
    format!("{prefix} -> {}", hops.join(" "))
}

fn reasons(rib: &Rib, text: &str) -> Vec<Reason> {
    rib.paths_of(prefix(text)).iter().map(|path| path.reason).collect()
}
