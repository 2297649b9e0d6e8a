use serde_json::{Value, json};

use super::*;
use crate::{
    kinds::{Custom, Kind, Ref},
    operation::Operation,
    testing::{NOW, apply, object},
};

mod model;
mod shared;

fn service(name: &str, changes: Value) -> Service {
    object(
        json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"type": "LoadBalancer", "ipFamilies": ["IPv4", "IPv6"]},
        }),
        changes,
    )
}

fn pool(name: &str, cidrs: &[&str], changes: Value) -> Custom<VIPPoolSpec> {
    object(
        json!({
            "apiVersion": "viaduct.dev/v1alpha1", "kind": "VIPPool",
            "metadata": {"name": name}, "spec": {"cidrs": cidrs},
        }),
        changes,
    )
}

fn pools() -> World {
    let mut world = World::default();
    world.observe(pool("default", &["198.51.100.0/29", "2001:db8:f::/120"], json!({})), NOW);
    world
}

fn settle(world: &mut World) -> Outcome {
    let outcome = reconcile(world, NOW);
    apply(world, &outcome);
    assert_eq!(reconcile(world, NOW).steps, []);
    outcome
}

fn vips(world: &World, name: &str) -> Vec<String> {
    let service = &world.objects.services[&Key::new("default", name)];
    assigned(service).iter().map(ToString::to_string).collect()
}

#[test]
fn one_address_of_each_family_and_no_two_alike() {
    let mut world = pools();
    for name in ["a", "b"] {
        world.observe(service(name, json!({})), NOW);
    }
    world.observe(service("c", json!({"spec": {"type": "ClusterIP"}})), NOW);
    world.observe(service("d", json!({"spec": {"loadBalancerClass": "example.org/lb"}})), NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "a"), ["198.51.100.1", "2001:db8:f::1"]);
    assert_eq!(vips(&world, "b"), ["198.51.100.2", "2001:db8:f::2"]);
    assert_eq!(vips(&world, "c"), [""; 0]);
    assert_eq!(vips(&world, "d"), [""; 0]);
}

#[test]
fn what_a_service_has_it_keeps_and_what_it_gives_up_is_free() {
    let mut world = pools();
    world.observe(service("b", json!({})), NOW);
    settle(&mut world);
    // Earlier by name, but later.
    world.observe(service("a", json!({})), NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "b")[0], "198.51.100.1");
    assert_eq!(vips(&world, "a")[0], "198.51.100.2");
    let status = serde_json::to_value(&world.objects.services[&Key::new("default", "b")].status);
    let retyped = json!({"spec": {"type": "ClusterIP"}, "status": status.unwrap()});
    world.observe(service("b", retyped), NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "b"), [""; 0]);
    world.observe(service("c", json!({})), NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "c")[0], "198.51.100.1");
}

#[test]
fn a_requested_address_is_given_or_refused_but_never_another() {
    let mut world = pools();
    world.observe(service("a", json!({"spec": {"loadBalancerIP": "198.51.100.5"}})), NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "a"), ["198.51.100.5", "2001:db8:f::1"]);
    world.observe(service("b", json!({"spec": {"loadBalancerIP": "198.51.100.5"}})), NOW);
    world.observe(service("c", json!({"spec": {"loadBalancerIP": "203.0.113.1"}})), NOW);
    let outcome = settle(&mut world);
    assert_eq!(vips(&world, "b"), ["2001:db8:f::2"]);
    let why: Vec<_> = outcome.notes.iter().map(|note| note.message.as_str()).collect();
    assert!(why[0].contains("of another service") && why[1].contains("no VIPPool"), "{why:?}");
    // Changing the request moves the service.
    let status = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.5"}]}});
    let moved = json!({"spec": {"loadBalancerIP": "198.51.100.6"}, "status": status});
    world.observe(service("a", moved), NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "a")[0], "198.51.100.6");
}

#[test]
fn pools_choose_their_services() {
    let mut world = World::default();
    let picky = json!({"spec": {"serviceSelector": {"tier": "gold"}}});
    world.observe(pool("gold", &["198.51.100.8/30"], picky), NOW);
    world
        .observe(pool("named", &["198.51.100.16/30"], json!({"spec": {"autoAssign": false}})), NOW);
    let v4 = json!({"spec": {"ipFamilies": ["IPv4"]}});
    world.observe(service("plain", v4), NOW);
    let gold = json!({"metadata": {"labels": {"tier": "gold"}}, "spec": {"ipFamilies": ["IPv4"]}});
    world.observe(service("rich", gold), NOW);
    let by_name = json!({"metadata": {"annotations": {VIP_POOL_ANNOTATION: "named"}},
        "spec": {"ipFamilies": ["IPv4"]}});
    world.observe(service("sharp", by_name), NOW);
    let outcome = settle(&mut world);
    assert_eq!(vips(&world, "plain"), [""; 0]);
    assert_eq!(vips(&world, "rich"), ["198.51.100.9"]);
    assert_eq!(vips(&world, "sharp"), ["198.51.100.17"]);
    assert_eq!(outcome.notes.len(), 1);
    assert!(outcome.notes[0].warning && outcome.notes[0].message.contains("serviceSelector"));
}

#[test]
fn a_full_pool_says_what_to_do() {
    let mut world = World::default();
    world.observe(pool("small", &["198.51.100.0/31"], json!({})), NOW);
    for name in ["a", "b"] {
        world.observe(service(name, json!({"spec": {"ipFamilies": ["IPv4"]}})), NOW);
    }
    let outcome = settle(&mut world);
    assert_eq!((vips(&world, "a").len(), vips(&world, "b").len()), (1, 0));
    assert!(outcome.notes[0].message.contains("add a cidr"), "{:?}", outcome.notes);
    // And when one is added, it is used.
    world.observe(pool("more", &["198.51.100.4/32"], json!({})), NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "b"), ["198.51.100.4"]);
}

#[test]
fn of_two_with_the_same_address_the_older_keeps_it() {
    let mut world = pools();
    for (name, created) in [("a", "2026-02-01T00:00:00Z"), ("b", "2026-01-01T00:00:00Z")] {
        let status = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.3"}]}});
        let changes = json!({"metadata": {"creationTimestamp": created}, "status": status,
            "spec": {"ipFamilies": ["IPv4"]}});
        world.observe(service(name, changes), NOW);
    }
    let outcome = settle(&mut world);
    assert_eq!(vips(&world, "b"), ["198.51.100.3"]);
    assert_eq!(vips(&world, "a"), ["198.51.100.1"]);
    assert!(outcome.steps.iter().all(|s| matches!(&s.operation, Operation::Patch { .. })));
}
