//! What is measured, and under which name it is asked for.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::layout::Layout;

/// Behind the name of a case in which every prefix has attributes of its own.
const SINGLE: &str = "-single";
const PER_SET: usize = 10;

/// Numbers that a case has where its name does not say them.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// Clients of the reflector.
    #[arg(long, default_value_t = 500)]
    clients: usize,
    /// Routes of each client.
    #[arg(long, default_value_t = 20)]
    routes: usize,
    /// Times that one client flaps.
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

/// What happens once every session is established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exercise {
    /// All tables are sent at once, until everybody has all.
    Spread,
    /// Of what has been spread, half is withdrawn.
    Withdraw,
    /// One update after another, evenly in time.
    Churn { updates: usize, gap: Duration },
    /// One client ends its session and comes back.
    Flap { times: usize },
    /// The daemon is killed and started again.
    Restart,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub name: String,
    pub layout: Layout,
    pub exercise: Exercise,
}

impl Case {
    /// The cases that are measured where none is asked for, in their order.
    pub(crate) const NAMES: [&str; 13] = [
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
    ];

    /// A case by its name; `NxM` with any numbers.
    pub(crate) fn named(name: &str, numbers: &Numbers) -> Result<Self> {
        let senders = |senders, each, per_set| Layout {
            senders,
            each,
            per_set,
            overlap: numbers.overlap,
            reflection: false,
        };
        let apart = Layout { overlap: false, ..senders(10, 10_000, PER_SET) };
        let clients =
            Layout { senders: numbers.clients, each: numbers.routes, reflection: true, ..apart };
        let (layout, exercise) = match name {
            "reflector" => (clients, Exercise::Spread),
            "flap" => (clients, Exercise::Flap { times: numbers.flaps }),
            "restart" => (clients, Exercise::Restart),
            "withdraw" => (Layout { each: 50_000, ..apart }, Exercise::Withdraw),
            "churn" => {
                let Some(gap) = Duration::from_secs(1).checked_div(numbers.churn_rate as u32)
                else {
                    bail!("--churn-rate 0: nothing to send");
                };
                let updates = numbers.churn_rate * numbers.churn_secs;
                (apart, Exercise::Churn { updates, gap })
            }
            _ => {
                let (size, per_set) = match name.strip_suffix(SINGLE) {
                    Some(size) => (size, 1),
                    None => (name, PER_SET),
                };
                let (count, each) = parse(size).with_context(|| {
                    format!("--only {name}: NxM[k][{SINGLE}], or one of {}", Self::NAMES.join(" "))
                })?;
                (senders(count, each, per_set), Exercise::Spread)
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
            Exercise::Flap { times } => write!(f, "; one client flaps {times} times"),
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
        let churn = Case::named("churn", &NUMBERS).unwrap().exercise;
        assert_eq!(churn, Exercise::Churn { updates: 30_000, gap: Duration::from_millis(1) });
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for name in ["", "x", "1x", "0x5", "5x0", "1x2m", "2000x1", "2x600k", "1x1-double"] {
            assert!(Case::named(name, &NUMBERS).is_err(), "{name}");
        }
        let idle = Numbers { churn_rate: 0, ..NUMBERS };
        assert!(Case::named("churn", &idle).is_err());
    }
}
