//! Backends on nodes that cannot be reached.

use viaduct_net::LossCause;

use super::*;
use crate::{BackendState, MaskChanges, Share};

const A: &str = "10.244.0.1";
const B: &str = "10.244.1.1";
const C: &str = "10.244.2.1";

fn lost(nodes: &[&str]) -> Masks {
    let nodes = nodes.iter().map(|node| ((*node).to_owned(), LossCause::Bfd));
    let mut masks = Masks::default();
    masks.handle_lost(&nodes.collect(), Duration::ZERO);
    masks
}

fn masked(endpoints: &[Endpoint], masks: &Masks) -> Desired {
    expand(&snapshot(&[("web", service(endpoints))]), &node(), masks)
}

fn three() -> [Endpoint; 3] {
    [endpoint(A, "node-1"), endpoint(B, "node-2"), endpoint(C, "node-3")]
}

#[test]
fn a_masked_backend_gets_no_new_flows_and_keeps_those_it_has() {
    let mut lab = Lab::new(LIMITS);
    lab.settle(&masked(&three(), &Masks::default()));
    let ids: Vec<u32> = lab.maps.backends.keys().copied().collect();
    let without = masked(&three(), &lost(&["node-3"]));
    assert_eq!(without.masked, BTreeSet::from([backend("10.244.2.1:8080")]));
    lab.settle(&without);
    for (address, port, scope) in
        [("10.96.0.1", 80, SCOPE_INTERNAL), ("198.51.100.1", 80, SCOPE_EXTERNAL)]
    {
        let left = set(&["10.244.0.1:8080", "10.244.1.1:8080"]);
        assert_eq!(lab.backends(address, port, scope), left);
    }
    // Its flows find it, and no flow of a client outside begins there any more.
    assert_eq!(lab.maps.backends.keys().copied().collect::<Vec<_>>(), ids);
    assert!(!lab.maps.takes_flows(&backend("10.244.2.1:8080")));

    lab.settle(&masked(&three(), &Masks::default()));
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL).unwrap().len(), 3);
    assert!(lab.maps.takes_flows(&backend("10.244.2.1:8080")));
    assert_eq!(lab.maps.backends.keys().copied().collect::<Vec<_>>(), ids);
}

#[test]
fn when_too_many_are_lost_none_is_masked_and_it_shows() {
    let all = masked(&three(), &lost(&["node-2", "node-3"]));
    assert!(all.masked.is_empty());
    let shares: Vec<Share> = all.ignored.into_values().collect();
    assert_eq!(shares, [Share { masked: 2, of: 3 }]);
    let key = key("10.96.0.1", 80, SCOPE_INTERNAL);
    assert_eq!(all.frontends[&key].backends.len(), 3);

    // The last one, too.
    let last = masked(&[endpoint(C, "node-3")], &lost(&["node-3"]));
    assert_eq!(last.frontends[&key].backends.len(), 1);
}

#[test]
fn what_is_lost_is_judged_among_those_that_would_get_flows() {
    let key = key("10.96.0.1", 80, SCOPE_INTERNAL);
    // One of two that are ready; whoever terminates does not count.
    let endpoints = [endpoint(A, "node-1"), terminating(B, "node-2"), endpoint(C, "node-3")];
    let desired = masked(&endpoints, &lost(&["node-3"]));
    assert_eq!(*desired.frontends[&key].backends, [backend("10.244.0.1:8080")]);
    // Nor does it step in for one that is ready and lost.
    let endpoints = [terminating(B, "node-2"), endpoint(C, "node-3")];
    let desired = masked(&endpoints, &lost(&["node-3"]));
    assert_eq!(*desired.frontends[&key].backends, [backend("10.244.2.1:8080")]);
    let endpoints = [terminating(B, "node-2"), terminating(C, "node-3")];
    let desired = masked(&endpoints, &lost(&["node-3"]));
    assert_eq!(*desired.frontends[&key].backends, [backend("10.244.1.1:8080")]);
    assert_eq!(BackendState::of(&endpoints[0]), BackendState::Terminating);
}

