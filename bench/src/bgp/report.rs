//! Medians and ratios, for people and for scripts.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    case::Case,
    ceiling::Ceiling,
    daemon::Daemon,
    questions::Answers,
    run::{self, Outcome},
};
use crate::statistics::median;

const MIB: f64 = 1024.0;

/// All that was measured.
pub(crate) struct Report {
    versions: Vec<(Daemon, String)>,
    rounds: usize,
    cases: Vec<Measured>,
}

impl Report {
    pub(crate) fn new(daemons: &[Daemon], rounds: usize) -> Result<Self> {
        let version = |daemon: &Daemon| Ok((*daemon, daemon.version()?));
        let versions = daemons.iter().map(version).collect::<Result<_>>()?;
        Ok(Self { versions, rounds, cases: Vec::new() })
    }

    pub(crate) fn add(&mut self, measured: Measured) {
        self.cases.push(measured);
    }

    pub(crate) fn failures(&self) -> usize {
        self.cases.iter().map(|case| case.failures.len()).sum()
    }

    pub(crate) fn print_head(&self) {
        for (daemon, version) in &self.versions {
            println!("{:<9} {version} ({})", daemon.name(), daemon.confined_by());
        }
        println!(
            "Medians of {}. Wall until the receiver has everything, of a reflector until all clients \
             have; all, CPU\nuntil every peer has; RSS at its peak. Ratios are Viaduct's to each. \
             The generator's CPU is its own.",
            self.rounds
        );
    }

    pub(crate) fn json(&self) -> Value {
        let versions = self.versions.iter().map(|(daemon, version)| {
            let about = json!({"version": version, "confinedBy": daemon.confined_by()});
            (daemon.name().to_owned(), about)
        });
        json!({
            "rounds": self.rounds,
            "daemons": versions.collect::<serde_json::Map<_, _>>(),
            "cases": self.cases.iter().map(Measured::json).collect::<Vec<_>>(),
        })
    }
}

/// One case with all daemons.
pub(crate) struct Measured {
    name: String,
    title: String,
    ceiling: Ceiling,
    outcomes: BTreeMap<Daemon, Vec<Outcome>>,
    /// Why a daemon has no outcome, or not all of them: none of its numbers count.
    failures: BTreeMap<Daemon, String>,
}

/// p50 and p99 of updates, to the receiver and to the senders.
#[derive(Clone, Copy)]
struct Journeys {
    receiver: [f64; 2],
    senders: [f64; 2],
}

/// Medians of one daemon's rounds.
struct Row {
    wall: f64,
    all: f64,
    cpu: f64,
    rss: f64,
    generator: f64,
    journeys: Option<Journeys>,
    /// CPU and RSS of each process by its name.
    processes: BTreeMap<String, (f64, f64)>,
}

impl Measured {
    pub(crate) fn new(case: &Case, ceiling: Ceiling) -> Self {
        let (outcomes, failures) = Default::default();
        Self { name: case.name.clone(), title: case.to_string(), ceiling, outcomes, failures }
    }

    pub(crate) fn add(&mut self, daemon: Daemon, outcome: Result<Outcome, String>) {
        match outcome {
            Ok(outcome) => self.outcomes.entry(daemon).or_default().push(outcome),
            Err(why) => {
                self.outcomes.remove(&daemon);
                self.failures.insert(daemon, why);
            }
        }
    }

    pub(crate) fn has_failed(&self, daemon: Daemon) -> bool {
        self.failures.contains_key(&daemon)
    }

    fn rows(&self) -> BTreeMap<Daemon, Row> {
        self.outcomes.iter().map(|(daemon, outcomes)| (*daemon, Row::of(outcomes))).collect()
    }

