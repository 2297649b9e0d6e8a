//! Runs the fixtures on the host, against maps and a packet in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::{cell::RefCell, collections::BTreeMap, path::Path};

use ebpf_abi::{
    ADDRESS_NODE, ADDRESS_SERVICE, ADDRESS_VIP, Address, BACKEND_LOCAL, BackendValue, Counter,
    FlowKey, FlowValue, NodeConfig, PROTOCOL_TCP, PROTOCOL_UDP, PodValue, ReplyBudget,
    SCOPE_EXTERNAL, SERVICE_DROP_WHEN_EMPTY, ServiceKey, ServiceValue,
};
use ebpf_datapath::{
    Difference, Flows, Layer4Sum, Packet, Services, Stage, Tuple, Verdict, pod, uplink,
};
use fixture::Fixture;

/// The interface number of the pod's veth.
const VETH: u32 = 7;

/// A frame in memory, whose checksums are whole: none is left to a device.
struct Frame(Vec<u8>);

impl Frame {
    fn sum_at(&self, offset: u32) -> u16 {
        let offset = offset as usize;
        u16::from_ne_bytes([self.0[offset], self.0[offset + 1]])
    }

    fn set_sum_at(&mut self, offset: u32, sum: u16) {
        let offset = offset as usize;
        self.0[offset..offset + 2].copy_from_slice(&sum.to_ne_bytes());
    }
}

impl Packet for Frame {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let offset = offset as usize;
        self.0.get(offset..offset + N)?.try_into().ok()
    }

    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N], _in_sum: bool) -> bool {
        let offset = offset as usize;
        let Some(place) = self.0.get_mut(offset..offset + N) else { return false };
        place.copy_from_slice(bytes);
        true
    }

    fn mend_layer3(&mut self, offset: u32, difference: Difference) -> bool {
        self.set_sum_at(offset, difference.apply(self.sum_at(offset)));
        true
    }

    fn mend_layer4(&mut self, offset: u32, difference: Difference, sum: Layer4Sum) -> bool {
        let old = self.sum_at(offset);
        if sum.zero_is_none && old == 0 {
            return true;
        }
        let new = difference.apply(old);
        self.set_sum_at(offset, if sum.zero_is_none && new == 0 { 0xffff } else { new });
        true
    }

    fn resize(&mut self, length: u32) -> bool {
        self.0.resize(length as usize, 0);
        true
    }
}

#[derive(Default)]
struct Maps {
    services: BTreeMap<ServiceKey, ServiceValue>,
    maglev: Vec<u32>,
    backends: BTreeMap<u32, BackendValue>,
    addresses: BTreeMap<Address, u32>,
    pods: BTreeMap<u32, PodValue>,
    config: NodeConfig,
    flows: RefCell<BTreeMap<(Stage, FlowKey), FlowValue>>,
    budget: RefCell<ReplyBudget>,
    counted: RefCell<Vec<Counter>>,
}

impl Maps {
    fn new(fixture: &Fixture) -> Self {
        let mut maps = Self::default();
        for (address, kind) in &fixture.addresses {
            let flags = match kind.as_str() {
                "vip" => ADDRESS_SERVICE | ADDRESS_VIP,
                "node" => ADDRESS_NODE,
                _ => panic!("{kind}"),
            };
            maps.addresses.insert((*address).into(), flags);
        }
        for service in &fixture.services {
            let offset = maps.maglev.len() as u32;
            for backend in &service.backends {
                let id = maps.backends.len() as u32 + 1;
                let flags = if backend.local { BACKEND_LOCAL } else { 0 };
                let (address, port_be) = (backend.address.ip().into(), backend.address.port());
                let value = BackendValue { address, port_be: port_be.to_be(), flags };
                maps.backends.insert(id, value);
                maps.maglev.push(id);
            }
            let key = ServiceKey {
                address: service.frontend.ip().into(),
                port_be: service.frontend.port().to_be(),
                protocol: protocol(&service.protocol),
                scope: SCOPE_EXTERNAL,
            };
            let length = service.backends.len() as u32;
            let flags = if service.drop_when_empty { SERVICE_DROP_WHEN_EMPTY } else { 0 };
            let value = ServiceValue { offset, length, generation: 1, flags };
            maps.services.insert(key, value);
        }
        let mut pod = PodValue::default();
        for address in &fixture.pod {
            let place = if address.is_ipv4() { &mut pod.v4 } else { &mut pod.v6 };
            *place = (*address).into();
        }
        maps.pods.insert(VETH, pod);
        if let Some(node) = &fixture.node {
            (maps.config.nat_port_first, maps.config.nat_port_last) = node.nat_ports;
            for address in &node.addresses {
                let config = &mut maps.config;
                let place =
                    if address.is_ipv4() { &mut config.node_v4 } else { &mut config.node_v6 };
                *place = (*address).into();
            }
        }
        maps
    }
}

