//! Service.

use serde_json::Value;

use super::field_error::{Errors, Path};
use super::names;
use crate::kinds::Kind;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const AFFINITIES: [&str; 2] = ["ClientIP", "None"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const FAMILY_POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];
const MAX_AFFINITY_SECS: i64 = 86_400;
/// A bound of ours; Kubernetes has none but the size of the request.
const MAX_PORTS: usize = 1000;

pub(crate) fn service(_: &Kind, service: &Value, errors: &mut Errors) {
    let spec = &service["spec"];
    let path = Path::root("spec");
    let kind = text(spec, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "");
    } else if !TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &TYPES);
    }
    let headless = text(spec, "clusterIP") == "None";
    ports(spec, kind, headless, &path, errors);
    super::metadata::labels(&spec["selector"], &path.child("selector"), errors);
    affinity(spec, &path, errors);
    addresses(spec, kind, headless, &path, errors);
    for (field, allowed) in
        [("externalTrafficPolicy", &POLICIES), ("internalTrafficPolicy", &POLICIES)]
    {
        let policy = text(spec, field);
        if !policy.is_empty() && !allowed.contains(&policy) {
            errors.not_supported(&path.child(field), policy, allowed);
        }
    }
    let external = matches!(kind, "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && spec["externalIPs"].as_array().is_some_and(|ips| !ips.is_empty());
    if !external && !text(spec, "externalTrafficPolicy").is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.invalid(
            &path.child("externalTrafficPolicy"),
            text(spec, "externalTrafficPolicy"),
            why,
        );
    }
    health_check(spec, &path, errors);
    let distribution = text(spec, "trafficDistribution");
    if !spec["trafficDistribution"].is_null() && !DISTRIBUTIONS.contains(&distribution) {
        errors.not_supported(&path.child("trafficDistribution"), distribution, &DISTRIBUTIONS);
    }
    families(spec, &path, errors);
}

/// Whether balancers outside the cluster have to find out which nodes have endpoints.
fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn health_check(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let port = spec["healthCheckNodePort"].as_i64().unwrap_or_default();
    if port == 0 {
        return;
    }
    let path = path.child("healthCheckNodePort");
    if needs_health_check(spec) {
        for why in names::port_number(port) {
            errors.invalid(&path, port, &why);
        }
    } else {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is \
                   'Local'";
        errors.invalid(&path, port, why);
    }
}

pub(crate) fn service_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::root("spec");
    let (is, was) = (&new["spec"], &old["spec"]);
    let port = &is["healthCheckNodePort"];
    if needs_health_check(is) && needs_health_check(was) && *port != was["healthCheckNodePort"] {
        errors.invalid(&path.child("healthCheckNodePort"), port.clone(), "field is immutable");
    }
    // A Service that is not virtual had and has no address to keep.
    if text(is, "type") == "ExternalName" || text(was, "type") == "ExternalName" {
        return;
    }
    // Only the first family and address are fixed: a second may come and go.
    for field in ["clusterIPs", "ipFamilies"] {
        let (first, first_before) = (&is[field][0], &was[field][0]);
        if first_before.is_string() && first != first_before {
            let at = path.child(field);
            let value = is[field].clone();
            errors.invalid(&at.index(0), value, "may not change once set");
        }
    }
}

fn ports(spec: &Value, kind: &str, headless: bool, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("ports");
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    if ports.is_empty() && kind != "ExternalName" && !headless {
        errors.required(&path, "");
    }
    if ports.len() > MAX_PORTS {
        return errors.too_many(&path, ports.len(), MAX_PORTS);
    }
    let mut seen_names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(&path.child("name"), "");
            }
        } else {
            for why in names::rfc1123_label(name) {
                errors.invalid(&path.child("name"), name, &why);
            }
            if seen_names.contains(&name) {
                errors.duplicate(&path.child("name"), name);
            }
            seen_names.push(name);
        }
        let number = port["port"].as_i64().unwrap_or_default();
        for why in names::port_number(number) {
            errors.invalid(&path.child("port"), number, &why);
        }
        let protocol = text(port, "protocol");
        if protocol.is_empty() {
            errors.required(&path.child("protocol"), "");
        } else if !PROTOCOLS.contains(&protocol) {
            errors.not_supported(&path.child("protocol"), protocol, &PROTOCOLS);
        }
        target_port(&port["targetPort"], headless, number, &path.child("targetPort"), errors);
        let node_port = port["nodePort"].as_i64().unwrap_or_default();
        if node_port != 0 {
            if matches!(kind, "ClusterIP" | "ExternalName") {
                let why = format!("may not be used when `type` is '{kind}'");
                errors.forbidden(&path.child("nodePort"), &why);
            } else {
                for why in names::port_number(node_port) {
                    errors.invalid(&path.child("nodePort"), node_port, &why);
                }
            }
        }
    }
    repeated_ports(ports, &path, errors);
}

