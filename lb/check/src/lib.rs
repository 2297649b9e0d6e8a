//! Runs the fixtures of `ebpf-fixtures` on the programs in the kernel (BPF_PROG_TEST_RUN): in a namespace of
//! the host by this crate's tests, and by `vm-check` on other kernels.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use ebpf_abi::{ABI_VERSION, Counter, Plain, SERVICE_MARK};
use ebpf_fixtures::{At, Contents, Ended, Fixture, Machine, Outcome, Verdict};
use lb_maps::{DataPlane, Interface, Maps, Options, Table, TestRun};
use nix::time::{ClockId, clock_gettime};
use viaduct_net::IfIndex;

const ACTION_UNSPEC: i32 = -1;
const ACTION_OK: i32 = 0;
const ACTION_SHOT: i32 = 2;
const ACTION_REDIRECT: i32 = 7;

/// The loaded programs, with maps that nobody else writes to.
pub struct Kernel {
    data_plane: DataPlane,
    maps: Maps,
    /// Second and number sent, as `ebpf_abi::ReplyBudget`.
    replies: PerCpuArray<MapData, [u64; 2]>,
    uplink: IfIndex,
    pod: IfIndex,
}

impl Kernel {
    /// Runs what comes by two interfaces of the calling thread's namespace, which forward and route all
    /// but `ebpf_fixtures::UNROUTED`.
    pub fn load(options: &Options, uplink: IfIndex, pod: IfIndex) -> Result<Self> {
        let data_plane = DataPlane::load(options)?;
        let maps = data_plane.maps();
        let pins = options.pin_dir.join(format!("v{ABI_VERSION}/maps"));
        let replies = Map::PerCpuArray(MapData::from_pin(pins.join(ebpf_abi::map::REPLIES))?);
        Ok(Self { data_plane, maps, replies: PerCpuArray::try_from(replies)?, uplink, pod })
    }

    fn set_budget(&mut self, second: u64, refusals_spent: bool) -> Result<()> {
        let sent = if refusals_spent { u64::MAX / 2 } else { 0 };
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
        let budget = PerCpuValues::try_from(vec![[second, sent]; cpus])?;
        Ok(self.replies.set(0, budget, 0)?)
    }

    /// Runs the classifier of a place once; `None` where the kernel takes no such frame.
    fn run_once(&mut self, at: At, frame: &[u8]) -> Result<Option<Outcome>> {
        let (interface, ifindex) = match at {
            At::Uplink => (Interface::Uplink, self.uplink),
            At::Egress => (Interface::Egress, self.uplink),
            At::Pod => (Interface::Pod, self.pod),
        };
        let before = self.maps.counters.read()?;
        let run = match self.data_plane.test_run(interface, ifindex, frame) {
            Ok(run) => run,
            Err(_) if ends_within_ip(frame) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let after = self.maps.counters.read()?;
        let rise = |(counter, value): (Counter, u64)| (counter, value - before[&counter]);
        let counted: BTreeMap<_, _> = after.into_iter().map(rise).collect();
        let verdict = verdict(&run, &counted)?;
        Ok(Some(Outcome { verdict, frame: run.frame, counted }))
    }
}

impl Machine for Kernel {
    const ROUTES: bool = true;

    fn forget(&mut self) -> Result<()> {
        clear(&self.maps.flows_embryonic)?;
        clear(&self.maps.flows_established)?;
        clear(&self.maps.affinity)
    }

    fn fill(&mut self, contents: &Contents) -> Result<()> {
        let maps = &self.maps;
        maps.maglev.write(0, &contents.places)?;
        replace(&maps.backends, &contents.backends)?;
        replace(&maps.services, &contents.services)?;
        replace(&maps.sources, &contents.sources)?;
        replace(&maps.addresses, &contents.addresses)?;
        replace(&maps.pods, &BTreeMap::from([(self.pod.0, contents.pod)]))?;
        Ok(maps.set_config(&contents.config)?)
    }

