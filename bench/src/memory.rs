//! What the processes of a cluster weigh.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};
use viaduct_lab::{Cluster, wait_for};

/// Kinds of process and what each may weigh with 100 pods, in MiB.
const AIMS: [(&str, f64); 3] = [("server", 80.0), ("kubelet", 30.0), ("node", 40.0)];

/// Two readings in a row that are so near count as the weight at rest.
const NEAR_KIB: u64 = 256;

/// Resident memory in KiB by the process's name, `node-1.kubelet`.
pub(crate) type Weights = BTreeMap<String, u64>;

/// The weights once they stay what they are.
pub(crate) fn settled(cluster: &Cluster) -> Result<Weights> {
    let mut last = read(cluster)?;
    wait_for("the processes' memory to settle", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_secs(1));
        let now = read(cluster)?;
        let near = last.iter().all(|(name, kib)| now[name].abs_diff(*kib) <= NEAR_KIB);
        last = now;
        anyhow::ensure!(near, "it still changes");
        Ok(last.clone())
    })
}

fn read(cluster: &Cluster) -> Result<Weights> {
    let mut weights = Weights::new();
    for file in fs::read_dir(cluster.run_dir().join("pids"))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        let pid = cluster.pid(&name)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).context("no VmRSS")?;
        weights.insert(name, kib.parse()?);
    }
    Ok(weights)
}

/// The heaviest of each kind, idle and loaded.
pub(crate) fn print(idle: &Weights, loaded: &Weights, pods: usize) {
    println!("MEMORY, resident, the heaviest of each kind (MiB)");
    println!("   idle  {pods:>4} pods    aim");
    for (kind, aim) in AIMS {
        let heaviest = |weights: &Weights| {
            let mut all = weights.iter().filter(|(name, _)| name.ends_with(&format!(".{kind}")));
            let first = all.next().map_or(0, |(_, kib)| *kib);
            all.fold(first, |most, (_, kib)| most.max(*kib)) as f64 / 1024.0
        };
        let (idle, loaded) = (heaviest(idle), heaviest(loaded));
        println!("{idle:>7.1} {loaded:>9.1} {aim:>8.0}  {kind} ({:.2} of the aim)", loaded / aim);
    }
}