/// One protocol and number, or node port, may stand once.
fn repeated_ports(ports: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for (field, with_rest) in [("nodePort", false), ("port", true)] {
        let mut seen = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let number = port[field].as_i64().unwrap_or_default();
            if number == 0 {
                continue;
            }
            let key = (text(port, "protocol"), number);
            if seen.contains(&key) {
                let mut value = serde_json::Map::new();
                if with_rest {
                    value.insert("protocol".to_owned(), key.0.into());
                    value.insert("port".to_owned(), key.1.into());
                    errors.duplicate(&path.index(index), value);
                } else {
                    let at = path.index(index);
                    errors.duplicate(&at.child(field), number);
                }
            }
            seen.push(key);
        }
    }
}

fn target_port(target: &Value, headless: bool, port: i64, path: &Path<'_>, errors: &mut Errors) {
    match target {
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            for why in names::port_number(number) {
                errors.invalid(path, number, &why);
            }
            if headless && number != port {
                let why = "must be equal to the value of 'port' when clusterIP = None";
                errors.invalid(path, number, why);
            }
        }
        Value::String(name) => {
            for why in names::port_name(name) {
                errors.invalid(path, name.as_str(), &why);
            }
        }
        _ => {}
    }
}

fn affinity(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let affinity = text(spec, "sessionAffinity");
    if !affinity.is_empty() && !AFFINITIES.contains(&affinity) {
        errors.not_supported(&path.child("sessionAffinity"), affinity, &AFFINITIES);
    }
    let config = &spec["sessionAffinityConfig"];
    let at = path.child("sessionAffinityConfig");
    if affinity == "None" && !config.is_null() {
        errors.forbidden(&at, "must not be set when session affinity is None");
    }
    if affinity == "ClientIP" {
        let at = at.child("clientIP");
        let secs = config["clientIP"]["timeoutSeconds"].as_i64().unwrap_or_default();
        if !(1..=MAX_AFFINITY_SECS).contains(&secs) {
            let why = format!("must be greater than 0 and less than {MAX_AFFINITY_SECS}");
            errors.invalid(&at.child("timeoutSeconds"), secs, &why);
        }
    }
}

fn addresses(spec: &Value, kind: &str, headless: bool, path: &Path<'_>, errors: &mut Errors) {
    if kind == "ExternalName" {
        let name = text(spec, "externalName");
        if name.is_empty() {
            errors.required(&path.child("externalName"), "");
        } else {
            for why in names::rfc1123_subdomain(name.trim_end_matches('.')) {
                errors.invalid(&path.child("externalName"), name, &why);
            }
        }
        if !text(spec, "clusterIP").is_empty() {
            errors.forbidden(&path.child("clusterIPs"), "may not be set for ExternalName services");
        }
        return;
    }
    if headless && matches!(kind, "NodePort" | "LoadBalancer") {
        let at = path.child("clusterIPs");
        let why = format!("may not be set to 'None' for {kind} services");
        errors.invalid(&at.index(0), "None", &why);
    }
    let cluster_ip = text(spec, "clusterIP");
    if !cluster_ip.is_empty() && !headless {
        for why in names::ip(cluster_ip) {
            errors.invalid(&path.child("clusterIP"), cluster_ip, &why);
        }
    }
    let first = &spec["clusterIPs"][0];
    if first.is_string() && *first != cluster_ip {
        errors.invalid(
            &path.child("clusterIPs"),
            spec["clusterIPs"].clone(),
            "first value must match `clusterIP`",
        );
    }
    let at = path.child("externalIPs");
    for (index, ip) in spec["externalIPs"].as_array().into_iter().flatten().enumerate() {
        let ip = ip.as_str().unwrap_or_default();
        for why in names::ip(ip) {
            errors.invalid(&at.index(index), ip, &why);
        }
    }
    let load_balancer_ip = text(spec, "loadBalancerIP");
    if kind == "LoadBalancer" && !load_balancer_ip.is_empty() {
        for why in names::ip(load_balancer_ip) {
            errors.invalid(&path.child("loadBalancerIP"), load_balancer_ip, &why);
        }
    }
    let at = path.child("loadBalancerSourceRanges");
    let ranges = spec["loadBalancerSourceRanges"].as_array();
    if ranges.is_some_and(|ranges| !ranges.is_empty()) && kind != "LoadBalancer" {
        errors.forbidden(&at, "may only be used when `type` is 'LoadBalancer'");
    }
    for (index, range) in ranges.into_iter().flatten().enumerate() {
        let text = range.as_str().unwrap_or_default();
        if text.trim().parse::<viaduct_net::Prefix>().is_err() {
            let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.invalid(&at.index(index), text, why);
        }
    }
}

