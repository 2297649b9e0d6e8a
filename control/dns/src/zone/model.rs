//! Services and their endpoints as far as names are made of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};

/// The label by which a slice names its service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// A service, or a slice, by its namespace and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub kind: ServiceKind,
    /// Its named ports; one without a name has no SRV record.
    pub ports: Vec<Port>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// One virtual address for each family.
    ClusterIp(Vec<IpAddr>),
    /// The endpoints themselves.
    Headless { publish_not_ready: bool },
    /// Another name for something that is usually outside.
    ExternalName(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// In lower case: `tcp`, `udp`, `sctp`.
    pub protocol: String,
    pub number: u16,
}

/// Some of the endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub service: Key,
    pub ports: Vec<Port>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    /// The endpoint below its service: its hostname, or its address with dashes.
    pub label: String,
    pub ready: bool,
}

impl Service {
    /// `None` for a service that has no address yet, nor will have endpoints.
    pub fn of(object: &core::Service) -> Option<Self> {
        let spec = object.spec.as_ref()?;
        let kind = if spec.type_.as_deref() == Some("ExternalName") {
            ServiceKind::ExternalName(spec.external_name.clone()?)
        } else {
            let ips = spec.cluster_ips.as_deref().unwrap_or_default();
            let ips = if ips.is_empty() { spec.cluster_ip.as_slice() } else { ips };
            let publish_not_ready = spec.publish_not_ready_addresses == Some(true);
            match ips.first().map(String::as_str) {
                None | Some("") => return None,
                Some("None") => ServiceKind::Headless { publish_not_ready },
                Some(_) => {
                    ServiceKind::ClusterIp(ips.iter().filter_map(|ip| ip.parse().ok()).collect())
                }
            }
        };
        let ports = spec.ports.iter().flatten();
        let ports = ports.filter_map(|one| {
            Port::of(one.name.as_deref(), one.protocol.as_deref(), Some(one.port))
        });
        Some(Self { kind, ports: ports.collect() })
    }
}

impl Port {
    fn of(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Self> {
        let name = name.filter(|name| !name.is_empty())?;
        Some(Self {
            name: name.to_ascii_lowercase(),
            protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(),
            number: number?.try_into().ok()?,
        })
    }
}

impl Slice {
    /// `None` for a slice that is no service's, or holds names instead of addresses.
    pub fn of(object: &discovery::EndpointSlice) -> Option<Self> {
        let service = object.metadata.labels.as_ref()?.get(SERVICE_LABEL)?;
        let service = Key::new(object.metadata.namespace.clone()?, service.as_str());
        let ports = object.ports.iter().flatten();
        let ports = ports
            .filter_map(|one| Port::of(one.name.as_deref(), one.protocol.as_deref(), one.port));
        let endpoints = object.endpoints.iter().flatten().filter_map(Endpoint::of);
        Some(Self { service, ports: ports.collect(), endpoints: endpoints.collect() })
    }
}

impl Endpoint {
    /// All addresses of an endpoint are the same endpoint, and the API wants clients to use the
    /// first. What is not said of readiness means ready (discovery/v1, EndpointConditions).
    fn of(object: &discovery::Endpoint) -> Option<Self> {
        let address = object.addresses.first()?.parse().ok()?;
        let hostname = object.hostname.as_deref().filter(|name| !name.is_empty());
        Some(Self {
            address,
            label: hostname.map_or_else(|| dashed(address), str::to_ascii_lowercase),
            ready: object.conditions.as_ref().and_then(|all| all.ready).unwrap_or(true),
        })
    }
}

/// An address as one label: `10-244-0-5`, `fd00-10-244--5`.
pub(crate) fn dashed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string().replace('.', "-"),
        IpAddr::V6(v6) => v6.to_string().replace(':', "-"),
    }
}

/// The address that a label spells.
pub(crate) fn from_dashed(label: &str) -> Option<IpAddr> {
    let v4 = || label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    let v6 = || label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    if label.contains(['.', ':']) { None } else { v4().or_else(v6) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: serde_json::Value) -> Option<Service> {
        Service::of(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
    }

    #[test]
    fn the_kinds_of_services() {
        let kind = |spec| service(spec).map(|service| service.kind);
        assert_eq!(
            kind(json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]})),
            Some(ServiceKind::ClusterIp(vec![
                "10.96.0.1".parse().unwrap(),
                "fd00::1".parse().unwrap()
            ]))
        );
        assert_eq!(
            kind(json!({"clusterIP": "None", "publishNotReadyAddresses": true})),
            Some(ServiceKind::Headless { publish_not_ready: true })
        );
        assert_eq!(
            kind(json!({"type": "ExternalName", "externalName": "example.com"})),
            Some(ServiceKind::ExternalName("example.com".into()))
        );
        assert_eq!(kind(json!({"clusterIP": ""})), None);
        assert_eq!(kind(json!({})), None);
    }

    #[test]
    fn ports_have_names_or_are_left_out() {
        let service = service(json!({"clusterIP": "10.96.0.1", "ports": [
            {"name": "http", "port": 80}, {"port": 81}, {"name": "d", "port": 53, "protocol": "UDP"}
        ]}))
        .unwrap();
        let named = service.ports.iter().map(|port| (port.name.as_str(), port.protocol.as_str()));
        assert_eq!(named.collect::<Vec<_>>(), [("http", "tcp"), ("d", "udp")]);
    }

    #[test]
    fn endpoints_have_a_label_each() {
        let slice = Slice::of(
            &serde_json::from_value(json!({
                "metadata": {"name": "s-1", "namespace": "a", "labels": {SERVICE_LABEL: "s"}},
                "addressType": "IPv4",
                "endpoints": [
                    {"addresses": ["10.0.0.1"], "hostname": "web-0"},
                    {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                    {"addresses": ["not-an-address"]},
                ],
            }))
            .unwrap(),
        )
        .unwrap();
        let labels = slice.endpoints.iter().map(|one| (one.label.as_str(), one.ready));
        assert_eq!(labels.collect::<Vec<_>>(), [("web-0", true), ("10-0-0-2", false)]);
    }

    #[test]
    fn addresses_as_labels() {
        for text in ["10.244.0.5", "fd00:10:244::5", "::1", "::"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(from_dashed(&dashed(address)), Some(address));
        }
        for wrong in ["", "a", "10-244-0", "10.244.0.5", "1-2-3-4-5", "256-0-0-1"] {
            assert_eq!(from_dashed(wrong), None, "{wrong}");
        }
    }
}
