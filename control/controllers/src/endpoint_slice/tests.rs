use serde_json::Value;

use super::*;
use crate::{
    operation::Step,
    testing::{NOW, apply, node, object, pod, running_pod, world as nodes},
};

fn service(changes: Value) -> Service {
    object(
        json!({
            "metadata": {"name": "web", "namespace": "default", "labels": {"team": "a"}},
            "spec": {
                "selector": {"app": "web"},
                "ipFamilies": ["IPv4", "IPv6"],
                "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            },
        }),
        changes,
    )
}

fn with(service: Service, pods: impl IntoIterator<Item = Pod>) -> World {
    let mut world =
        nodes([node("n1", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}}))]);
    world.observe(service, NOW);
    for pod in pods {
        world.observe(pod, NOW);
    }
    world
}

fn key() -> Key {
    Key::new("default", "web")
}

fn settle(world: &mut World) {
    for _ in 0..2 {
        let outcome = reconcile(&key(), world);
        apply(world, &outcome);
    }
    assert_eq!(reconcile(&key(), world).steps, []);
}

fn slices(world: &World, family: &str) -> Vec<Arc<EndpointSlice>> {
    let all = world.objects.endpoint_slices.values();
    all.filter(|slice| slice.address_type == family).cloned().collect()
}

fn writes(outcome: &Outcome) -> usize {
    let write = |step: &&Step| !matches!(step.operation, Operation::Delete { .. });
    outcome.steps.iter().filter(write).count()
}

#[test]
fn pods_of_both_families_with_what_they_can() {
    let mut unready = running_pod("b", "n1", 2);
    unready.status.as_mut().unwrap().conditions = None;
    let mut leaving = running_pod("c", "n1", 3);
    leaving.metadata.deletion_timestamp = Some(NOW.time());
    let strangers = [
        pod("no-address", json!({})),
        pod("elsewhere", json!({"metadata": {"namespace": "other"}})),
        pod("other", json!({"metadata": {"labels": {"app": "db"}}})),
    ];
    let mut world = with(
        service(json!({})),
        [running_pod("a", "n1", 1), unready, leaving].into_iter().chain(strangers),
    );
    settle(&mut world);
    for (family, first) in [("IPv4", "10.244.0.1"), ("IPv6", "fd00::1")] {
        let [slice] = &slices(&world, family)[..] else { panic!() };
        let endpoints = slice.endpoints.as_ref().unwrap();
        let states: Vec<_> = endpoints
            .iter()
            .map(|e| {
                let conditions = e.conditions.as_ref().unwrap();
                [conditions.ready, conditions.serving, conditions.terminating].map(Option::unwrap)
            })
            .collect();
        assert_eq!(
            states,
            [[true, true, false], [false, false, false], [false, true, true]],
            "{family}"
        );
        assert_eq!(endpoints[0].addresses, [first]);
        assert_eq!(endpoints[0].node_name.as_deref(), Some("n1"));
        assert_eq!(endpoints[0].zone.as_deref(), Some("z1"));
        assert_eq!(endpoints[0].target_ref.as_ref().unwrap().name.as_deref(), Some("a"));
        assert_eq!(slice.ports.as_ref().unwrap()[0].port, Some(8080));
        let labels = slice.metadata.labels.as_ref().unwrap();
        assert_eq!((labels["team"].as_str(), labels[SERVICE_NAME].as_str()), ("a", "web"));
        assert_eq!(slice.metadata.owner_references.as_ref().unwrap()[0].uid, "uid-web");
    }
}

#[test]
fn a_service_without_pods_has_an_empty_slice_of_each_family() {
    let mut world = with(service(json!({})), []);
    settle(&mut world);
    assert_eq!(world.objects.endpoint_slices.len(), 2);
    let before: Vec<Key> = world.objects.endpoint_slices.keys().cloned().collect();
    // The first pod moves into the same slices.
    world.observe(running_pod("a", "n1", 1), NOW);
    settle(&mut world);
    let after: Vec<Key> = world.objects.endpoint_slices.keys().cloned().collect();
    assert_eq!(after, before);
    assert_eq!(slices(&world, "IPv4")[0].endpoints.as_ref().unwrap().len(), 1);
}

#[test]
fn one_change_rewrites_one_slice_of_each_family() {
    let pods = (1..=250).map(|n| running_pod(&format!("p{n:03}"), "n1", n));
    let mut world = with(service(json!({})), pods);
    settle(&mut world);
    let sizes = |world: &World| -> Vec<usize> {
        slices(world, "IPv4").iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect()
    };
    assert_eq!(sizes(&world), [100, 100, 50]);
    let gone = world.objects.pods[&Key::new("default", "p005")].clone();
    world.remove(&Object::Pod(gone).reference(), "uid-p005", NOW);
    let outcome = reconcile(&key(), &world);
    assert_eq!(writes(&outcome), 2);
    apply(&mut world, &outcome);
    assert_eq!(sizes(&world).iter().sum::<usize>(), 249);
    // The gap is filled before another slice is opened.
    world.observe(running_pod("p251", "n1", 251), NOW);
    settle(&mut world);
    assert_eq!(sizes(&world), [100, 100, 50]);
}

