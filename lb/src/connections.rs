//! Connections that are open, counted from what the programs remember of them.
//!
//! They are counted when somebody asks, not by the programs: a counter would cost every connect and
//! every close, and would drift, since an entry that a full table evicts tells nobody. What the
//! tables hold cannot. Reading them costs about 0.1 µs an entry, at most once in [`FRESH`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ebpf_abi::{Address, FlowFlags, FlowKey, FlowValue, NodeConfig, SocketOrigin};
use lb_maps::{MapError, Maps};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::Mutex;
use tracing::warn;
use viaduct_api::admin::{FrontendStatus, ServiceStatus};

/// For how long a count serves whoever asks.
const FRESH: Duration = Duration::from_millis(500);

/// A frontend's address, port in network byte order and protocol; a node port's address is the
/// wildcard.
type Place = (Address, u16, u8);

/// How many connections each backend has through each frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open(BTreeMap<(Place, u32), u64>);

impl Open {
    fn add(&mut self, place: Place, backend: u32) {
        *self.0.entry((place, backend)).or_default() += 1;
    }

    /// A socket of this node.
    fn add_socket(&mut self, origin: &SocketOrigin, node: &BTreeSet<Address>) {
        let place = (frontend(origin.address, node), origin.port_be, origin.protocol);
        self.add(place, origin.backend);
    }

    /// An entry of the flows from outside, of which each flow has two.
    fn add_flow(
        &mut self,
        key: &FlowKey,
        flow: &FlowValue,
        config: &NodeConfig,
        now_nanos: u64,
        node: &BTreeSet<Address>,
    ) {
        let is_reply = flow.flags.has(FlowFlags::REPLY);
        if !is_reply && ebpf_datapath::is_open(flow, key.protocol, config, now_nanos) {
            let address = frontend(key.destination, node);
            self.add((address, key.destination_port_be, key.protocol), flow.backend);
        }
    }

    /// Enters the counts of this frontend's backends.
    fn fill(&self, frontend: &mut FrontendStatus) {
        let protocol = match frontend.protocol.as_str() {
            "UDP" => ebpf_abi::PROTOCOL_UDP,
            _ => ebpf_abi::PROTOCOL_TCP,
        };
        let address = frontend.address;
        let place = (Address::from(address.ip()), address.port().to_be(), protocol);
        for backend in &mut frontend.backends {
            backend.connections = self.0.get(&(place, backend.id)).copied().unwrap_or(0);
        }
    }
}

fn frontend(address: Address, node: &BTreeSet<Address>) -> Address {
    if node.contains(&address) { address.unspecified() } else { address }
}

#[derive(Clone, Debug)]
struct Latest {
    at: Instant,
    open: Arc<Open>,
}

/// Counts, for all who ask.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    maps: Maps,
    /// By which node ports are reached.
    node: Arc<BTreeSet<Address>>,
    latest: Arc<Mutex<Option<Latest>>>,
}

impl Counter {
    pub(crate) fn new(maps: Maps, node: &BTreeSet<IpAddr>) -> Self {
        let node = node.iter().map(|address| Address::from(*address)).collect();
        Self { maps, node: Arc::new(node), latest: Arc::default() }
    }

