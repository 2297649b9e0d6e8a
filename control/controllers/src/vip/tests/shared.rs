use super::*;

/// One port, and the key that lets others have the address, too.
fn sharer(name: &str, port: i32, changes: Value) -> Service {
    let mut base = json!({
        "metadata": {"annotations": {VIP_SHARING_KEY_ANNOTATION: "web"}},
        "spec": {"ports": [{"port": port}], "selector": {"app": "web"}},
    });
    crate::testing::merge(&mut base, &changes);
    service(name, base)
}

/// The service as it stands, with changes to all but its status.
fn change(world: &mut World, name: &str, changes: Value) {
    let service = &world.objects.services[&Key::new("default", name)];
    let mut value = serde_json::to_value(&**service).unwrap();
    crate::testing::merge(&mut value, &changes);
    world.observe(serde_json::from_value::<Service>(value).unwrap(), NOW);
}

fn condition(world: &World, name: &str, type_: &str) -> Option<String> {
    let status = world.objects.services[&Key::new("default", name)].status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|one| one.type_ == type_).map(|one| one.message.clone())
}

#[test]
fn one_key_is_one_address_while_ports_differ() {
    let mut world = pools();
    world.observe(sharer("a", 80, json!({})), NOW);
    settle(&mut world);
    world.observe(sharer("b", 443, json!({})), NOW);
    let outcome = settle(&mut world);
    assert_eq!(vips(&world, "b"), vips(&world, "a"));
    let said = &outcome.steps[0].done.as_ref().unwrap().message;
    assert!(said.contains("198.51.100.1 is shared with default/a"), "{said}");
    let udp = json!({"spec": {"ports": [{"port": 80, "protocol": "UDP"}]}});
    world.observe(sharer("c", 80, udp), NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "c"), vips(&world, "a"));
    // The same port needs another address; and the next of the key may be on either.
    world.observe(sharer("d", 80, json!({})), NOW);
    let outcome = settle(&mut world);
    assert_eq!(vips(&world, "d"), ["198.51.100.2", "2001:db8:f::2"]);
    let said = &outcome.steps[0].done.as_ref().unwrap().message;
    assert!(said.contains("198.51.100.1 is the virtual IP of default/a, too"), "{said}");
    assert!(said.contains("port 80/TCP"), "{said}");
}

#[test]
fn without_a_key_of_both_nothing_is_shared() {
    let mut world = pools();
    world.observe(sharer("a", 80, json!({"spec": {"loadBalancerIP": "198.51.100.5"}})), NOW);
    let asks = |key: Value| {
        json!({"metadata": {"annotations": {VIP_SHARING_KEY_ANNOTATION: key}},
            "spec": {"loadBalancerIP": "198.51.100.5", "ipFamilies": ["IPv4"]}})
    };
    world.observe(sharer("b", 443, asks("other".into())), NOW);
    world.observe(sharer("c", 444, asks(Value::Null)), NOW);
    settle(&mut world);
    for name in ["b", "c"] {
        assert_eq!(vips(&world, name), [""; 0]);
        let why = condition(&world, name, status::ASSIGNED).unwrap();
        assert!(why.contains("default/a") && why.contains(VIP_SHARING_KEY_ANNOTATION), "{why}");
    }
    // As soon as they agree they have it, and nothing is said to be wrong any more.
    change(&mut world, "b", asks("web".into()));
    settle(&mut world);
    assert_eq!(vips(&world, "b"), ["198.51.100.5"]);
    assert_eq!(condition(&world, "b", status::ASSIGNED), None);
}

#[test]
fn what_stands_in_the_way_of_a_requested_address_is_named() {
    let mut world = pools();
    let asks = json!({"spec": {"loadBalancerIP": "198.51.100.5", "ipFamilies": ["IPv4"]}});
    world.observe(sharer("a", 80, asks.clone()), NOW);
    settle(&mut world);
    world.observe(sharer("b", 80, asks.clone()), NOW);
    let outcome = settle(&mut world);
    assert_eq!(vips(&world, "b"), [""; 0]);
    let why = condition(&world, "b", status::ASSIGNED).unwrap();
    assert!(why.contains("default/a") && why.contains("port 80/TCP"), "{why}");
    let note = outcome.notes.iter().find(|note| note.warning).unwrap();
    assert_eq!((note.reason, &note.message), ("AllocationFailed", &why));
    assert_eq!(note.about.name.as_deref(), Some("b"));
    // The one in the way goes.
    let a = Ref { kind: Kind::Service, key: Key::new("default", "a") };
    world.remove(&a, "uid-a", NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "b"), ["198.51.100.5"]);
}

