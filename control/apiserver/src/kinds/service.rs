//! Service. Addresses, node ports and IP families are allocated by the shell.

use serde_json::{Value, json};

use super::strategy::{default_field, keep_status};
use super::{ALL_VERBS, Kind, Strategy};
use crate::{table, validate};

pub(super) static SERVICE: Kind = Kind {
    group: "",
    version: "v1",
    api_version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    namespaced: true,
    categories: &["all"],
    subresources: &["status"],
    verbs: ALL_VERBS,
    field_selectors: &["spec.clusterIP", "spec.type"],
    definition: "io.k8s.api.core.v1.Service",
    strategy: Strategy {
        default,
        prepare_create: |service| service["status"] = json!({ "loadBalancer": {} }),
        prepare_update,
        validate: validate::service,
        validate_update: validate::service_update,
        ..Strategy::WITH_STATUS
    },
    columns: table::SERVICE,
};

/// Three hours: how long a client sticks to its backend where affinity is asked for.
const AFFINITY_TIMEOUT_SECS: u32 = 10_800;

fn default(service: &mut Value) {
    default_field(service, "spec", json!({}));
    let Some(spec) = service.get_mut("spec") else { return };
    default_field(spec, "type", "ClusterIP");
    default_field(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "None" {
        remove(spec, "sessionAffinityConfig");
    } else if spec["sessionAffinity"] == "ClientIP" {
        default_field(spec, "sessionAffinityConfig", json!({}));
        let config = &mut spec["sessionAffinityConfig"];
        default_field(config, "clientIP", json!({}));
        default_field(&mut config["clientIP"], "timeoutSeconds", AFFINITY_TIMEOUT_SECS);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default_field(port, "protocol", "TCP");
        let number = port["port"].clone();
        if port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = number;
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && spec["externalIPs"].as_array().is_some_and(|all| !all.is_empty());
    if external {
        default_field(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        default_field(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default_field(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// A change of type drops what belonged to the old one alone, unless the client has set it anew.
fn prepare_update(new: &mut Value, old: &Value) {
    keep_status(new, old);
    let kind = new["spec"]["type"].as_str().unwrap_or_default().to_owned();
    let before = &old["spec"];
    let Some(spec) = new.get_mut("spec") else { return };
    // A client that knows only one address means the first of both.
    if spec["clusterIP"] != before["clusterIP"] && spec["clusterIPs"] == before["clusterIPs"] {
        match spec["clusterIP"].as_str().map(str::to_owned) {
            Some(ip) if !ip.is_empty() && spec["clusterIPs"].is_array() => {
                spec["clusterIPs"][0] = ip.into();
            }
            _ => remove(spec, "clusterIPs"),
        }
    }
    if before["type"] != kind.as_str() && !matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        for field in ["externalTrafficPolicy", "healthCheckNodePort"] {
            if spec[field] == before[field] {
                remove(spec, field);
            }
        }
        let ports_before = before["ports"].as_array().cloned().unwrap_or_default();
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for (index, port) in ports.into_iter().flatten().enumerate() {
            let was = ports_before.get(index).map(|port| &port["nodePort"]);
            if was == Some(&port["nodePort"]) {
                remove(port, "nodePort");
            }
        }
    }
    // Nobody has to ask any more which nodes have endpoints.
    if spec["externalTrafficPolicy"] != "Local"
        && before["externalTrafficPolicy"] == "Local"
        && spec["healthCheckNodePort"] == before["healthCheckNodePort"]
    {
        remove(spec, "healthCheckNodePort");
    }
    if kind != "LoadBalancer" && before["type"] == "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass", "loadBalancerIP"] {
            if spec[field] == before[field] {
                remove(spec, field);
            }
        }
        new["status"] = json!({ "loadBalancer": {} });
    }
}

fn remove(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.shift_remove(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_defaulted() {
        let mut service =
            json!({"spec": {"ports": [{"port": 80}, {"port": 1, "targetPort": "x"}]}});
        SERVICE.default(&mut service);
        let expected = json!({"spec": {
            "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 1, "targetPort": "x", "protocol": "TCP"},
            ],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
        }});
        assert_eq!(service, expected);
    }

    #[test]
    fn without_the_policy_local_there_is_no_health_check() {
        let old = json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30001, "ports": [{"port": 80}]}, "status": {}});
        let mut same = old.clone();
        SERVICE.prepare_update(&mut same, &old);
        assert_eq!(same["spec"]["healthCheckNodePort"], 30001);
        let mut new = old.clone();
        new["spec"]["externalTrafficPolicy"] = "Cluster".into();
        SERVICE.prepare_update(&mut new, &old);
        assert_eq!(new["spec"].get("healthCheckNodePort"), None);
    }

    #[test]
    fn a_load_balancer_that_becomes_a_cluster_ip_loses_its_node_ports() {
        let old = json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "nodePort": 30000}]}, "status": {"loadBalancer": {"ingress": []}}});
        let mut new = old.clone();
        new["spec"]["type"] = "ClusterIP".into();
        SERVICE.prepare_update(&mut new, &old);
        let expected = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {}}});
        assert_eq!(new, expected);
    }
}
