//! `viaduct down`: removes what `up` made and tagged as its own, however far `up` came.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::network;
use crate::paths::{self, ClusterPaths};

/// A killed process leaves its cgroup once the kernel has reaped it.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether anything of the cluster is there.
pub(crate) fn is_present(paths: &ClusterPaths) -> bool {
    paths.run.exists() || paths.cgroup.exists()
}

/// Ends every process of the cluster and removes its namespaces, cgroups and folders. What the
/// server stored is kept, unless `fresh`.
pub(crate) async fn down(paths: &ClusterPaths, fresh: bool) -> Result<()> {
    let _lock = paths::lock(Path::new(paths::RUN))?;
    end_processes(&paths.cgroup).await?;
    // Nobody can be in them any more, nor come into them.
    network::remove(paths)?;
    for root in paths::cgroup1_roots()? {
        remove_cgroup(&root.join(&paths.cgroup_relative))?;
    }
    remove_folder(&paths.state.join("nodes"))?;
    if fresh {
        remove_folder(&paths.state)?;
    }
    // Last, for it holds the tags: a `down` that was interrupted can be said again.
    remove_folder(&paths.run)
}

/// Kills all processes below a folder of cgroup2, the daemons, conmon and the containers alike, and
/// removes it. A supervisor that was just started may enter it in between, and is killed in turn.
async fn end_processes(cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        kill_cgroup(cgroup, deadline).await?;
        match remove_cgroup(cgroup) {
            Err(_entered) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
}

async fn kill_cgroup(cgroup: &Path, deadline: Instant) -> Result<()> {
    if !cgroup.exists() {
        return Ok(());
    }
    fs::write(cgroup.join("cgroup.kill"), "1")
        .with_context(|| format!("kill the processes in {}", cgroup.display()))?;
    while fs::read_to_string(cgroup.join("cgroup.events"))?.contains("populated 1") {
        if Instant::now() > deadline {
            bail!("processes in {} do not end", cgroup.display());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Removes a tree of cgroups, the leaves first: only their folders can be removed.
fn remove_cgroup(cgroup: &Path) -> Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("read {}", cgroup.display())),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup).with_context(|| format!("remove cgroup {}", cgroup.display()))
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