fn families(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let policy = text(spec, "ipFamilyPolicy");
    if !policy.is_empty() && !FAMILY_POLICIES.contains(&policy) {
        errors.not_supported(&path.child("ipFamilyPolicy"), policy, &FAMILY_POLICIES);
    }
    let at = path.child("ipFamilies");
    let mut seen = Vec::new();
    for (index, family) in spec["ipFamilies"].as_array().into_iter().flatten().enumerate() {
        let name = family.as_str().unwrap_or_default();
        if !FAMILIES.contains(&name) {
            errors.not_supported(&at.index(index), name, &FAMILIES);
        }
        if seen.contains(&name) {
            errors.duplicate(&at.index(index), name);
        }
        seen.push(name);
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn problems(spec: Value) -> Vec<String> {
        let kind = kinds::find("", "v1", "services").unwrap();
        let mut service = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec});
        kind.default(&mut service);
        kind.validate_create(&service).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_ones_are_taken() {
        for spec in [
            json!({"ports": [{"port": 80}]}),
            json!({"clusterIP": "None"}),
            json!({"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": "http"}]}),
            json!({"type": "ExternalName", "externalName": "example.com"}),
            json!({"sessionAffinity": "ClientIP", "ports": [{"port": 53, "protocol": "UDP"}]}),
        ] {
            assert_eq!(problems(spec), Vec::<String>::new());
        }
    }

    #[test]
    fn wrong_ones_are_refused_in_the_words_of_kubernetes() {
        for (spec, expected) in [
            (json!({}), "spec.ports: Required value"),
            (
                json!({"ports": [{"port": 70000, "targetPort": 80}]}),
                "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
                "spec.ports[1].name: Duplicate value: \"a\"",
            ),
            (
                json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]}),
                "spec.ports[1]: Duplicate value: {\"protocol\":\"TCP\",\"port\":1}",
            ),
            (
                json!({"ports": [{"port": 1}, {"name": "b", "port": 2}]}),
                "spec.ports[0].name: Required value",
            ),
            (
                json!({"type": "X", "ports": [{"port": 1}]}),
                "spec.type: Unsupported value: \"X\": supported values: \"ClusterIP\", \
                 \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 1}], "healthCheckNodePort": 30001}),
                "spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is \
                 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            ),
            (
                json!({"ports": [{"port": 1}], "trafficDistribution": "Near"}),
                "spec.trafficDistribution: Unsupported value: \"Near\": supported values: \
                 \"PreferClose\", \"PreferSameNode\", \"PreferSameZone\"",
            ),
            (
                json!({"ports": [{"port": 1, "nodePort": 30000}]}),
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            ),
        ] {
            assert_eq!(problems(spec), [expected]);
        }
    }

    #[test]
    fn the_port_of_the_health_check_does_not_change() {
        let kind = kinds::find("", "v1", "services").unwrap();
        let service = |policy: &str, port: u16| {
            let mut service = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {
                "type": "LoadBalancer", "externalTrafficPolicy": policy,
                "healthCheckNodePort": port, "ports": [{"port": 1}]}});
            kind.default(&mut service);
            service
        };
        let problems = |new: &Value, old: &Value| -> Vec<String> {
            kind.validate_update(new, old).iter().map(ToString::to_string).collect()
        };
        let (old, new) = (service("Local", 30001), service("Local", 30002));
        assert_eq!(problems(&old, &old), [""; 0]);
        assert_eq!(
            problems(&new, &old),
            ["spec.healthCheckNodePort: Invalid value: 30002: field is immutable"]
        );
        assert_eq!(problems(&new, &service("Cluster", 0)), [""; 0]);
    }

    #[test]
    fn the_address_does_not_change() {
        let kind = kinds::find("", "v1", "services").unwrap();
        let service = |ip: &str| {
            let mut service = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {
                "clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 1}]}});
            kind.default(&mut service);
            service
        };
        let found = kind.validate_update(&service("10.0.0.2"), &service("10.0.0.1"));
        assert_eq!(
            found[0].to_string(),
            "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"
        );
    }
}
