use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ebpf_abi::{
    ADDRESS_NODE, ADDRESS_SERVICE, ADDRESS_VIP, Address, PROTOCOL_TCP, SCOPE_EXTERNAL,
    SCOPE_INTERNAL, SERVICE_DROP_WHEN_EMPTY, ServiceKey,
};

use crate::{
    BackendKey, Balancer, Desired, Endpoint, Limits, Maps, Masks, Node, Operation, Plan, Problem,
    Protocol, Service, ServiceName, ServicePort, Snapshot, TrafficPolicy, expand, fake::FakeMaps,
};

mod increments;
mod masks;
mod properties;

const LIMITS: Limits = Limits { services: 64, backends: 64, addresses: 64, places: 1 << 14 };

fn node() -> Node {
    let addresses = ["192.0.2.1", "2001:db8::1"].map(ip);
    Node { name: "node-1".to_owned(), addresses: addresses.into() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn backend(text: &str) -> BackendKey {
    text.parse().unwrap()
}

fn key(address: &str, port: u16, scope: u8) -> ServiceKey {
    ServiceKey { address: ip(address).into(), port_be: port.to_be(), protocol: PROTOCOL_TCP, scope }
}

fn endpoint(address: &str, node: &str) -> Endpoint {
    Endpoint {
        address: ip(address),
        ports: BTreeMap::from([("http".to_owned(), 8080)]),
        node: Some(node.to_owned()),
        ready: true,
        serving: true,
        terminating: false,
    }
}

fn terminating(address: &str, node: &str) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..endpoint(address, node) }
}

fn service(endpoints: &[Endpoint]) -> Service {
    Service {
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00:96::1")],
        vips: ["198.51.100.1", "2001:db8:f::1"].map(ip).into(),
        ports: vec![ServicePort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
        }],
        endpoints: endpoints.to_vec(),
        ..Service::default()
    }
}

fn snapshot(services: &[(&str, Service)]) -> Snapshot {
    let entry = |(name, service): &(&str, Service)| {
        let name = ServiceName { namespace: "default".to_owned(), name: (*name).to_owned() };
        (name, Arc::new(service.clone()))
    };
    Snapshot { services: services.iter().map(entry).collect(), complete: true, generation: 1 }
}

fn desired(endpoints: &[Endpoint]) -> Desired {
    expand(&snapshot(&[("web", service(endpoints))]), &node(), &Masks::default())
}

/// A balancer with its maps and a clock.
struct Lab {
    maps: FakeMaps,
    balancer: Balancer,
    now: Duration,
}

impl Lab {
    fn new(limits: Limits) -> Self {
        let mut maps = FakeMaps::new(limits);
        let balancer = Balancer::adopt(maps.read().unwrap());
        Self { maps, balancer, now: Duration::ZERO }
    }

    fn plan(&mut self, desired: &Desired) -> Plan {
        let plan = self.balancer.plan(desired, self.now);
        for operation in &plan.operations {
            self.maps.apply(operation).unwrap();
        }
        plan
    }

    /// Plans until nothing is left to wait for.
    fn settle(&mut self, desired: &Desired) {
        self.plan(desired);
        while let Some(at) = self.balancer.poll_timeout() {
            self.now = at;
            self.plan(desired);
        }
    }

    fn restart(&mut self) {
        self.balancer = Balancer::adopt(self.maps.read().unwrap());
    }

    fn backends(&self, address: &str, port: u16, scope: u8) -> Option<BTreeSet<BackendKey>> {
        let table = self.maps.table(&key(address, port, scope))?;
        Some(table.into_iter().map(|entry| entry.expect("every place has a backend")).collect())
    }
}

fn set(all: &[&str]) -> Option<BTreeSet<BackendKey>> {
    Some(all.iter().map(|text| backend(text)).collect())
}