    /// The clock goes as it goes; what it had shown when a packet passed is set back instead, which
    /// cannot be to before the kernel was started.
    fn age(&mut self, seconds: u64) -> Result<bool> {
        for table in [&self.maps.flows_embryonic, &self.maps.flows_established] {
            for (key, mut flow) in table.entries()? {
                let Some(nanos) = flow.last_seen_nanos.checked_sub(seconds * NANOS) else {
                    return Ok(false);
                };
                flow.last_seen_nanos = nanos;
                table.upsert(&key, &flow)?;
            }
        }
        for (key, mut value) in self.maps.affinity.entries()? {
            let Some(nanos) = value.last_seen_nanos.checked_sub(seconds * NANOS) else {
                return Ok(false);
            };
            value.last_seen_nanos = nanos;
            self.maps.affinity.upsert(&key, &value)?;
        }
        Ok(true)
    }

    fn handle(&mut self, at: At, frame: &[u8], refusals_spent: bool) -> Result<Option<Outcome>> {
        loop {
            let second = monotonic_second()?;
            self.set_budget(second, refusals_spent)?;
            let outcome = self.run_once(at, frame)?;
            // A budget that is spent is one of its second. What is refused leaves nothing behind.
            if !refusals_spent || monotonic_second()? == second {
                return Ok(outcome);
            }
        }
    }
}

const NANOS: u64 = 1_000_000_000;

/// By the clock that the programs go by.
fn monotonic_second() -> Result<u64> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.tv_sec().try_into()?)
}

/// Forwarding and returning are the same action; which of them it was is in the counters.
fn verdict(run: &TestRun, counted: &BTreeMap<Counter, u64>) -> Result<Verdict> {
    match run.action {
        ACTION_UNSPEC => Ok(Verdict::Pass),
        ACTION_OK if run.mark == SERVICE_MARK => Ok(Verdict::Deliver),
        ACTION_REDIRECT if counted[&Counter::Refused] > 0 => Ok(Verdict::Return),
        ACTION_REDIRECT if run.mark == SERVICE_MARK => Ok(Verdict::Forward),
        ACTION_SHOT => Ok(Verdict::Drop),
        action => bail!("action {action} under the mark {:#x}", run.mark),
    }
}

/// Such a frame reaches a classifier from a wire, but some kernels take none for a test run.
fn ends_within_ip(frame: &[u8]) -> bool {
    match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, rest @ ..] => rest.len() < 20,
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, rest @ ..] => rest.len() < 40,
        _ => frame.len() < 14,
    }
}

fn clear<K: Plain + Ord, V: Plain>(table: &Table<K, V>) -> Result<()> {
    for key in table.entries()?.keys() {
        table.delete(key)?;
    }
    Ok(())
}

/// Makes the table hold these entries and no other.
fn replace<K: Plain + Ord, V: Plain>(table: &Table<K, V>, entries: &BTreeMap<K, V>) -> Result<()> {
    for key in table.entries()?.keys().filter(|key| !entries.contains_key(key)) {
        table.delete(key)?;
    }
    for (key, value) in entries {
        table.upsert(key, value)?;
    }
    Ok(())
}

/// How many fixtures and packets were run, and what was not.
#[derive(Debug, Default)]
pub struct Tally {
    pub fixtures: usize,
    pub packets: usize,
    /// Packets that the kernel took for no test run.
    pub untaken: usize,
    /// Fixtures that need a kernel that has been up for longer, from their later packets on.
    pub early: Vec<String>,
    /// Fixtures by name, with what was wrong.
    pub faults: Vec<(String, anyhow::Error)>,
}

/// Runs fixtures one after the other.
pub fn run_all(kernel: &mut Kernel, fixtures: &BTreeMap<String, Fixture>) -> Tally {
    let mut tally = Tally::default();
    for (name, fixture) in fixtures {
        match ebpf_fixtures::run(fixture, kernel) {
            Ok(Ended::Whole { handled, untaken }) => {
                tally.fixtures += 1;
                tally.packets += handled;
                tally.untaken += untaken;
            }
            Ok(Ended::Early) => tally.early.push(name.clone()),
            Err(error) => tally.faults.push((name.clone(), error)),
        }
    }
    tally
}