    pub(crate) fn print(&self) {
        let rows = self.rows();
        println!("\n{}", self.title);
        let timed = rows.values().any(|row| row.journeys.is_some());
        print!("{:<12}{:>8}{:>8}{:>8}{:>9}", "", "wall s", "all s", "CPU s", "RSS MB");
        print!("{:>9}{:>7}{:>7}{:>10}", "ratio", "CPU", "RSS", "gen CPU");
        println!("{}", if timed { "  p50 ms  p99 ms; to senders, ms" } else { "" });
        let viaduct = rows.get(&Daemon::Viaduct);
        for (daemon, row) in &rows {
            let Row { wall, all, cpu, rss, generator, .. } = row;
            print!("{:<12}{wall:>8.3}{all:>8.3}{cpu:>8.3}{rss:>9.1}", daemon.name());
            let ratios = viaduct.map(|ours| ours.ratios(row));
            let text = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |r| format!("{r:.2}"));
            let [wall, cpu, rss] = [0, 1, 2].map(|at| text(ratios.map(|ratios| ratios[at])));
            print!("{wall:>9}{cpu:>7}{rss:>7}{generator:>10.3}");
            if let Some(Journeys { receiver, senders }) = row.journeys {
                receiver.iter().for_each(|secs| print!("{:>8.2}", secs * 1e3));
                senders.iter().for_each(|secs| print!("{:>10.2}", secs * 1e3));
            }
            println!();
            if row.processes.len() > 1 {
                for (name, (cpu, rss)) in &row.processes {
                    println!("  {name:<26}{cpu:>8.3}{rss:>9.1}");
                }
            }
        }
        for outcome in self.outcomes.values().flatten() {
            outcome.answers.iter().for_each(|answers| println!("  {answers}"));
        }
        for daemon in self.failures.keys() {
            println!("{:<12}FAILED", daemon.name());
        }
        println!("{}", self.ceiling);
    }

    fn json(&self) -> Value {
        let rows = self.rows();
        let viaduct = rows.get(&Daemon::Viaduct);
        let daemons = rows.iter().map(|(daemon, row)| {
            let mut about = row.json();
            if let Some([wall, cpu, rss]) = viaduct.map(|ours| ours.ratios(row)) {
                about["viaductRatio"] = json!({"wall": wall, "cpu": cpu, "peakRss": rss});
            }
            let rounds = self.outcomes[daemon].iter();
            let rounds: Vec<_> =
                rounds.map(|one| Row::of(std::slice::from_ref(one)).json()).collect();
            about["rounds"] = rounds.into();
            let answers = self.outcomes[daemon].iter().flat_map(|one| &one.answers);
            let answers: Vec<_> = answers.map(Answers::json).collect();
            if !answers.is_empty() {
                about["answers"] = answers.into();
            }
            (daemon.name().to_owned(), about)
        });
        let failures = self
            .failures
            .iter()
            .map(|(daemon, why)| (daemon.name().to_owned(), Value::from(why.as_str())));
        json!({
            "name": self.name,
            "failures": failures.collect::<serde_json::Map<_, _>>(),
            "generatorAlone": {
                "wallSecs": self.ceiling.wall.as_secs_f64(),
                "prefixes": self.ceiling.prefixes,
            },
            "daemons": daemons.collect::<serde_json::Map<_, _>>(),
        })
    }
}

impl Row {
    fn of(outcomes: &[Outcome]) -> Self {
        let of = |value: &dyn Fn(&Outcome) -> f64| {
            median(&outcomes.iter().map(value).collect::<Vec<_>>())
        };
        let secs = |value: &dyn Fn(&Outcome) -> Duration| of(&|one| value(one).as_secs_f64());
        let journeys = outcomes.iter().all(|one| one.journeys.is_some()).then(|| {
            let of = |part: &dyn Fn(run::Journeys) -> Duration| {
                secs(&|one| part(one.journeys.unwrap_or_default()))
            };
            Journeys {
                receiver: [of(&|all| all.receiver.p50), of(&|all| all.receiver.p99)],
                senders: [of(&|all| all.senders.p50), of(&|all| all.senders.p99)],
            }
        });
        let names = outcomes.iter().flat_map(|one| one.usages.keys());
        let processes = names.map(|name| {
            let usage = |one: &Outcome| one.usages.get(name).copied().unwrap_or_default();
            let cpu = secs(&|one| usage(one).cpu);
            let rss = of(&|one| usage(one).peak_kib as f64 / MIB);
            (name.clone(), (cpu, rss))
        });
        Self {
            wall: secs(&|one| one.wall),
            all: secs(&|one| one.all),
            cpu: secs(&Outcome::cpu),
            rss: of(&Outcome::peak_mib),
            generator: secs(&|one| one.generator),
            journeys,
            processes: processes.collect(),
        }
    }

    /// Wall, CPU and RSS, each against another's.
    fn ratios(&self, other: &Self) -> [f64; 3] {
        [self.wall / other.wall, self.cpu / other.cpu, self.rss / other.rss]
    }

    fn json(&self) -> Value {
        let processes = self
            .processes
            .iter()
            .map(|(name, (cpu, rss))| (name.clone(), json!({"cpuSecs": cpu, "peakRssMib": rss})));
        let mut value = json!({
            "wallSecs": self.wall,
            "allSecs": self.all,
            "cpuSecs": self.cpu,
            "peakRssMib": self.rss,
            "generatorCpuSecs": self.generator,
            "processes": processes.collect::<serde_json::Map<_, _>>(),
        });
        if let Some(Journeys { receiver: [p50, p99], senders: [senders50, senders99] }) =
            self.journeys
        {
            value["p50Secs"] = p50.into();
            value["p99Secs"] = p99.into();
            value["sendersP50Secs"] = senders50.into();
            value["sendersP99Secs"] = senders99.into();
        }
        value
    }
}

impl Answers {
    fn json(&self) -> Value {
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| self.percentile(share));
        json!({"question": self.name, "answers": self.count(), "p50Secs": p50, "p99Secs": p99, "maxSecs": most})
    }
}

impl Outcome {
    /// Of all processes together.
    fn cpu(&self) -> Duration {
        self.usages.values().map(|usage| usage.cpu).sum()
    }

    /// Of all processes together: pages that they share are counted in each.
    fn peak_mib(&self) -> f64 {
        self.usages.values().map(|usage| usage.peak_kib as f64).sum::<f64>() / MIB
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |duration: Duration| duration.as_secs_f64();
        write!(
            f,
            "wall {:.3} s, all {:.3} s, CPU {:.3} s, RSS {:.1} MB, generator {:.3} s",
            secs(self.wall),
            secs(self.all),
            secs(self.cpu()),
            self.peak_mib(),
            secs(self.generator),
        )
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.wall.as_secs_f64();
        let rate = self.prefixes as f64 / secs / 1e6;
        write!(f, "generator alone, both ends: {secs:.3} s, {rate:.1} M prefixes/s")
    }
}