#[test]
fn every_frontend_of_both_families_leads_to_its_backends() {
    let mut lab = Lab::new(LIMITS);
    let desired = desired(&[
        endpoint("10.244.0.1", "node-1"),
        endpoint("10.244.1.1", "node-2"),
        endpoint("fd00:244::1", "node-1"),
    ]);
    lab.settle(&desired);
    let four = set(&["10.244.0.1:8080", "10.244.1.1:8080"]);
    let six = set(&["[fd00:244::1]:8080"]);
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL), four);
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_EXTERNAL), None, "no ClusterIP from outside");
    assert_eq!(lab.backends("fd00:96::1", 80, SCOPE_INTERNAL), six);
    for scope in [SCOPE_INTERNAL, SCOPE_EXTERNAL] {
        assert_eq!(lab.backends("198.51.100.1", 80, scope), four);
        assert_eq!(lab.backends("2001:db8:f::1", 80, scope), six);
        assert_eq!(lab.backends("0.0.0.0", 30080, scope), four);
        assert_eq!(lab.backends("::", 30080, scope), six);
    }
    let flags = |text: &str| lab.maps.addresses.get(&Address::from(ip(text))).copied();
    assert_eq!(flags("192.0.2.1"), Some(ADDRESS_NODE));
    assert_eq!(flags("fd00:96::1"), Some(ADDRESS_SERVICE));
    assert_eq!(flags("198.51.100.1"), Some(ADDRESS_SERVICE | ADDRESS_VIP));
    assert_eq!(desired.vips.len(), 2);
    let offsets: BTreeSet<u32> = lab.maps.services.values().map(|value| value.offset).collect();
    assert_eq!(offsets.len(), 2, "frontends with the same backends share a table");
}

#[test]
fn terminating_backends_take_flows_only_when_no_active_one_is_left() {
    let mut lab = Lab::new(LIMITS);
    let (a, b) = ("10.244.0.1", "10.244.1.1");
    lab.settle(&desired(&[endpoint(a, "node-1"), endpoint(b, "node-2")]));
    lab.settle(&desired(&[endpoint(a, "node-1"), terminating(b, "node-2")]));
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL), set(&["10.244.0.1:8080"]));
    assert_eq!(lab.maps.backends.len(), 2, "it finishes what it has");
    assert!(!lab.maps.takes_flows(&backend("10.244.1.1:8080")));

    let unready = Endpoint { ready: false, serving: false, ..endpoint(a, "node-1") };
    lab.settle(&desired(&[unready.clone(), terminating(b, "node-2")]));
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL), set(&["10.244.1.1:8080"]));
    assert!(lab.maps.takes_flows(&backend("10.244.1.1:8080")));

    lab.settle(&desired(&[unready]));
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL), set(&[]));
    assert_eq!(lab.maps.backends.len(), 1);
}

#[test]
fn a_service_without_backends_stays_and_is_empty() {
    let mut lab = Lab::new(LIMITS);
    let empty = desired(&[]);
    lab.settle(&empty);
    assert_eq!(lab.maps.services[&key("10.96.0.1", 80, SCOPE_INTERNAL)].length, 0);
    assert!(empty.vips.is_empty());
}

#[test]
fn local_policy_keeps_outside_traffic_on_the_node() {
    let mut service =
        service(&[endpoint("10.244.0.1", "node-1"), endpoint("10.244.1.1", "node-2")]);
    service.external_traffic_policy = TrafficPolicy::Local;
    let mut lab = Lab::new(LIMITS);
    let desired = expand(&snapshot(&[("web", service.clone())]), &node(), &Masks::default());
    lab.settle(&desired);
    let outside = lab.maps.services[&key("198.51.100.1", 80, SCOPE_EXTERNAL)];
    assert_eq!(outside.flags, SERVICE_DROP_WHEN_EMPTY);
    assert_eq!(lab.backends("198.51.100.1", 80, SCOPE_EXTERNAL), set(&["10.244.0.1:8080"]));
    assert_eq!(lab.backends("198.51.100.1", 80, SCOPE_INTERNAL).unwrap().len(), 2);
    assert_eq!(desired.vips, BTreeSet::from([ip("198.51.100.1")]));

    // One that only terminates serves what comes, but draws nothing.
    service.endpoints[0] = terminating("10.244.0.1", "node-1");
    let desired = expand(&snapshot(&[("web", service)]), &node(), &Masks::default());
    lab.settle(&desired);
    assert_eq!(lab.backends("198.51.100.1", 80, SCOPE_EXTERNAL), set(&["10.244.0.1:8080"]));
    assert!(desired.vips.is_empty());
}

