//! Services and their endpoints, from the view of the API to what the balancer is told. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1 as core,
    discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice},
};
use lb_plan::{Endpoint, Protocol, Service, ServiceName, ServicePort, Snapshot, TrafficPolicy};

use super::{bgp, cache::View};

mod topology;

/// The label by which a slice names its service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Every service of the view that has addresses, with the endpoints of its slices, for one node.
pub(crate) fn snapshot(view: &View, node: &str) -> Snapshot {
    let zone = topology::zone(view, node);
    let mut slices = BTreeMap::<ServiceName, Vec<&EndpointSlice>>::new();
    for slice in view.slices.values() {
        if let Some(name) = service_of(slice) {
            slices.entry(name).or_default().push(slice);
        }
    }
    let given = given(view);
    let services = view.services.values().filter_map(|object| {
        let name = ServiceName {
            namespace: object.metadata.namespace.clone()?,
            name: object.metadata.name.clone()?,
        };
        let slices = slices.remove(&name).unwrap_or_default();
        let endpoints = slices.iter().flat_map(|slice| slice_endpoints(slice)).collect();
        let mut service = service(object, endpoints, &given)?;
        service.elsewhere = topology::elsewhere(&slices, node, zone);
        Some((name, Arc::new(service)))
    });
    Snapshot { services: services.collect(), complete: true, generation: view.generation }
}

/// Of the VIPs that this node can serve, those that the network is told of: all that the cluster has
/// given out, and the `externalIPs` that are within what the configuration allows. Anybody who may
/// write a service may ask for any address by those.
pub(crate) fn announced(view: &View, vips: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let allowed = bgp::configuration(view).service_external_ips;
    let assigned: BTreeSet<IpAddr> =
        view.services.values().flat_map(|object| assigned(object)).collect();
    let is_announced = |address: &&IpAddr| {
        assigned.contains(*address) || allowed.iter().any(|range| range.contains(**address))
    };
    vips.iter().filter(is_announced).copied().collect()
}

/// The addresses that services have been given: `externalIPs` of others do not take them.
fn given(view: &View) -> BTreeSet<IpAddr> {
    let of = |object: &Arc<core::Service>| {
        let mut given = assigned(object);
        given.extend(cluster_ips(object));
        given
    };
    view.services.values().flat_map(of).collect()
}

/// What the service has of VIPPools.
fn assigned(object: &core::Service) -> Vec<IpAddr> {
    let type_ = object.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    let ingress = object.status.as_ref().and_then(|status| {
        status.load_balancer.as_ref().and_then(|balancer| balancer.ingress.as_ref())
    });
    let ingress = ingress.filter(|_| type_ == Some("LoadBalancer"));
    let texts = ingress.into_iter().flatten().filter_map(|one| one.ip.as_deref());
    texts.filter_map(|ip| ip.parse().ok()).collect()
}

fn cluster_ips(object: &core::Service) -> Vec<IpAddr> {
    let Some(spec) = &object.spec else { return Vec::new() };
    match &spec.cluster_ips {
        Some(ips) => addresses(ips).collect(),
        None => addresses(spec.cluster_ip.as_slice()).collect(),
    }
}

pub(super) fn service_of(slice: &EndpointSlice) -> Option<ServiceName> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_LABEL)?.clone();
    Some(ServiceName { namespace: slice.metadata.namespace.clone()?, name })
}

/// `None` for a service that is not for the balancer: headless, or a name for something outside.
fn service(
    object: &core::Service,
    endpoints: Vec<Endpoint>,
    given: &BTreeSet<IpAddr>,
) -> Option<Service> {
    let spec = object.spec.as_ref()?;
    let type_ = spec.type_.as_deref().unwrap_or("ClusterIP");
    if type_ == "ExternalName" {
        return None;
    }
    let cluster_ips = cluster_ips(object);
    let external_ips: BTreeSet<IpAddr> =
        addresses(spec.external_ips.as_deref().unwrap_or_default())
            .filter(|address| !given.contains(address))
            .collect();
    let vips: BTreeSet<IpAddr> = external_ips.iter().copied().chain(assigned(object)).collect();
    if cluster_ips.is_empty() && vips.is_empty() {
        return None;
    }
    let with_node_ports = type_ != "ClusterIP";
    let ports = spec.ports.iter().flatten();
    Some(Service {
        cluster_ips,
        vips,
        external_ips,
        ports: ports.filter_map(|port| service_port(port, with_node_ports)).collect(),
        internal_traffic_policy: policy(spec.internal_traffic_policy.as_deref()),
        external_traffic_policy: policy(spec.external_traffic_policy.as_deref()),
        endpoints,
        elsewhere: BTreeSet::new(),
    })
}

/// The API validates addresses; `None` as a cluster IP is no address.
fn addresses(texts: &[String]) -> impl Iterator<Item = IpAddr> {
    texts.iter().filter_map(|text| text.parse().ok())
}

