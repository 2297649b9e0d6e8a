//! For which clients an endpoint is meant, where `spec.trafficDistribution` asks for it. Whether a
//! hint is heeded is for each node to see: one that finds no endpoint for itself heeds none.

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointHints, ForNode, ForZone},
};

/// What hints are made of; `None` where no client is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distribution {
    SameZone,
    SameNode,
}

impl Distribution {
    fn of(service: &Service) -> Option<Self> {
        match service.spec.as_ref()?.traffic_distribution.as_deref()? {
            // The first is the older name of the second.
            "PreferClose" | "PreferSameZone" => Some(Self::SameZone),
            "PreferSameNode" => Some(Self::SameNode),
            _ => None,
        }
    }
}

pub(super) fn fill<'a>(service: &Service, endpoints: impl Iterator<Item = &'a mut Endpoint>) {
    let Some(distribution) = Distribution::of(service) else { return };
    for endpoint in endpoints {
        // New flows go to those that are ready alone.
        let ready = endpoint.conditions.as_ref().and_then(|all| all.ready) == Some(true);
        let zone = endpoint.zone.clone().filter(|_| ready);
        let node = endpoint.node_name.clone();
        let node = node.filter(|_| ready && distribution == Distribution::SameNode);
        let hints = EndpointHints {
            for_zones: zone.map(|name| vec![ForZone { name }]),
            for_nodes: node.map(|name| vec![ForNode { name }]),
        };
        endpoint.hints = (hints != EndpointHints::default()).then_some(hints);
    }
}
