//! Viaduct's BGP speaker beside those of other makers, for `make bench-bgp`: one load generator for
//! all, in namespaces of its own, each case some times in turn.

mod board;
mod case;
mod ceiling;
mod daemon;
mod lab;
mod layout;
mod peer;
mod perf;
mod process;
mod questions;
mod report;
mod run;
mod table;
mod walk;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

use self::{
    case::{Case, Numbers},
    daemon::Daemon,
    report::{Measured, Report},
    run::Tables,
};

#[derive(Args)]
pub(crate) struct BgpArgs {
    /// Cases: NxM[k] senders and prefixes of each, with -single each prefix with attributes of its
    /// own; reflector, flap, restart, withdraw[-NxM], churn[-NxM], admin[-NxM]. All where not given.
    #[arg(long, value_delimiter = ',', value_name = "CASE")]
    only: Vec<String>,
    /// Daemons to measure; all where not given.
    #[arg(long, value_delimiter = ',', value_enum, value_name = "DAEMON")]
    daemons: Vec<Daemon>,
    /// How often each case is measured with each daemon, in turn; the median is printed.
    #[arg(long, env = "ROUNDS", default_value_t = 3)]
    rounds: usize,
    /// Seconds that a case may take with one daemon.
    #[arg(long, default_value_t = 180)]
    limit: u64,
    /// Print JSON in place of tables.
    #[arg(long)]
    json: bool,
    /// Record the daemons with perf into this folder while they are measured: CASE-DAEMON.data.
    #[arg(long, value_name = "FOLDER")]
    perf: Option<PathBuf>,
    #[command(flatten)]
    numbers: Numbers,
}

pub(crate) fn measure(args: &BgpArgs) -> Result<()> {
    ensure!(args.rounds > 0, "--rounds 0: there is nothing to take the median of");
    ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root");
    let names = args.only.iter().map(String::as_str);
    let names: Vec<_> = if args.only.is_empty() { Case::NAMES.to_vec() } else { names.collect() };
    let cases = names.into_iter().map(|name| Case::named(name, &args.numbers));
    let cases = cases.collect::<Result<Vec<_>>>()?;
    if let Some(folder) = &args.perf {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    process::adopt_orphans()?;
    // One thread: what it costs is read from one clock, and the other core is the daemon's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Daemons end when what holds them is dropped.
        select! {
            done = measure_all(args, &cases) => done,
            _ = terminate.recv() => bail!("terminated"),
            _ = interrupt.recv() => bail!("interrupted"),
        }
    }))
}

async fn measure_all(args: &BgpArgs, cases: &[Case]) -> Result<()> {
    let daemons = if args.daemons.is_empty() { &Daemon::ALL[..] } else { &args.daemons };
    let limit = Duration::from_secs(args.limit);
    let mut report = Report::new(daemons, args.rounds)?;
    if !args.json {
        report.print_head();
    }
    for case in cases {
        let ceiling = ceiling::measure(&case.layout, limit).await?;
        let mut measured = Measured::new(case, ceiling);
        let tables = Tables::encode(&case.layout)?;
        for round in 1..=args.rounds {
            for &daemon in daemons {
                if measured.has_failed(daemon) || !case.exercise.is_of(daemon) {
                    continue;
                }
                let perf = args.perf.as_deref();
                let outcome = run::run(case, daemon, &tables, limit, perf).await;
                let outcome = outcome.map_err(|error| format!("{error:#}"));
                let about = format!("{} {}, round {round}", case.name, daemon.name());
                match &outcome {
                    Ok(outcome) => eprintln!("{about}: {outcome}"),
                    Err(error) => eprintln!("{about}: FAILED: {error}"),
                }
                measured.add(daemon, outcome);
            }
        }
        if !args.json {
            measured.print();
        }
        report.add(measured);
    }
    if args.json {
        println!("{:#}", report.json());
    }
    // The others have been measured all the same.
    ensure!(report.failures() == 0, "{} of the measurements have failed", report.failures());
    Ok(())
}
