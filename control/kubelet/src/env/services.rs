//! The variables by which a program finds services without DNS, as Kubernetes names them.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// The API's own service, which every pod is told of.
const API: (&str, &str) = ("default", "kubernetes");

/// Of the services in the pod's namespace, where it wants `links` to them, and of the API's.
pub(crate) fn of_services(
    services: &[Service],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        let place = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        if (place, name) == API || links && place == namespace {
            of_service(service, name, &mut variables);
        }
    }
    variables
}

fn of_service(service: &Service, name: &str, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ports = spec.ports.as_deref().unwrap_or_default();
    // Headless, or a name for something outside: there is no address.
    let address = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
    let (Some(address), Some(first)) = (address, ports.first()) else { return };
    let name = variable(name);
    let mut set = |suffix: String, value: String| {
        variables.insert(format!("{name}_{suffix}"), value);
    };
    set("SERVICE_HOST".to_owned(), address.to_string());
    set("SERVICE_PORT".to_owned(), first.port.to_string());
    set("PORT".to_owned(), url(address, first));
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            set(format!("SERVICE_PORT_{}", variable(port_name)), port.port.to_string());
        }
        let prefix = format!("PORT_{}_{}", port.port, protocol(port).to_uppercase());
        set(format!("{prefix}_PROTO"), protocol(port));
        set(format!("{prefix}_PORT"), port.port.to_string());
        set(format!("{prefix}_ADDR"), address.to_string());
        set(prefix, url(address, port));
    }
}

fn url(address: IpAddr, port: &ServicePort) -> String {
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("{}://{host}:{}", protocol(port), port.port)
}

fn protocol(port: &ServicePort) -> String {
    port.protocol.as_deref().unwrap_or("TCP").to_lowercase()
}

fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(namespace: &str, name: &str, spec: serde_json::Value) -> Service {
        let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn services_are_told_of_as_programs_expect() {
        let services = [
            service(
                "shop",
                "user-edge",
                json!({ "clusterIP": "10.96.0.7", "ports": [
                { "name": "http", "port": 80 },
                { "name": "dns-udp", "port": 53, "protocol": "UDP" }] }),
            ),
            service("shop", "six", json!({ "clusterIP": "fd00::7", "ports": [{ "port": 80 }] })),
            service("shop", "headless", json!({ "clusterIP": "None", "ports": [{ "port": 80 }] })),
            service("other", "web", json!({ "clusterIP": "10.96.0.8", "ports": [{ "port": 80 }] })),
            service(
                "default",
                "kubernetes",
                json!({ "clusterIP": "10.96.0.1",
                "ports": [{ "name": "https", "port": 443 }] }),
            ),
        ];
        let found = of_services(&services, "shop", true);
        for (name, value) in [
            ("USER_EDGE_SERVICE_HOST", "10.96.0.7"),
            ("USER_EDGE_SERVICE_PORT", "80"),
            ("USER_EDGE_SERVICE_PORT_HTTP", "80"),
            ("USER_EDGE_SERVICE_PORT_DNS_UDP", "53"),
            ("USER_EDGE_PORT", "tcp://10.96.0.7:80"),
            ("USER_EDGE_PORT_80_TCP", "tcp://10.96.0.7:80"),
            ("USER_EDGE_PORT_80_TCP_PROTO", "tcp"),
            ("USER_EDGE_PORT_80_TCP_PORT", "80"),
            ("USER_EDGE_PORT_80_TCP_ADDR", "10.96.0.7"),
            ("USER_EDGE_PORT_53_UDP", "udp://10.96.0.7:53"),
            ("SIX_PORT", "tcp://[fd00::7]:80"),
            ("SIX_SERVICE_HOST", "fd00::7"),
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
        ] {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!found.keys().any(|name| name.starts_with("HEADLESS") || name.starts_with("WEB")));
        let without = of_services(&services, "shop", false);
        assert!(without.keys().all(|name| name.starts_with("KUBERNETES")) && !without.is_empty());
    }
}