#[test]
fn a_named_port_may_be_another_in_each_pod() {
    let named = |name: &str, number: u8, port: u16| {
        let mut pod = running_pod(name, "n1", number);
        pod.spec.as_mut().unwrap().containers = serde_json::from_value(json!([
            {"name": "c", "ports": [{"name": "web", "containerPort": port}]},
        ]))
        .unwrap();
        pod
    };
    let by_name = service(json!({"spec": {"ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}}));
    let mut world = with(by_name, [named("a", 1, 8080), named("b", 2, 9090)]);
    settle(&mut world);
    let mut ports: Vec<_> =
        slices(&world, "IPv4").iter().map(|s| s.ports.as_ref().unwrap()[0].port.unwrap()).collect();
    ports.sort();
    assert_eq!(ports, [8080, 9090]);
    // The slice that nothing is left for goes.
    world.observe(named("b", 2, 8080), NOW);
    settle(&mut world);
    assert_eq!(slices(&world, "IPv4").len(), 1);
}

#[test]
fn not_ready_addresses_are_published_where_asked_for() {
    let publish = json!({"spec": {"publishNotReadyAddresses": true, "ipFamilies": ["IPv4"],
        "clusterIP": "None"}});
    let mut unready = running_pod("a", "n1", 1);
    unready.status.as_mut().unwrap().conditions = None;
    let mut world = with(service(publish), [unready]);
    settle(&mut world);
    let slice = &slices(&world, "IPv4")[0];
    let conditions = slice.endpoints.as_ref().unwrap()[0].conditions.as_ref().unwrap();
    assert_eq!((conditions.ready, conditions.serving), (Some(true), Some(false)));
    assert!(slice.metadata.labels.as_ref().unwrap().contains_key(HEADLESS));
}

#[test]
fn slices_of_others_and_services_without_a_selector_are_left_alone() {
    let others: EndpointSlice = object(
        json!({"metadata": {"name": "web-custom", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"}}}),
        json!({"addressType": "IPv4", "endpoints": []}),
    );
    let mut world = with(service(json!({"spec": {"selector": null}})), []);
    world.observe(others, NOW);
    assert_eq!(reconcile(&key(), &world).steps, []);
    let service = world.objects.services[&key()].clone();
    world.remove(&Object::Service(service).reference(), "uid-web", NOW);
    assert_eq!(reconcile(&key(), &world).steps, []);
}

#[test]
fn the_slices_go_with_the_service_and_a_family() {
    let mut world = with(service(json!({})), [running_pod("a", "n1", 1)]);
    settle(&mut world);
    world.observe(service(json!({"spec": {"ipFamilies": ["IPv6"]}})), NOW);
    settle(&mut world);
    assert_eq!((slices(&world, "IPv4").len(), slices(&world, "IPv6").len()), (0, 1));
    let service = world.objects.services[&key()].clone();
    world.remove(&Object::Service(service).reference(), "uid-web", NOW);
    settle(&mut world);
    assert!(world.objects.endpoint_slices.is_empty());
}

#[test]
fn a_pod_that_names_the_service_as_its_subdomain_has_a_hostname() {
    let named = |name: &str, last: u8, subdomain: &str| {
        let mut pod = running_pod(name, "n1", last);
        let spec = pod.spec.as_mut().unwrap();
        spec.hostname = Some(format!("{name}-host"));
        spec.subdomain = Some(subdomain.into());
        pod
    };
    let pods = [named("a", 1, "web"), named("b", 2, "other"), running_pod("c", "n1", 3)];
    let mut world = with(service(json!({})), pods);
    settle(&mut world);
    for slice in slices(&world, "IPv4").iter().chain(&slices(&world, "IPv6")) {
        let hostnames = slice.endpoints.iter().flatten().map(|one| one.hostname.as_deref());
        assert_eq!(hostnames.collect::<Vec<_>>(), [Some("a-host"), None, None]);
    }
}

#[test]
fn hints_follow_the_distribution_that_the_service_asks_for() {
    let pods = || {
        let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        let mut value = serde_json::to_value(running_pod("b", "n1", 2)).unwrap();
        crate::testing::merge(&mut value, &unready);
        [running_pod("a", "n1", 1), serde_json::from_value(value).unwrap()]
    };
    for (distribution, zones, nodes) in [
        (Value::Null, None, None),
        ("PreferClose".into(), Some("z1"), None),
        ("PreferSameZone".into(), Some("z1"), None),
        ("PreferSameNode".into(), Some("z1"), Some("n1")),
    ] {
        let asks = json!({"spec": {"trafficDistribution": distribution}});
        let mut world = with(service(asks), pods());
        settle(&mut world);
        for family in ["IPv4", "IPv6"] {
            let slices = slices(&world, family);
            let [ready, unready] = &slices[0].endpoints.as_ref().unwrap()[..] else {
                panic!("{slices:?}")
            };
            let hints = ready.hints.clone().unwrap_or_default();
            let zone = hints.for_zones.as_ref().map(|all| all[0].name.as_str());
            let node = hints.for_nodes.as_ref().map(|all| all[0].name.as_str());
            assert_eq!((zone, node), (zones, nodes), "{distribution}");
            assert_eq!(unready.hints, None);
        }
        // And go again when it asks for none.
        world.observe(service(json!({})), NOW);
        settle(&mut world);
        let slices = slices(&world, "IPv4");
        assert_eq!(slices[0].endpoints.as_ref().unwrap()[0].hints, None);
    }
}