    /// Enters what is open into these rows.
    pub(crate) async fn fill(&self, services: &mut [ServiceStatus]) {
        let open = match self.open().await {
            Ok(open) => open,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "connections not counted");
                return services.iter_mut().for_each(|one| one.connections_approximate = true);
            }
        };
        for frontend in services.iter_mut().flat_map(|service| &mut service.frontends) {
            open.fill(frontend);
        }
    }

    /// Held over the whole of it: those who ask at the same time get one count.
    async fn open(&self) -> Result<Arc<Open>, MapError> {
        let mut latest = self.latest.lock().await;
        if let Some(latest) = &*latest
            && latest.at.elapsed() < FRESH
        {
            return Ok(latest.open.clone());
        }
        let (maps, node) = (self.maps.clone(), self.node.clone());
        // Tables that are full take some ten milliseconds.
        let counted = tokio::task::spawn_blocking(move || count(&maps, &node)).await;
        let open = match counted {
            Ok(open) => Arc::new(open?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        *latest = Some(Latest { at: Instant::now(), open: open.clone() });
        Ok(open)
    }
}

fn count(maps: &Maps, node: &BTreeSet<Address>) -> Result<Open, MapError> {
    let mut open = Open::default();
    maps.connections.visit(|_cookie, origin| open.add_socket(&origin, node))?;
    let (config, now_nanos) = (maps.config()?, monotonic_nanos());
    maps.flows_established
        .visit(|key, flow| open.add_flow(&key, &flow, &config, now_nanos, node))?;
    Ok(open)
}

/// The clock of `bpf_ktime_get_ns`.
fn monotonic_nanos() -> u64 {
    // Every Linux has it; at 0 all flows would count as alive.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ebpf_abi::{PROTOCOL_TCP, PROTOCOL_UDP};
    use viaduct_api::admin::BackendStatus;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn address(last: u8) -> Address {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn flow(flags: u16, backend: u32, seen_secs: u64) -> FlowValue {
        let last_seen_nanos = seen_secs * SECOND;
        FlowValue { flags: FlowFlags(flags), backend, last_seen_nanos, ..FlowValue::default() }
    }

    #[test]
    fn what_is_over_or_the_other_direction_is_not_counted() {
        let key = |protocol| FlowKey {
            destination: address(1),
            destination_port_be: 80_u16.to_be(),
            protocol,
            ..FlowKey::default()
        };
        let mut open = Open::default();
        let now = 1000 * SECOND;
        for (protocol, flags, seen_secs) in [
            (PROTOCOL_TCP, FlowFlags::SEEN, 999),
            // Silent for long, as a connection may be.
            (PROTOCOL_TCP, FlowFlags::SEEN, 1),
            (PROTOCOL_TCP, FlowFlags::SEEN | FlowFlags::CLOSING, 999),
            (PROTOCOL_TCP, FlowFlags::SEEN | FlowFlags::REPLY, 999),
            (PROTOCOL_UDP, FlowFlags::SEEN, 999),
            // A flow of UDP does not say that it ends.
            (PROTOCOL_UDP, FlowFlags::SEEN, 800),
        ] {
            let (flow, config) = (flow(flags, 7, seen_secs), NodeConfig::default());
            open.add_flow(&key(protocol), &flow, &config, now, &BTreeSet::new());
        }
        let place = |protocol| ((address(1), 80_u16.to_be(), protocol), 7);
        assert_eq!(open.0, [(place(PROTOCOL_TCP), 2), (place(PROTOCOL_UDP), 1)].into());
    }

    #[test]
    fn a_node_port_is_one_frontend_by_whatever_address() {
        let node = [address(1), address(2)].into();
        let mut open = Open::default();
        for last in [1, 2, 3] {
            let port_be = 30080_u16.to_be();
            let protocol = PROTOCOL_TCP;
            let origin =
                SocketOrigin { address: address(last), port_be, protocol, reserved: 0, backend: 7 };
            open.add_socket(&origin, &node);
        }
        let mut row = FrontendStatus {
            kind: "NodePort".to_owned(),
            address: "0.0.0.0:30080".parse().unwrap(),
            protocol: "TCP".to_owned(),
            port_name: None,
            backends: vec![BackendStatus {
                address: "10.244.0.1:8080".parse().unwrap(),
                node: None,
                id: 7,
                state: "active".to_owned(),
                why: None,
                connections: 0,
            }],
            programmed: true,
        };
        open.fill(&mut row);
        assert_eq!(row.backends[0].connections, 2);
        row.protocol = "UDP".to_owned();
        open.fill(&mut row);
        assert_eq!(row.backends[0].connections, 0);
    }
}