fn policy(text: Option<&str>) -> TrafficPolicy {
    if text == Some("Local") { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

/// `None` for a protocol that the balancer does not know.
fn service_port(port: &core::ServicePort, with_node_port: bool) -> Option<ServicePort> {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some(_) => return None,
    };
    let node_port = port.node_port.filter(|number| with_node_port && *number != 0);
    Some(ServicePort {
        name: port.name.clone().unwrap_or_default(),
        protocol,
        port: port.port.try_into().ok()?,
        node_port: node_port.and_then(|number| number.try_into().ok()),
    })
}

fn slice_endpoints(slice: &EndpointSlice) -> impl Iterator<Item = Endpoint> {
    let numbered = slice.ports.iter().flatten().filter_map(|port| {
        Some((port.name.clone().unwrap_or_default(), u16::try_from(port.port?).ok()?))
    });
    let ports: BTreeMap<String, u16> = numbered.collect();
    slice.endpoints.iter().flatten().flat_map(move |one| endpoint(one, &ports))
}

/// All addresses of an endpoint are the same endpoint, and the API wants clients to use the first.
fn endpoint(one: &ApiEndpoint, ports: &BTreeMap<String, u16>) -> Option<Endpoint> {
    let address = one.addresses.first()?.parse().ok()?;
    let conditions = one.conditions.as_ref();
    // What is not said means ready, and serving where ready (discovery/v1, EndpointConditions).
    let ready = conditions.and_then(|all| all.ready).unwrap_or(true);
    Some(Endpoint {
        address,
        ports: ports.clone(),
        node: one.node_name.clone(),
        ready,
        serving: conditions.and_then(|all| all.serving).unwrap_or(ready),
        terminating: conditions.and_then(|all| all.terminating).unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(service: serde_json::Value, slice: serde_json::Value) -> View {
        let mut view = View::default();
        view.services.insert("a/s".into(), Arc::new(serde_json::from_value(service).unwrap()));
        view.slices.insert("a/s-1".into(), Arc::new(serde_json::from_value(slice).unwrap()));
        view
    }

    fn slice() -> serde_json::Value {
        json!({
            "metadata": {"name": "s-1", "namespace": "a", "labels": {SERVICE_LABEL: "s"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "n", "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions":
                    {"ready": false, "serving": true, "terminating": true}},
            ],
        })
    }

    #[test]
    fn a_load_balancer_with_its_endpoints() {
        let service = json!({
            "metadata": {"name": "s", "namespace": "a"},
            "spec": {
                "type": "LoadBalancer", "clusterIPs": ["10.96.0.1", "fd00::1"],
                "externalTrafficPolicy": "Local",
                "ports": [{"name": "http", "port": 80, "nodePort": 30000}],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
        });
        let snapshot = snapshot(&view(service, slice()), "n");
        let (name, service) = snapshot.services.first_key_value().unwrap();
        assert_eq!(name.to_string(), "a/s");
        assert_eq!((service.cluster_ips.len(), service.vips.len()), (2, 1));
        assert_eq!(service.external_traffic_policy, TrafficPolicy::Local);
        assert_eq!(service.ports[0].node_port, Some(30000));
        let [first, second] = &service.endpoints[..] else { panic!("{service:?}") };
        assert!(first.ready && first.serving && first.ports["http"] == 8080);
        assert!(!second.ready && second.serving && second.terminating);
    }

    #[test]
    fn headless_services_are_left_out() {
        let service = json!({
            "metadata": {"name": "s", "namespace": "a"},
            "spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]},
        });
        assert!(snapshot(&view(service, slice()), "n").services.is_empty());
    }

    fn with_services(services: &[serde_json::Value]) -> View {
        let mut view = View::default();
        for service in services {
            let name = service["metadata"]["name"].as_str().unwrap();
            let object = serde_json::from_value(service.clone()).unwrap();
            view.services.insert(format!("a/{name}"), Arc::new(object));
        }
        view
    }

    fn external(name: &str, addresses: &[&str]) -> serde_json::Value {
        json!({
            "metadata": {"name": name, "namespace": "a"},
            "spec": {"clusterIPs": ["10.96.0.9"], "externalIPs": addresses,
                "ports": [{"port": 80}]},
        })
    }

    fn balanced() -> serde_json::Value {
        json!({
            "metadata": {"name": "z", "namespace": "a"},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"],
                "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
        })
    }

    #[test]
    fn external_ips_are_announced_within_what_is_allowed_only() {
        let mut view = with_services(&[
            external("s", &["192.0.2.7", "198.51.100.7", "2001:db8::7"]),
            balanced(),
        ]);
        let vips: BTreeSet<IpAddr> = snapshot(&view, "n")
            .services
            .values()
            .flat_map(|service| service.vips.clone())
            .collect();
        assert_eq!(vips.len(), 4);
        let text = |view: &View| -> Vec<String> {
            announced(view, &vips).iter().map(ToString::to_string).collect()
        };
        assert_eq!(text(&view), ["203.0.113.1"]);
        let configuration = json!({
            "apiVersion": "viaduct.dev/v1alpha1", "kind": "BGPConfiguration",
            "metadata": {"name": "default"},
            "spec": {"asn": 64512, "serviceExternalIPs": ["198.51.100.0/24", "2001:db8::/64"]},
        });
        let configuration = serde_json::from_value(configuration).unwrap();
        view.configurations.insert("default".into(), Arc::new(configuration));
        assert_eq!(text(&view), ["198.51.100.7", "203.0.113.1", "2001:db8::7"]);
    }

    #[test]
    fn external_ips_take_no_address_that_a_service_has_been_given() {
        // By name the first, of two that want one address.
        let view =
            with_services(&[external("s", &["203.0.113.1", "10.96.0.1", "192.0.2.7"]), balanced()]);
        let snapshot = snapshot(&view, "n");
        let [first, second] = [0, 1].map(|at| snapshot.services.values().nth(at).unwrap());
        let only = BTreeSet::from(["192.0.2.7".parse().unwrap()]);
        assert_eq!((&first.vips, &first.external_ips), (&only, &only));
        assert_eq!(second.vips, BTreeSet::from(["203.0.113.1".parse().unwrap()]));
        assert!(second.external_ips.is_empty());
    }
}
