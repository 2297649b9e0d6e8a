//! A profile of the daemon while it is measured, by `perf record`.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

const START_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

pub(crate) struct Perf(Child);

impl Perf {
    /// Starts to record these processes, and waits until perf does.
    pub(crate) async fn record(file: &Path, pids: &[(String, Pid)]) -> Result<Self> {
        let pids: Vec<_> = pids.iter().map(|(_, pid)| pid.to_string()).collect();
        // What is left of an earlier run would look like a beginning.
        let _absent = std::fs::remove_file(file);
        let child = Command::new("perf")
            .args(["record", "--quiet", "-e", "cpu-clock", "-F", "1999", "-g"])
            .arg("-p")
            .arg(pids.join(","))
            .arg("-o")
            .arg(file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start perf, of Debian's package linux-perf")?;
        let begun = Instant::now();
        // It writes a header when its events are open.
        while !std::fs::metadata(file).is_ok_and(|file| file.len() > 0) {
            ensure!(
                begun.elapsed() < START_LIMIT,
                "perf has not begun to write {}",
                file.display()
            );
            sleep(POLL).await;
        }
        Ok(Self(child))
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        let pid = self.0.id().context("perf has ended by itself")?;
        kill(Pid::from_raw(pid as i32), Signal::SIGINT)?;
        self.0.wait().await?;
        Ok(())
    }
}
