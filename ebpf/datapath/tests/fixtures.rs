//! Runs the fixtures on the host, against maps and a packet in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod memory;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Result;
use ebpf_abi::{Counter, ReplyBudget};
use ebpf_datapath::{Tuple, Verdict, pod, uplink};
use ebpf_fixtures::{At, Contents, Ended, FOLDER, Fixture, Machine, Outcome};
use memory::{Frame, Maps};

/// The interface number of the pod's veth.
const VETH: u32 = 7;

/// Of the socket programs: no packet leads to them.
const OF_SOCKETS: [Counter; 2] = [Counter::SocketTranslated, Counter::SocketRefused];

impl Machine for Maps {
    const ROUTES: bool = false;

    fn forget(&mut self) -> Result<()> {
        *self = Self::default();
        Ok(())
    }

    fn fill(&mut self, contents: &Contents) -> Result<()> {
        self.addresses = contents.addresses.clone();
        self.services = contents.services.clone();
        self.backends = contents.backends.clone();
        self.maglev = contents.places.clone();
        self.sources = contents.sources.keys().copied().collect();
        self.pods = BTreeMap::from([(VETH, contents.pod)]);
        self.config = contents.config;
        Ok(())
    }

    fn age(&mut self, seconds: u64) -> Result<bool> {
        self.now_nanos.set(self.now_nanos.get() + seconds * 1_000_000_000);
        Ok(true)
    }

    fn handle(&mut self, at: At, frame: &[u8], refusals_spent: bool) -> Result<Option<Outcome>> {
        let second = self.now_nanos.get() / 1_000_000_000;
        let sent = if refusals_spent { u64::MAX / 2 } else { 0 };
        *self.budget.borrow_mut() = ReplyBudget { second, sent };
        self.counted.borrow_mut().clear();
        let mut frame = Frame(frame.to_vec());
        let mut tuple = Tuple::default();
        let verdict = match at {
            At::Uplink => uplink::ingress(&mut frame, &mut tuple, self),
            At::Egress => uplink::egress(&mut frame, &mut tuple, self),
            At::Pod => pod::ingress(&mut frame, &mut tuple, self, VETH),
        };
        let mut counted = BTreeMap::new();
        for counter in self.counted.borrow().iter() {
            *counted.entry(*counter).or_default() += 1;
        }
        let verdict = match verdict {
            Verdict::Pass => ebpf_fixtures::Verdict::Pass,
            Verdict::Deliver => ebpf_fixtures::Verdict::Deliver,
            Verdict::Forward => ebpf_fixtures::Verdict::Forward,
            Verdict::Return => ebpf_fixtures::Verdict::Return,
            // Counted by the programs as they conclude.
            Verdict::Drop(counter) => {
                *counted.entry(counter).or_default() += 1;
                ebpf_fixtures::Verdict::Drop
            }
        };
        Ok(Some(Outcome { verdict, frame: frame.0, counted }))
    }
}

fn all() -> BTreeMap<String, Fixture> {
    ebpf_fixtures::all(Path::new(FOLDER)).unwrap()
}

#[test]
fn every_packet_becomes_what_its_fixture_says() {
    let mut maps = Maps::default();
    let mut faults = Vec::new();
    for (name, fixture) in all() {
        let packets = fixture.packets.len();
        match ebpf_fixtures::run(&fixture, &mut maps) {
            Ok(ended) => assert_eq!(ended, Ended::Whole { handled: packets, untaken: 0 }),
            Err(error) => faults.push(format!("{name}: {error:#}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_counter_of_packets_is_reached() {
    let mut reached = BTreeSet::new();
    for step in all().values().flat_map(|fixture| &fixture.packets) {
        reached.extend(step.counters.keys().cloned());
        if step.unrouted {
            reached.insert(Counter::DroppedNoRoute.name().to_owned());
        }
    }
    let wanted = Counter::ALL.into_iter().filter(|counter| !OF_SOCKETS.contains(counter));
    let missing: Vec<_> =
        wanted.map(Counter::name).filter(|name| !reached.contains(*name)).collect();
    assert!(missing.is_empty(), "no fixture counts {missing:?}");
}