#[test]
fn internal_local_policy_rules_the_cluster_ip_alone() {
    let mut service = service(&[endpoint("10.244.1.1", "node-2")]);
    service.internal_traffic_policy = TrafficPolicy::Local;
    let mut lab = Lab::new(LIMITS);
    lab.settle(&expand(&snapshot(&[("web", service)]), &node(), &Masks::default()));
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL), set(&[]));
    assert_eq!(lab.backends("198.51.100.1", 80, SCOPE_INTERNAL), set(&["10.244.1.1:8080"]));
}

#[test]
fn a_restart_writes_nothing() {
    let mut lab = Lab::new(LIMITS);
    let desired = desired(&[endpoint("10.244.0.1", "node-1"), endpoint("10.244.1.1", "node-2")]);
    lab.settle(&desired);
    assert!(lab.balancer.agrees_with(&lab.maps.read().unwrap()));
    assert_eq!(lab.maps.read().unwrap().vips(), BTreeSet::from([ip("198.51.100.1")]));
    lab.restart();
    assert_eq!(lab.plan(&desired), Plan::default());
    assert_eq!(lab.balancer.poll_timeout(), None);
    assert!(desired.frontends.iter().all(|(key, one)| lab.balancer.is_programmed(key, one)));
}

#[test]
fn ids_are_not_given_out_again_even_after_a_restart() {
    let mut lab = Lab::new(LIMITS);
    lab.settle(&desired(&[endpoint("10.244.0.1", "node-1")]));
    let first: Vec<u32> = lab.maps.backends.keys().copied().collect();
    lab.settle(&desired(&[]));
    assert!(lab.maps.backends.is_empty());
    lab.restart();
    lab.settle(&desired(&[endpoint("10.244.0.2", "node-1")]));
    assert!(lab.maps.backends.keys().all(|id| !first.contains(id)));
}

#[test]
fn a_changed_endpoint_costs_a_table_and_one_write_for_each_frontend() {
    let mut lab = Lab::new(LIMITS);
    let (a, b, c) = ("10.244.0.1", "10.244.1.1", "10.244.2.1");
    lab.settle(&desired(&[endpoint(a, "node-1"), endpoint(b, "node-2")]));
    let after = desired(&[endpoint(a, "node-1"), endpoint(b, "node-2"), endpoint(c, "node-3")]);
    let operations = lab.plan(&after).operations;
    let count = |which: fn(&Operation) -> bool| operations.iter().filter(|one| which(one)).count();
    assert_eq!(count(|one| matches!(one, Operation::WriteTable { .. })), 1);
    // ClusterIP inside; node port and VIP inside and outside.
    assert_eq!(count(|one| matches!(one, Operation::PutService { .. })), 5);
    assert_eq!(operations.len(), 1 + 5 + 1);
}

#[test]
fn what_is_gone_is_deleted_only_after_a_while() {
    let mut lab = Lab::new(LIMITS);
    lab.settle(&desired(&[endpoint("10.244.0.1", "node-1"), endpoint("10.244.1.1", "node-2")]));
    let without = desired(&[endpoint("10.244.0.1", "node-1")]);
    lab.plan(&without);
    assert_eq!(lab.maps.backends.len(), 2);
    let at = lab.balancer.poll_timeout().unwrap();
    lab.now = at - Duration::from_millis(1);
    assert_eq!(lab.plan(&without).operations, []);
    lab.now = at;
    assert!(matches!(lab.plan(&without).operations[..], [Operation::DeleteBackend { .. }]));
}

