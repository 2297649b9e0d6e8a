use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use ebpf_abi::ServiceKey;
use lb_plan::{
    BackendState, Balancer, Desired, Endpoint, Frontend, Mask, Masks, Node, Protocol, Service,
    ServiceName, Snapshot,
};
use viaduct_api::admin::{BackendStatus, FrontendStatus, ServiceStatus};

/// What there is to be told of.
pub(crate) struct Picture<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) desired: &'a Desired,
    pub(crate) balancer: &'a Balancer,
    pub(crate) node: &'a Node,
    pub(crate) masks: &'a Masks,
    pub(crate) now: Duration,
}

impl Picture<'_> {
    /// Every service beside what the maps hold of it.
    pub(crate) fn services(&self) -> Vec<ServiceStatus> {
        let mut frontends: BTreeMap<&ServiceName, Vec<FrontendStatus>> = BTreeMap::new();
        for (key, frontend) in &self.desired.frontends {
            let Some(service) = self.snapshot.services.get(&frontend.service) else { continue };
            let programmed = self.balancer.is_programmed(key, frontend);
            let rows = frontends.entry(&frontend.service).or_default();
            let row = self.row(key, frontend, service, programmed);
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
        self.snapshot.services.keys().map(status).collect()
    }

    fn row(
        &self,
        key: &ServiceKey,
        frontend: &Frontend,
        service: &Service,
        programmed: bool,
    ) -> FrontendStatus {
        let address = SocketAddr::new(key.address.into(), u16::from_be(key.port_be));
        let protocol = match key.protocol {
            ebpf_abi::PROTOCOL_UDP => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        let masked = self.count_masked(frontend, service);
        let mut backends: Vec<BackendStatus> = service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.address.is_ipv4() == address.is_ipv4())
            .filter_map(|endpoint| self.backend(endpoint, frontend, masked))
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
    fn backend(
        &self,
        endpoint: &Endpoint,
        frontend: &Frontend,
        masked: usize,
    ) -> Option<BackendStatus> {
        let port = *endpoint.ports.get(&frontend.port_name)?;
        let address = SocketAddr::new(endpoint.address, port);
        let state = BackendState::of(endpoint);
        // One that gets no flows anyway has its own reason.
        let (state, why) = match self.mask(endpoint).filter(|_| state == BackendState::Active) {
            Some((node, mask)) if is_in_use(frontend, &address) => {
                let of = frontend.backends.len();
                let why = format!("{}, as {masked} of {of} are", self.why(node, mask));
                (state.name(), Some(why))
            }
            Some((node, mask)) => ("masked", Some(self.why(node, mask))),
            None => (state.name(), None),
        };
        Some(BackendStatus {
            address,
            node: endpoint.node.clone(),
            id: self.balancer.backend_id(&address).unwrap_or(ebpf_abi::BACKEND_NONE),
            state: state.to_owned(),
            why,
            // Counted by those who are asked for it.
            connections: 0,
        })
    }

    fn why(&self, node: &str, mask: Mask) -> String {
        let Mask { cause, until } = mask;
        match until {
            None => format!("node {node} lost ({cause})"),
            Some(until) => {
                let left = until.saturating_sub(self.now).as_secs_f32();
                format!("node {node} was lost ({cause}), is back and stays masked for {left:.1} s")
            }
        }
    }

    /// As [`lb_plan::expand`] has it: a node is never masked for itself.
    fn mask<'a>(&self, endpoint: &'a Endpoint) -> Option<(&'a str, Mask)> {
        let node = endpoint.node.as_deref().filter(|node| *node != self.node.name)?;
        Some((node, self.masks.mask(node)?))
    }

    /// How many of the backends that a frontend has are on masked nodes.
    fn count_masked(&self, frontend: &Frontend, service: &Service) -> usize {
        let masked = service.endpoints.iter().filter(|endpoint| self.mask(endpoint).is_some());
        let addresses = masked.filter_map(|endpoint| {
            Some(SocketAddr::new(endpoint.address, *endpoint.ports.get(&frontend.port_name)?))
        });
        addresses.filter(|address| is_in_use(frontend, address)).count()
    }
}

/// Whether new flows go to it.
fn is_in_use(frontend: &Frontend, address: &SocketAddr) -> bool {
    frontend.backends.binary_search(address).is_ok()
}
