//! What is measured, and under which name it is asked for.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{daemon::Daemon, layout::Layout};

/// Behind the name of a case in which every prefix has attributes of its own.
const SINGLE: &str = "-single";
const PER_SET: usize = 10;
/// How often a table goes and comes back while questions are asked.
const ASKED_TIMES: usize = 5;

/// Numbers that a case has where its name does not say them.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// Clients of the reflector.
    #[arg(long, default_value_t = 500)]
    clients: usize,
    /// Routes of each client.
    #[arg(long, default_value_t = 20)]
    routes: usize,
    /// Clients that flap, one after another.
    #[arg(long, default_value_t = 5)]
    flaps: usize,
    /// Updates a second of the churn.
    #[arg(long, default_value_t = 1000)]
    churn_rate: usize,
    /// Seconds of the churn.
    #[arg(long, default_value_t = 30)]
    churn_secs: usize,
    /// All senders of NxM announce the same M prefixes: the decision has N paths for each.
    #[arg(long)]
    overlap: bool,
}

impl Numbers {
    fn churn(&self) -> Result<Exercise> {
        let gap = Duration::from_secs(1).checked_div(self.churn_rate as u32);
        let Some(gap) = gap else { bail!("--churn-rate 0: nothing to send") };
        Ok(Exercise::Churn { updates: self.churn_rate * self.churn_secs, gap })
    }
}

/// What happens once every session is established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exercise {
    /// All tables are sent at once, until everybody has all.
    Spread,
    /// Of what has been spread, half is withdrawn.
    Withdraw,
    /// One update after another, evenly in time.
    Churn { updates: usize, gap: Duration },
    /// Clients end their sessions and come back, one after another.
    Flap { times: usize },
    /// The daemon is killed and started again.
    Restart,
    /// Questions are asked while half of what has been spread is withdrawn and announced again, so many
    /// times.
    Ask { times: usize },
}

impl Exercise {
    /// Others are asked in other ways, and not compared.
    pub(crate) fn is_of(self, daemon: Daemon) -> bool {
        daemon == Daemon::Viaduct || !matches!(self, Self::Ask { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub name: String,
    pub layout: Layout,
    pub exercise: Exercise,
}

impl Case {
    /// The cases that are measured where none is asked for, in their order.
    pub(crate) const NAMES: [&str; 14] = [
        "1x100k",
        "1x100k-single",
        "10x10k",
        "10x10k-single",
        "10x50k",
        "10x50k-single",
        "100x1k",
        "100x1k-single",
        "reflector",
        "flap",
        "restart",
        "withdraw",
        "churn",
        "admin",
    ];

    /// A case by its name; `NxM` with any numbers. The size of the table of which half is
    /// withdrawn, or in which updates go round, may follow behind a dash.
    pub(crate) fn named(name: &str, numbers: &Numbers) -> Result<Self> {
        if numbers.flaps > numbers.clients {
            bail!("--flaps {}: there are {} clients", numbers.flaps, numbers.clients);
        }
        let clients = Layout {
            senders: numbers.clients,
            each: numbers.routes,
            per_set: PER_SET,
            overlap: false,
            reflection: true,
        };
        let senders = |size: &str, per_set| {
            let (senders, each) = parse(size).with_context(|| {
                let other = "reflector flap restart withdraw[-NxM] churn[-NxM] admin[-NxM]";
                format!("--only {name}: NxM[k][{SINGLE}] {other}")
            })?;
            Ok::<_, anyhow::Error>(Layout { senders, each, per_set, reflection: false, ..clients })
        };
        let (kind, size) = name.split_once('-').unwrap_or((name, ""));
        let size_or = |default| if size.is_empty() { default } else { size };
        let (layout, exercise) = match kind {
            "reflector" => (clients, Exercise::Spread),
            "flap" => (clients, Exercise::Flap { times: numbers.flaps }),
            "restart" => (clients, Exercise::Restart),
            "withdraw" => (senders(size_or("10x50k"), PER_SET)?, Exercise::Withdraw),
            "churn" => (senders(size_or("10x10k"), PER_SET)?, numbers.churn()?),
            "admin" => (senders(size_or("10x50k"), PER_SET)?, Exercise::Ask { times: ASKED_TIMES }),
            _ => {
                let (size, per_set) = match name.strip_suffix(SINGLE) {
                    Some(size) => (size, 1),
                    None => (name, PER_SET),
                };
                let apart = senders(size, per_set)?;
                (Layout { overlap: numbers.overlap, ..apart }, Exercise::Spread)
            }
        };
        layout.check().with_context(|| name.to_owned())?;
        Ok(Self { name: name.to_owned(), layout, exercise })
    }
}

fn parse(size: &str) -> Option<(usize, usize)> {
    let (senders, each) = size.split_once('x')?;
    let (each, factor) = match each.strip_suffix('k') {
        Some(thousands) => (thousands, 1000),
        None => (each, 1),
    };
    Some((senders.parse().ok()?, each.parse::<usize>().ok()?.checked_mul(factor)?))
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layout { senders, each, per_set, overlap, reflection } = self.layout;
        write!(f, "{}: ", self.name)?;
        if reflection {
            write!(f, "{senders} clients x {each} routes")?;
        } else {
            write!(f, "{senders} senders x {each} prefixes")?;
        }
        write!(f, ", {per_set} to an attribute set")?;
        if overlap {
            write!(f, ", the same of all senders")?;
        }
        match self.exercise {
            Exercise::Spread => Ok(()),
            Exercise::Withdraw => write!(f, "; half is withdrawn"),
            Exercise::Churn { updates, gap } => {
                let secs = gap.as_secs_f64() * updates as f64;
                write!(f, "; {updates} updates in {secs:.0} s")
            }
            Exercise::Flap { times } => write!(f, "; {times} of them flap in turn"),
            Exercise::Ask { times } => {
                write!(f, "; questions while half goes and comes back, {times} times")
            }
            Exercise::Restart => write!(f, "; the daemon is killed and started again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Numbers = Numbers {
        clients: 500,
        routes: 20,
        flaps: 5,
        churn_rate: 1000,
        churn_secs: 30,
        overlap: false,
    };

    #[test]
    fn names_say_what_is_measured() {
        for name in Case::NAMES {
            assert_eq!(Case::named(name, &NUMBERS).unwrap().name, name);
        }
        let layout = |name: &str| Case::named(name, &NUMBERS).unwrap().layout;
        let single = layout("10x50k-single");
        assert_eq!((single.senders, single.each, single.per_set), (10, 50_000, 1));
        assert_eq!((layout("2x500").each, layout("2x500").peers()), (500, 3));
        assert_eq!(layout("reflector").peers(), 500);
        assert_eq!((layout("withdraw").each, layout("withdraw-2x500").each), (50_000, 500));
        let churn = Case::named("churn", &NUMBERS).unwrap().exercise;
        assert_eq!(churn, Exercise::Churn { updates: 30_000, gap: Duration::from_millis(1) });
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for name in
            ["", "x", "1x", "0x5", "5x0", "1x2m", "2000x1", "2x600k", "1x1-double", "churn-x"]
        {
            assert!(Case::named(name, &NUMBERS).is_err(), "{name}");
        }
        let idle = Numbers { churn_rate: 0, ..NUMBERS };
        assert!(Case::named("churn", &idle).is_err());
    }
}
