use serde_json::Value;

use super::*;
use crate::{
    kinds::{Key, Ref},
    testing::{NOW, apply, node, object, pod, ready_node, running_pod, world},
};

fn pool(name: &str, cidr: &str, changes: Value) -> Custom<IPPoolSpec> {
    object(
        json!({
            "apiVersion": API_VERSION, "kind": "IPPool",
            "metadata": {"name": name}, "spec": {"cidr": cidr},
        }),
        changes,
    )
}

fn with_pools<const N: usize>(nodes: [Node; N]) -> World {
    let mut world = world(nodes);
    world.observe(pool("v4", "10.244.0.0/16", json!({})), NOW);
    world.observe(pool("v6", "fd00:10:244::/56", json!({})), NOW);
    world
}

fn settle(world: &mut World) -> Outcome {
    let outcome = reconcile(world);
    apply(world, &outcome);
    assert_eq!(reconcile(world).steps, []);
    outcome
}

fn blocks(world: &World, node: &str) -> Vec<String> {
    let all = world.objects.ip_blocks.values().filter(|block| block.spec.node == node);
    let mut all: Vec<Prefix> = all.map(|block| block.spec.cidr).collect();
    all.sort();
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn a_node_has_a_block_of_each_family_from_the_start() {
    let mut world = with_pools([ready_node("n1"), node("n2", json!({"status": null}))]);
    settle(&mut world);
    assert_eq!(blocks(&world, "n1"), ["10.244.0.0/26", "fd00:10:244::/122"]);
    assert_eq!(blocks(&world, "n2"), ["10.244.0.64/26", "fd00:10:244::40/122"]);
    let names: Vec<_> = world.objects.ip_blocks.keys().map(|key| key.name.clone()).collect();
    assert!(names.contains(&"b-10-244-0-0-26".to_owned()), "{names:?}");
}

#[test]
fn a_node_that_fills_its_blocks_gets_another() {
    let mut world = with_pools([ready_node("n1")]);
    settle(&mut world);
    let add = |world: &mut World, count: std::ops::Range<usize>| {
        for n in count {
            let on_node = json!({"spec": {"nodeName": "n1"}});
            world.observe(pod(&format!("p{n}"), on_node), NOW);
        }
    };
    // Pods on the node's own network take no address.
    world.observe(pod("host", json!({"spec": {"nodeName": "n1", "hostNetwork": true}})), NOW);
    add(&mut world, 0..50);
    assert_eq!(reconcile(&world).steps, []);
    add(&mut world, 50..51);
    settle(&mut world);
    assert_eq!(blocks(&world, "n1").len(), 4);
}

#[test]
fn pools_choose_their_nodes_and_a_full_one_says_so() {
    let mut world =
        world([ready_node("n1"), node("n2", json!({"metadata": {"labels": {"rack": "b"}}}))]);
    world.observe(pool("a-off", "10.1.0.0/16", json!({"spec": {"disabled": true}})), NOW);
    world.observe(
        pool("b-rack", "10.2.0.0/16", json!({"spec": {"nodeSelector": {"rack": "b"}}})),
        NOW,
    );
    world.observe(pool("c-small", "10.3.0.0/26", json!({})), NOW);
    settle(&mut world);
    assert_eq!(blocks(&world, "n2"), ["10.2.0.0/26"]);
    assert_eq!(blocks(&world, "n1"), ["10.3.0.0/26"]);
    world.observe(ready_node("n3"), NOW);
    let outcome = settle(&mut world);
    assert_eq!(outcome.notes.len(), 1);
    assert!(outcome.notes[0].message.contains("add another IPPool"), "{:?}", outcome.notes);
}

#[test]
fn blocks_of_a_deleted_node_are_free_when_its_pods_have_left() {
    let mut world = with_pools([ready_node("n1"), ready_node("n2")]);
    settle(&mut world);
    world.observe(running_pod("a", "n1", 5), NOW);
    world.remove(&Ref { kind: Kind::Node, key: Key::new("", "n1") }, "uid-n1", NOW);
    assert_eq!(reconcile(&world).steps, []);
    world.remove(&Ref { kind: Kind::Pod, key: Key::new("default", "a") }, "uid-a", NOW);
    settle(&mut world);
    assert_eq!(blocks(&world, "n1"), [""; 0]);
    // And given to the next.
    world.observe(ready_node("n3"), NOW);
    settle(&mut world);
    assert_eq!(blocks(&world, "n3")[0], "10.244.0.0/26");
}