fn protocol(name: &str) -> u8 {
    match name {
        "tcp" => PROTOCOL_TCP,
        "udp" => PROTOCOL_UDP,
        _ => panic!("{name}"),
    }
}

impl Services for Maps {
    fn service(&self, key: &ServiceKey) -> Option<ServiceValue> {
        self.services.get(key).copied()
    }

    fn maglev(&self, index: u32) -> Option<u32> {
        self.maglev.get(index as usize).copied()
    }

    fn backend(&self, id: u32) -> Option<BackendValue> {
        self.backends.get(&id).copied()
    }

    fn address(&self, address: &Address) -> u32 {
        self.addresses.get(address).copied().unwrap_or_default()
    }

    fn count(&self, counter: Counter) {
        self.counted.borrow_mut().push(counter);
    }
}

impl Flows for Maps {
    fn visit_flow<R>(
        &self,
        stage: Stage,
        key: &FlowKey,
        visit: impl FnOnce(&mut FlowValue) -> R,
    ) -> Option<R> {
        self.flows.borrow_mut().get_mut(&(stage, *key)).map(visit)
    }

    fn insert_flow(&self, stage: Stage, key: &FlowKey, value: &FlowValue) -> bool {
        let mut flows = self.flows.borrow_mut();
        let free = !flows.contains_key(&(stage, *key));
        if free {
            flows.insert((stage, *key), *value);
        }
        free
    }

    fn remove_flow(&self, stage: Stage, key: &FlowKey) {
        self.flows.borrow_mut().remove(&(stage, *key));
    }

    fn config(&self) -> Option<&NodeConfig> {
        Some(&self.config)
    }

    fn pod(&self, ifindex: u32) -> Option<&PodValue> {
        self.pods.get(&ifindex)
    }

    fn visit_budget<R>(&self, visit: impl FnOnce(&mut ReplyBudget) -> R) -> Option<R> {
        Some(visit(&mut self.budget.borrow_mut()))
    }

    fn now_nanos(&self) -> u64 {
        0
    }
}

fn describe(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Deliver => "deliver".to_owned(),
        Verdict::Forward => "forward".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Drop(counter) => format!("drop {}", counter.name()),
    }
}

#[test]
fn every_packet_becomes_what_its_fixture_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for (file, fixture) in fixture::all(&folder) {
        let maps = Maps::new(&fixture);
        for (number, step) in fixture.packets.iter().enumerate() {
            let place = format!("{file}, packet {number}: {}", fixture.description);
            let mut frame = Frame(fixture::bytes(&step.packet));
            let mut tuple = Tuple::default();
            let verdict = match step.at.as_str() {
                "uplink" => uplink::ingress(&mut frame, &mut tuple, &maps),
                "pod" => pod::ingress(&mut frame, &mut tuple, &maps, VETH),
                at => panic!("{place}: {at}"),
            };
            assert_eq!(describe(verdict), step.verdict, "{place}");
            let expected = step.becomes.as_ref().unwrap_or(&step.packet);
            if !matches!(verdict, Verdict::Drop(_)) {
                let expected = fixture::hexadecimal(&fixture::bytes(expected));
                assert_eq!(fixture::hexadecimal(&frame.0), expected, "{place}");
            }
        }
    }
}
