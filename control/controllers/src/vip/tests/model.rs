use proptest::prelude::*;

use super::*;

/// What one service may be like. Few values of each, so that they meet.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    key: Option<u8>,
    ports: BTreeSet<u8>,
    udp: bool,
    local: bool,
    selector: u8,
    asks: Option<u8>,
    dual: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        prop::option::weighted(0.8, 0..2_u8),
        prop::collection::btree_set(1..6_u8, 1..3),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.4),
        0..3_u8,
        prop::option::weighted(0.3, 1..4_u8),
        any::<bool>(),
    )
        .prop_map(|(key, ports, udp, local, selector, asks, dual)| Shape {
            key,
            ports,
            udp,
            local,
            selector,
            asks,
            dual,
        })
}

#[derive(Clone, Debug)]
enum Change {
    /// Makes or changes.
    Put(u8, Shape),
    Delete(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..8_u8, shape()).prop_map(|(name, shape)| Change::Put(name, shape)),
        1 => (0..8_u8).prop_map(Change::Delete),
    ]
}

fn name(number: u8) -> String {
    format!("s{number}")
}

/// The uid is for a new one.
fn make(world: &World, number: u8, uid: String, shape: &Shape) -> Service {
    let key = Key::new("default", name(number));
    let protocol = if shape.udp { "UDP" } else { "TCP" };
    let ports: Vec<Value> = shape
        .ports
        .iter()
        .map(|port| json!({"name": format!("p{port}"), "port": port, "protocol": protocol}))
        .collect();
    let selector = match shape.selector {
        0 => json!({}),
        other => json!({"app": other.to_string()}),
    };
    let old = world.objects.services.get(&key);
    let status = old.map(|old| json!(old.status));
    let uid = old.and_then(|old| old.metadata.uid.clone()).unwrap_or(uid);
    let mut changes = json!({
        "metadata": {"uid": uid, "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", 59 - number)},
        "spec": {
            "ports": ports,
            "externalTrafficPolicy": if shape.local { "Local" } else { "Cluster" },
            "selector": selector,
            "ipFamilies": if shape.dual { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) },
        },
    });
    if let Some(status) = status {
        changes["status"] = status;
    }
    if let Some(key) = shape.key {
        changes["metadata"]["annotations"] = json!({ VIP_SHARING_KEY_ANNOTATION: key.to_string() });
    }
    if let Some(asked) = shape.asks {
        changes["spec"]["loadBalancerIP"] = format!("198.51.100.{asked}").into();
    }
    service(&name(number), changes)
}

type Held = BTreeMap<u8, BTreeSet<IpAddr>>;

fn held(world: &World, shapes: &BTreeMap<u8, Shape>) -> Held {
    let of = |number: &u8| {
        assigned(&world.objects.services[&Key::new("default", name(*number))]).into_iter().collect()
    };
    shapes.keys().map(|number| (*number, of(number))).collect()
}

/// In words of its own: what may stand at one address.
fn check(held: &Held, shapes: &BTreeMap<u8, Shape>) -> Result<(), TestCaseError> {
    let mut frontends = BTreeMap::new();
    for (number, addresses) in held {
        let shape = &shapes[number];
        for address in addresses {
            for port in &shape.ports {
                let other = frontends.insert((*address, *port, shape.udp), *number);
                prop_assert!(other.is_none(), "{number} and {other:?} at {address}, port {port}");
            }
            for (other, theirs) in held.range(number + 1..) {
                if theirs.contains(address) {
                    let other = &shapes[other];
                    prop_assert!(shape.key.is_some() && shape.key == other.key);
                    let same = shape.selector != 0 && shape.selector == other.selector;
                    prop_assert!(same || !(shape.local || other.local));
                }
            }
        }
        if let (Some(asked), Some(v4)) = (shape.asks, addresses.iter().find(|a| a.is_ipv4())) {
            prop_assert_eq!(v4.to_string(), format!("198.51.100.{asked}"));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn nobody_is_at_the_port_of_another_and_nobody_loses_what_he_holds(
        changes in prop::collection::vec(change(), 1..40),
    ) {
        let mut world = pools();
        let mut shapes: BTreeMap<u8, Shape> = BTreeMap::new();
        for (step, change) in changes.into_iter().enumerate() {
            let before = held(&world, &shapes);
            let touched = match change {
                Change::Put(number, shape) => {
                    world.observe(make(&world, number, format!("uid-{step}"), &shape), NOW);
                    shapes.insert(number, shape);
                    number
                }
                Change::Delete(number) => {
                    if shapes.remove(&number).is_some() {
                        let key = Key::new("default", name(number));
                        let uid = world.objects.services[&key].metadata.uid.clone().unwrap();
                        world.remove(&Ref { kind: Kind::Service, key }, &uid, NOW);
                    }
                    number
                }
            };
            // Who stands in a way may be another once all have what they can have.
            let first = reconcile(&world, NOW);
            apply(&mut world, &first);
            settle(&mut world);
            let after = held(&world, &shapes);
            check(&after, &shapes)?;
            for (number, addresses) in &before {
                if *number != touched {
                    prop_assert!(addresses.is_subset(&after[number]), "{number} has lost some");
                }
            }
        }
    }
}
