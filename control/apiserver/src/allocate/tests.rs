use serde_json::json;

use super::*;

fn dual() -> Allocator {
    let cidrs = ["10.96.0.0/24", "fd00:96::/112"].map(|cidr| cidr.parse().unwrap());
    Allocator::new(&cidrs, 30000..=30100)
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "default", "name": name}, "spec": spec})
}

/// Gives the service what it asks for and notes it.
fn give(allocator: &mut Allocator, name: &str, spec: Value) -> Value {
    let mut service = service(name, spec);
    assert_eq!(allocator.complete(&mut service), []);
    allocator.record(None, Some(&service));
    service["spec"].take()
}

fn refusal(allocator: &Allocator, spec: Value) -> String {
    let errors = allocator.complete(&mut service("refused", spec));
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string()
}

#[test]
fn families_and_policies() {
    let single = Allocator::new(&["fd00:96::/112".parse().unwrap()], 30000..=30100);
    for (allocator, spec, policy, families, count) in [
        (&dual(), json!({"type": "ClusterIP"}), "SingleStack", json!(["IPv4"]), 1),
        (&single, json!({"type": "ClusterIP"}), "SingleStack", json!(["IPv6"]), 1),
        (&dual(), json!({"ipFamilies": ["IPv6"]}), "SingleStack", json!(["IPv6"]), 1),
        (
            &dual(),
            json!({"ipFamilies": ["IPv6", "IPv4"]}),
            "RequireDualStack",
            json!(["IPv6", "IPv4"]),
            2,
        ),
        (
            &dual(),
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            "PreferDualStack",
            json!(["IPv4", "IPv6"]),
            2,
        ),
        (
            &single,
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            "PreferDualStack",
            json!(["IPv6"]),
            1,
        ),
        (
            &dual(),
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}),
            "RequireDualStack",
            json!(["IPv6", "IPv4"]),
            2,
        ),
        (&dual(), json!({"clusterIP": "fd00:96::9"}), "SingleStack", json!(["IPv6"]), 1),
        (
            &dual(),
            json!({"clusterIP": "None", "selector": {"a": "b"}}),
            "SingleStack",
            json!(["IPv4"]),
            1,
        ),
        (&dual(), json!({"clusterIP": "None"}), "RequireDualStack", json!(["IPv4", "IPv6"]), 1),
    ] {
        let mut it = service("a", spec.clone());
        assert_eq!(allocator.complete(&mut it), [], "{spec}");
        assert_eq!(it["spec"]["ipFamilyPolicy"], policy, "{spec}");
        assert_eq!(it["spec"]["ipFamilies"], families, "{spec}");
        let ips = it["spec"]["clusterIPs"].as_array().unwrap();
        assert_eq!(ips.len(), count, "{spec}");
        assert_eq!(ips[0], it["spec"]["clusterIP"]);
    }
}

#[test]
fn what_cannot_be_given_is_refused_in_kubernetes_words() {
    let mut allocator = dual();
    give(
        &mut allocator,
        "a",
        json!({"clusterIP": "10.96.0.9", "type": "NodePort",
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30007}]}),
    );
    for (spec, expected) in [
        (
            json!({"clusterIP": "10.96.0.9"}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.9\"]: failed to allocate IP 10.96.0.9: \
             provided IP is already allocated",
        ),
        (
            json!({"clusterIP": "10.97.0.9"}),
            "spec.clusterIPs: Invalid value: [\"10.97.0.9\"]: failed to allocate IP 10.97.0.9: \
             the provided IP (10.97.0.9) is not in the valid range. The range of valid IPs is \
             10.96.0.0/24",
        ),
        (
            json!({"clusterIP": "10.96.0.255"}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.255\"]: failed to allocate IP \
             10.96.0.255: the provided IP (10.96.0.255) is not in the valid range. The range of \
             valid IPs is 10.96.0.0/24",
        ),
        (
            json!({"clusterIP": "10.96.0.8", "ipFamilies": ["IPv6"]}),
            "spec.clusterIPs[0]: Invalid value: \"10.96.0.8\": expected an IPv6 value as \
             indicated by `ipFamilies[0]`",
        ),
        (
            json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be RequireDualStack or \
             PreferDualStack when multiple IP families are specified",
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30007}]}),
            "spec.ports[0].nodePort: Invalid value: 30007: provided port is already allocated",
        ),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 30008, "ports": [{"port": 80, "nodePort": 30008}]}),
            "spec.healthCheckNodePort: Invalid value: 30008: provided port is already allocated",
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. \
             The range of valid ports is 30000-30100",
        ),
    ] {
        assert_eq!(refusal(&allocator, spec), expected);
    }
    let single = Allocator::new(&["10.96.0.0/24".parse().unwrap()], 30000..=30100);
    assert_eq!(
        refusal(&single, json!({"ipFamilyPolicy": "RequireDualStack"})),
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not \
         configured for dual-stack services"
    );
    assert_eq!(
        refusal(&single, json!({"ipFamilies": ["IPv6"]})),
        "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
    );
}