#[test]
fn with_the_policy_local_the_pods_are_the_same() {
    let mut world = pools();
    let local = |app: &str| {
        json!({"spec": {"externalTrafficPolicy": "Local", "selector": {"app": app},
            "loadBalancerIP": "198.51.100.5", "ipFamilies": ["IPv4"]}})
    };
    world.observe(sharer("a", 80, local("web")), NOW);
    world.observe(sharer("b", 443, local("web")), NOW);
    world.observe(sharer("c", 53, local("dns")), NOW);
    settle(&mut world);
    assert_eq!(vips(&world, "b"), vips(&world, "a"));
    assert_eq!(vips(&world, "c"), [""; 0]);
    let why = condition(&world, "c", status::ASSIGNED).unwrap();
    assert!(why.contains("default/a") && why.contains("selector"), "{why}");
    // One policy is enough to part them.
    change(&mut world, "c", json!({"spec": {"externalTrafficPolicy": "Cluster"}}));
    settle(&mut world);
    assert_eq!(vips(&world, "c"), [""; 0]);
    for name in ["a", "b"] {
        change(&mut world, name, json!({"spec": {"externalTrafficPolicy": "Cluster"}}));
    }
    settle(&mut world);
    assert_eq!(vips(&world, "c"), vips(&world, "a"));
}

#[test]
fn who_changes_the_terms_goes_and_not_who_kept_to_them() {
    for changes in [
        json!({"spec": {"ports": [{"port": 443}]}}),
        json!({"spec": {"externalTrafficPolicy": "Local", "selector": {"app": "other"}}}),
        json!({"metadata": {"annotations": {VIP_SHARING_KEY_ANNOTATION: "other"}}}),
        json!({"metadata": {"annotations": {VIP_SHARING_KEY_ANNOTATION: null}}}),
    ] {
        let mut world = pools();
        // The older one by name, where nothing else is known.
        world.observe(sharer("a", 80, json!({})), NOW);
        world.observe(sharer("b", 443, json!({})), NOW);
        settle(&mut world);
        assert_eq!(vips(&world, "a")[0], "198.51.100.1");
        assert_eq!(vips(&world, "b")[0], "198.51.100.1");
        change(&mut world, "a", changes.clone());
        settle(&mut world);
        assert_eq!(vips(&world, "b")[0], "198.51.100.1", "{changes}");
        assert_eq!(vips(&world, "a")[0], "198.51.100.2", "{changes}");
    }
}

#[test]
fn an_address_is_free_when_the_last_has_left_it() {
    let mut world = pools();
    world.observe(sharer("a", 80, json!({})), NOW);
    world.observe(sharer("b", 443, json!({})), NOW);
    settle(&mut world);
    let next = |world: &mut World, name: &str| {
        world.observe(service(name, json!({})), NOW);
        settle(world);
        vips(world, name)[0].clone()
    };
    let remove = |world: &mut World, name: &str| {
        let service = Ref { kind: Kind::Service, key: Key::new("default", name) };
        world.remove(&service, &format!("uid-{name}"), NOW);
        settle(world);
    };
    remove(&mut world, "a");
    assert_eq!(next(&mut world, "c"), "198.51.100.2");
    remove(&mut world, "b");
    assert_eq!(next(&mut world, "d"), "198.51.100.1");
}

#[test]
fn addresses_of_both_families_are_asked_for_by_annotation() {
    let mut world = pools();
    let both = "2001:db8:f::9, 198.51.100.6";
    let asks = json!({"metadata": {"annotations": {VIP_ADDRESSES_ANNOTATION: both}}});
    world.observe(service("a", asks), NOW);
    let wrong = json!({"metadata": {"annotations": {VIP_ADDRESSES_ANNOTATION: "198.51.100"}}});
    world.observe(service("b", wrong), NOW);
    let outcome = settle(&mut world);
    assert_eq!(vips(&world, "a"), ["198.51.100.6", "2001:db8:f::9"]);
    assert_eq!(vips(&world, "b"), [""; 0]);
    assert!(outcome.notes[0].message.contains("viaduct.dev/vip-addresses is no address"));
}

#[test]
fn keys_of_metallb_and_cilium_are_known() {
    let in_namespace = |annotation: &str, namespace: &str, name: &str, port: i32| {
        sharer(
            name,
            port,
            json!({"metadata": {"namespace": namespace,
            "annotations": {VIP_SHARING_KEY_ANNOTATION: null, annotation: "k"}}}),
        )
    };
    let of = |world: &World, namespace: &str, name: &str| {
        assigned(&world.objects.services[&Key::new(namespace, name)])
    };
    for (annotation, reaches) in
        [("metallb.io/allow-shared-ip", true), ("lbipam.cilium.io/sharing-key", false)]
    {
        let mut world = pools();
        world.observe(in_namespace(annotation, "x", "a", 80), NOW);
        world.observe(in_namespace(annotation, "x", "b", 443), NOW);
        world.observe(in_namespace(annotation, "y", "c", 53), NOW);
        settle(&mut world);
        assert_eq!(of(&world, "x", "a"), of(&world, "x", "b"), "{annotation}");
        assert_eq!(of(&world, "x", "a") == of(&world, "y", "c"), reaches, "{annotation}");
    }
}
