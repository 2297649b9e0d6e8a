//! Services: their addresses from the store, and from all nodes together what is open through them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde::Serialize;
use serde_json::Value;
use viaduct_api::admin::ServiceStatus;

use super::{AllSeen, Objects, items, text};
use crate::object;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    namespace: String,
    name: String,
    kind: String,
    cluster_ips: Vec<String>,
    vips: Vec<String>,
    /// `80/TCP`.
    ports: Vec<String>,
    /// Open connections by the way that clients came: `ClusterIP`, `NodePort`, `LoadBalancer`.
    ways: BTreeMap<String, u64>,
    backends: Vec<Backend>,
    connections: u64,
    approximate: bool,
    /// Nodes whose kernel does not have the service as it should be.
    not_programmed: BTreeSet<String>,
}

/// A pod behind a service, or an address where no pod has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Backend {
    name: String,
    node: Option<String>,
    addresses: BTreeSet<SocketAddr>,
    /// `active`, `terminating` or `unready`; that of a node which has it best.
    state: String,
    connections: u64,
}

pub(super) fn services(objects: &Objects, seen: &AllSeen<'_>) -> Vec<Service> {
    let mut pods = BTreeMap::new();
    for pod in &objects.pods {
        for ip in items(&pod["status"], "podIPs") {
            pods.insert(text(ip, "ip"), object::name(pod));
        }
    }
    let mut told = BTreeMap::<(&str, &str), Vec<(&str, &ServiceStatus)>>::new();
    for (node, seen) in seen {
        for status in seen.current().iter().flat_map(|report| &report.services) {
            let key = (status.namespace.as_str(), status.name.as_str());
            told.entry(key).or_default().push((node, status));
        }
    }
    let of = |object: &Value| {
        let mut service = described(object);
        let mut backends = BTreeMap::new();
        let key = (object::namespace(object), object::name(object));
        for (node, status) in told.get(&key).into_iter().flatten() {
            add(&mut service, &mut backends, node, status, &pods);
        }
        service.backends = backends.into_values().collect();
        service.connections = service.backends.iter().map(|backend| backend.connections).sum();
        service
    };
    objects.services.iter().map(of).collect()
}

fn described(object: &Value) -> Service {
    let spec = &object["spec"];
    let port = |port: &Value| format!("{}/{}", port["port"], text(port, "protocol"));
    Service {
        namespace: object::namespace(object).to_owned(),
        name: object::name(object).to_owned(),
        kind: text(spec, "type").to_owned(),
        cluster_ips: items(spec, "clusterIPs")
            .filter_map(|ip| ip.as_str().map(str::to_owned))
            .collect(),
        vips: items(&object["status"]["loadBalancer"], "ingress")
            .map(|ingress| text(ingress, "ip").to_owned())
            .collect(),
        ports: items(spec, "ports").map(port).collect(),
        ways: BTreeMap::new(),
        backends: Vec::new(),
        connections: 0,
        approximate: false,
        not_programmed: BTreeSet::new(),
    }
}

/// Adds what one node has led to the service.
fn add(
    service: &mut Service,
    backends: &mut BTreeMap<String, Backend>,
    node: &str,
    status: &ServiceStatus,
    pods: &BTreeMap<&str, &str>,
) {
    service.approximate |= status.connections_approximate;
    for frontend in &status.frontends {
        if !frontend.programmed {
            service.not_programmed.insert(node.to_owned());
        }
        let way = service.ways.entry(frontend.kind.clone()).or_default();
        for told in &frontend.backends {
            *way += told.connections;
            let ip = told.address.ip().to_string();
            let name = match pods.get(ip.as_str()) {
                Some(pod) => (*pod).to_owned(),
                None => told.address.to_string(),
            };
            let backend = backends.entry(name.clone()).or_insert_with(|| Backend {
                name,
                node: told.node.clone(),
                addresses: BTreeSet::new(),
                state: told.state.clone(),
                connections: 0,
            });
            backend.addresses.insert(told.address);
            backend.connections += told.connections;
            // `active` is the first in the alphabet, `unready` the last.
            if told.state < backend.state {
                backend.state.clone_from(&told.state);
            }
        }
    }
}
