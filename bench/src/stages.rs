//! How long the start of a cluster takes, stage by stage.

use anyhow::{Context, Result};
use viaduct_lab::Cluster;

use crate::{options, statistics::median};

/// What three nodes with services that answer may take after the build, in milliseconds.
const TARGET: f64 = 15_000.0;

pub(crate) fn measure(rounds: usize) -> Result<()> {
    let mut stages: Vec<(String, Vec<f64>)> = Vec::new();
    let mut totals = Vec::new();
    for round in 1..=rounds {
        let cluster = Cluster::up(&options())?;
        let total = cluster.report["totalMillis"].as_f64().context("no totalMillis")?;
        println!("start {round} of {rounds}: {total:.0} ms");
        totals.push(total);
        for stage in cluster.report["stages"].as_array().context("no stages")? {
            let name = stage["name"].as_str().context("a stage without a name")?;
            let millis = stage["millis"].as_f64().context("a stage without a time")?;
            match stages.iter_mut().find(|(known, _)| known == name) {
                Some((_, all)) => all.push(millis),
                None => stages.push((name.to_owned(), vec![millis])),
            }
        }
    }
    println!("\nSTART, median of {rounds} (ms)");
    for (name, all) in &stages {
        println!("{:>8.0}  {name}", median(all));
    }
    let total = median(&totals);
    println!("{total:>8.0}  in all ({:.2} of the target, {TARGET:.0})", total / TARGET);
    Ok(())
}