#[test]
fn every_address_is_given_once_and_released_ones_again() {
    for cidr in ["10.96.0.0/29", "fd00::/125"] {
        let mut allocator = Allocator::new(&[cidr.parse().unwrap()], 30000..=30001);
        let mut given = Vec::new();
        let last = loop {
            let mut it = service(&format!("s{}", given.len()), json!({}));
            let errors = allocator.complete(&mut it);
            if !errors.is_empty() {
                break errors[0].to_string();
            }
            allocator.record(None, Some(&it));
            given.push(it);
        };
        assert!(last.contains("range is full"), "{last}");
        let mut ips: Vec<IpAddr> = given.iter().flat_map(service::addresses).collect();
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), if cidr.contains(':') { 7 } else { 6 });
        allocator.record(Some(&given[2]), None);
        let again = give(&mut allocator, "again", json!({}));
        assert_eq!(again["clusterIP"], given[2]["spec"]["clusterIP"]);
    }
}

#[test]
fn a_released_address_is_not_the_next() {
    let mut allocator = dual();
    let first = give(&mut allocator, "a", json!({}));
    allocator.record(Some(&service("a", first.clone())), None);
    assert_ne!(give(&mut allocator, "b", json!({}))["clusterIP"], first["clusterIP"]);
}

#[test]
fn node_ports() {
    let mut allocator = dual();
    let spec = json!({"type": "NodePort", "ports": [
        {"port": 53, "protocol": "TCP"},
        {"port": 53, "protocol": "UDP"},
        {"port": 80, "protocol": "TCP"},
    ]});
    let spec = give(&mut allocator, "a", spec);
    let ports: Vec<u64> =
        spec["ports"].as_array().unwrap().iter().map(|p| p["nodePort"].as_u64().unwrap()).collect();
    assert_eq!(ports[0], ports[1]);
    assert_ne!(ports[0], ports[2]);

    let spec = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
        "externalTrafficPolicy": "Local", "ports": [{"port": 80, "protocol": "TCP"}]});
    let spec = give(&mut allocator, "b", spec);
    assert_eq!(spec["ports"][0]["nodePort"], Value::Null);
    assert!(spec["healthCheckNodePort"].is_u64());
}

#[test]
fn an_update_keeps_what_it_leaves_out() {
    let mut allocator = dual();
    let spec = json!({"type": "NodePort", "ipFamilyPolicy": "PreferDualStack",
        "ports": [{"port": 80, "protocol": "TCP"}]});
    let old = service("a", give(&mut allocator, "a", spec.clone()));
    let mut new = service("a", spec);
    carry_over(&mut new, &old);
    assert_eq!(allocator.complete(&mut new), []);
    assert_eq!(new, old);

    // One family less, and its address is free again.
    let mut new = old.clone();
    new["spec"]["ipFamilyPolicy"] = "SingleStack".into();
    carry_over(&mut new, &old);
    assert_eq!(allocator.complete(&mut new), []);
    assert_eq!(new["spec"]["clusterIPs"].as_array().unwrap().len(), 1);
    allocator.record(Some(&old), Some(&new));
    let v6 = old["spec"]["clusterIPs"][1].clone();
    give(&mut allocator, "b", json!({"clusterIP": v6}));

    // A service without an address of its own gives back all.
    let mut outside = new.clone();
    outside["spec"]["type"] = "ExternalName".into();
    carry_over(&mut outside, &new);
    assert_eq!(allocator.complete(&mut outside), []);
    assert_eq!(outside["spec"]["clusterIPs"], Value::Null);
}