#[test]
fn a_node_is_never_lost_to_itself() {
    let mut service = service(&three());
    service.external_traffic_policy = TrafficPolicy::Local;
    let snapshot = snapshot(&[("web", service)]);
    let masks = lost(&["node-1", "node-2"]);
    let desired = expand(&snapshot, &node(), &masks);
    let (inside, outside) =
        (key("10.96.0.1", 80, SCOPE_INTERNAL), key("198.51.100.1", 80, SCOPE_EXTERNAL));
    assert_eq!(*desired.frontends[&outside].backends, [backend("10.244.0.1:8080")]);
    let left = [backend("10.244.0.1:8080"), backend("10.244.2.1:8080")];
    assert_eq!(*desired.frontends[&inside].backends, left);
    assert_eq!(desired.vips, expand(&snapshot, &node(), &Masks::default()).vips);
}

#[test]
fn what_is_urgent_is_a_table_and_one_write_for_each_frontend_of_services_on_the_node() {
    let mut lab = Lab::new(LIMITS);
    let mut other = service(&[endpoint(A, "node-1"), endpoint(B, "node-2")]);
    other.cluster_ips = vec![ip("10.96.0.2")];
    other.vips.clear();
    other.ports[0].node_port = None;
    let snapshot = snapshot(&[("other", other), ("web", service(&three()))]);
    let mut desired = expand(&snapshot, &node(), &Masks::default());
    lab.settle(&desired);

    let mut masks = Masks::default();
    let nodes = BTreeMap::from([("node-3".to_owned(), LossCause::Bfd)]);
    let MaskChanges { masked, .. } = masks.handle_lost(&nodes, lab.now);
    let keys = desired.hasten(&snapshot, &node(), &masks, &masked);
    let operations = lab.balancer.plan_frontends(&desired, &keys, lab.now);
    let services =
        operations.iter().filter(|one| matches!(one, Operation::PutService { .. })).count();
    // ClusterIP inside; node port and VIP inside and outside. The other service's table will do.
    assert_eq!((services, operations.len()), (5, 5), "{operations:?}");
    operations.iter().for_each(|operation| lab.maps.apply(operation).unwrap());
    let left = set(&["10.244.0.1:8080", "10.244.1.1:8080"]);
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL), left);
    // What can wait: that the programs know.
    let rest = lab.plan(&expand(&snapshot, &node(), &masks)).operations;
    assert!(matches!(rest[..], [Operation::PutBackend { .. }]), "{rest:?}");
}

/// So many are lost that the table of all of them is wanted again, whose time was over.
#[test]
fn a_table_that_is_taken_back_into_use_is_not_forgotten() {
    let mut lab = Lab::new(LIMITS);
    let snapshot = snapshot(&[("web", service(&three()))]);
    let mut masks = Masks::default();
    let mut desired = expand(&snapshot, &node(), &masks);
    lab.settle(&desired);
    let mut lost = BTreeMap::new();
    for name in ["node-3", "node-2"] {
        lost.insert(name.to_owned(), LossCause::Bfd);
        let MaskChanges { masked, .. } = masks.handle_lost(&lost, lab.now);
        let keys = desired.hasten(&snapshot, &node(), &masks, &masked);
        let operations = lab.balancer.plan_frontends(&desired, &keys, lab.now);
        operations.iter().for_each(|operation| lab.maps.apply(operation).unwrap());
        desired = expand(&snapshot, &node(), &masks);
        let rest = lab.plan(&desired).operations;
        assert!(rest.iter().all(|one| matches!(one, Operation::PutBackend { .. })), "{rest:?}");
        lab.now += Balancer::grace() * 2;
    }
    lab.settle(&desired);
    assert_eq!(lab.backends("10.96.0.1", 80, SCOPE_INTERNAL).unwrap().len(), 3);
    assert!(lab.balancer.agrees_with(&lab.maps.read().unwrap()));
}
