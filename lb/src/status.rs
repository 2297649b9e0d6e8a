use std::{collections::BTreeMap, net::SocketAddr};

use ebpf_abi::ServiceKey;
use lb_plan::{
    BackendState, Balancer, Desired, Endpoint, Frontend, Protocol, Service, ServiceName, Snapshot,
};
use viaduct_api::admin::{BackendStatus, FrontendStatus, ServiceStatus};

/// Every service beside what the maps hold of it.
pub(crate) fn services(
    snapshot: &Snapshot,
    desired: &Desired,
    balancer: &Balancer,
) -> Vec<ServiceStatus> {
    let mut frontends: BTreeMap<&ServiceName, Vec<FrontendStatus>> = BTreeMap::new();
    for (key, frontend) in &desired.frontends {
        let Some(service) = snapshot.services.get(&frontend.service) else { continue };
        let programmed = balancer.is_programmed(key, frontend);
        let rows = frontends.entry(&frontend.service).or_default();
        let row = row(key, frontend, service, balancer, programmed);
        // A frontend that is entered for clients inside and outside is one to the operator.
        let same = |other: &&mut FrontendStatus| {
            (&other.address, &other.protocol) == (&row.address, &row.protocol)
        };
        match rows.iter_mut().find(same) {
            Some(other) => other.programmed &= programmed,
            None => rows.push(row),
        }
    }
    let status = |name: &ServiceName| ServiceStatus {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        frontends: frontends.remove(name).unwrap_or_default(),
        connections_approximate: false,
    };
    snapshot.services.keys().map(status).collect()
}

fn row(
    key: &ServiceKey,
    frontend: &Frontend,
    service: &Service,
    balancer: &Balancer,
    programmed: bool,
) -> FrontendStatus {
    let address = SocketAddr::new(key.address.into(), u16::from_be(key.port_be));
    let protocol = match key.protocol {
        ebpf_abi::PROTOCOL_UDP => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    let mut backends: Vec<BackendStatus> = service
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.address.is_ipv4() == address.is_ipv4())
        .filter_map(|endpoint| backend(endpoint, &frontend.port_name, balancer))
        .collect();
    backends.sort_by_key(|backend| backend.address);
    FrontendStatus {
        kind: frontend.kind.name().to_owned(),
        address,
        protocol: protocol.name().to_owned(),
        port_name: Some(frontend.port_name.clone()).filter(|name| !name.is_empty()),
        backends,
        programmed,
    }
}

/// The id is 0 for one that is not entered.
fn backend(endpoint: &Endpoint, port_name: &str, balancer: &Balancer) -> Option<BackendStatus> {
    let address = SocketAddr::new(endpoint.address, *endpoint.ports.get(port_name)?);
    Some(BackendStatus {
        address,
        node: endpoint.node.clone(),
        id: balancer.backend_id(&address).unwrap_or(ebpf_abi::BACKEND_NONE),
        state: BackendState::of(endpoint).name().to_owned(),
        // Counted by those who are asked for it.
        connections: 0,
    })
}