#[test]
fn one_who_comes_back_in_time_keeps_its_id() {
    let mut lab = Lab::new(LIMITS);
    let both = desired(&[endpoint("10.244.0.1", "node-1"), endpoint("10.244.1.1", "node-2")]);
    lab.settle(&both);
    let before = lab.maps.backends.clone();
    let services = lab.maps.services.len();
    lab.plan(&desired(&[endpoint("10.244.0.1", "node-1")]));
    let operations = lab.plan(&both).operations;
    assert!(!operations.iter().any(|one| matches!(one, Operation::WriteTable { .. })));
    lab.settle(&both);
    assert_eq!(lab.maps.backends, before);
    assert_eq!(lab.maps.services.len(), services);
}

#[test]
fn the_first_by_name_has_an_address_that_two_want() {
    let mut lab = Lab::new(LIMITS);
    let one = service(&[endpoint("10.244.0.1", "node-1")]);
    let other = service(&[endpoint("10.244.0.2", "node-1")]);
    let desired = expand(&snapshot(&[("b", other), ("a", one)]), &node(), &Masks::default());
    let plan = lab.plan(&desired);
    assert!(matches!(&plan.problems[0], Problem::Conflict(one) if one.winner.name == "a"));
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL), set(&["10.244.0.1:8080"]));
}

#[test]
fn full_maps_are_named_and_the_rest_works() {
    let limits = Limits { services: 3, backends: 1, addresses: 2, places: 64 };
    let mut lab = Lab::new(limits);
    let desired = desired(&[endpoint("10.244.0.1", "node-1"), endpoint("10.244.0.2", "node-1")]);
    let plan = lab.plan(&desired);
    let named: Vec<&str> = plan
        .problems
        .iter()
        .map(|problem| match problem {
            Problem::Full { map, .. } => *map,
            Problem::Conflict(_) => "conflict",
        })
        .collect();
    assert_eq!(named, ["BACKENDS", "SERVICES", "ADDRESSES"]);
    assert_eq!(lab.maps.services.len(), 3);
    assert!(desired.frontends.iter().any(|(key, one)| !lab.balancer.is_programmed(key, one)));
}

#[test]
fn a_full_array_gets_shorter_tables() {
    let mut lab = Lab::new(Limits { places: 256, ..LIMITS });
    let endpoints = ["10.244.0.1", "10.244.0.2", "10.244.0.3"].map(|text| endpoint(text, "node-1"));
    let desired = desired(&endpoints);
    let plan = lab.plan(&desired);
    assert_eq!(plan.problems, [Problem::Full { map: "MAGLEV", limit: 256 }]);
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL).unwrap().len(), 3);
}

#[test]
fn endpoints_that_are_for_others_get_flows_when_no_other_can() {
    let (near, far) = ("10.244.0.1", "10.244.1.1");
    let mut all = service(&[endpoint(near, "node-1"), endpoint(far, "node-2")]);
    all.elsewhere = BTreeSet::from([ip(far)]);
    let list = |service: &Service| {
        let desired = expand(&snapshot(&[("web", service.clone())]), &node(), &Masks::default());
        let key = key("10.96.0.1", 80, SCOPE_INTERNAL);
        let ips: Vec<IpAddr> =
            desired.frontends[&key].backends.iter().map(|one| one.ip()).collect();
        (ips, desired.backends.len())
    };
    // Both are entered: what flows there goes on.
    assert_eq!(list(&all), (vec![ip(near)], 2));
    all.endpoints[0] = Endpoint { ready: false, serving: false, ..endpoint(near, "node-1") };
    assert_eq!(list(&all), (vec![ip(far)], 2));
    all.endpoints[0] = terminating(near, "node-1");
    assert_eq!(list(&all), (vec![ip(far)], 2));
}

#[test]
fn an_external_ip_is_closed_to_nobody_inside() {
    let mut external = service(&[endpoint("10.244.0.1", "node-1")]);
    let address = ip("198.51.100.1");
    external.external_ips = BTreeSet::from([address]);
    let desired = expand(&snapshot(&[("web", external)]), &node(), &Masks::default());
    assert_eq!(desired.addresses[&address.into()], ADDRESS_VIP);
    let other = ip("2001:db8:f::1");
    assert_eq!(desired.addresses[&other.into()], ADDRESS_VIP | ADDRESS_SERVICE);
}
