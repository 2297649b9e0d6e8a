//! `up` killed half-way: `down` removes what is there, and `up` works after that.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use viaduct_lab::{Cluster, Options, viaduct};

const NAME: &str = "e2e-crash";
const PORT: &str = "18083";

#[test]
fn up_killed_half_way() {
    run().unwrap();
}

fn run() -> Result<()> {
    viaduct(&["down", "--fresh", "--name", NAME])?;
    // From within the first namespaces to after the end; nothing is awaited, for a crash does not
    // wait either.
    for millis in [20, 60, 150, 400, 900, 1500] {
        let mut up = Command::new(program()?)
            .args(["up", "--name", NAME, "--api-port", PORT, "-o", "json"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(millis));
        up.kill()?;
        up.wait()?;
        viaduct(&["down", "--name", NAME])?;
        let left = leftovers()?;
        ensure!(left.is_empty(), "killed after {millis} ms, `down` left {left:?}");
    }
    let mut options = Options::new(NAME, PORT.parse()?);
    options.nodes = 1;
    let cluster = Cluster::up(&options)?;
    cluster.ready_pods("app=echo", 3)?;
    drop(cluster);
    let left = leftovers()?;
    ensure!(left.is_empty(), "`down` left {left:?}");
    Ok(())
}

fn program() -> Result<PathBuf> {
    let folder = std::env::var_os("VIADUCT_BIN")
        .context("VIADUCT_BIN is not set: run the tests by `make test`")?;
    Ok(Path::new(&folder).join("viaduct"))
}

/// Whatever bears the cluster's name: namespaces, folders, cgroups, mounts, processes.
fn leftovers() -> Result<Vec<String>> {
    let mut left = Vec::new();
    for entry in fs::read_dir("/run/netns")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("{NAME}.")) {
            left.push(format!("namespace {name}"));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    left.extend(mounts.lines().filter(|line| line.contains(NAME)).map(str::to_owned));
    let mut folders = vec![PathBuf::from("/run/viaduct").join(NAME)];
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"] {
        folders.push(Path::new(root).join("viaduct").join(NAME));
    }
    left.extend(folders.iter().filter(|one| one.exists()).map(|one| one.display().to_string()));
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(command) = fs::read(path.join("cmdline")) else { continue };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains("viaduct") && command.contains(&format!("/{NAME}/")) {
            left.push(command);
        }
    }
    Ok(left)
}
