//! The processes of a daemon: started, weighed, and ended.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::waitpid,
    },
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use tokio::process::{Child, Command};

/// Lines of a daemon's log that an error shows.
const LOG_LINES: usize = 10;
const LOG_COLUMNS: usize = 200;

/// What a process has used, and the most it has held, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub cpu: Duration,
    pub peak_kib: u64,
}

/// By the name of the process.
pub(crate) type Usages = BTreeMap<String, Usage>;

struct Process {
    name: String,
    child: Child,
}

/// Has processes whose parent has ended become children of this one, so that none is left behind.
pub(crate) fn adopt_orphans() -> Result<()> {
    prctl::set_child_subreaper(true).context("become the reaper of orphans")
}

/// All processes of a daemon; ended when dropped.
#[derive(Default)]
pub(crate) struct Processes {
    started: Vec<Process>,
    logs: Vec<PathBuf>,
}

impl Processes {
    /// Starts a process whose output goes to a log in `folder`.
    pub(crate) fn start(
        &mut self,
        name: &str,
        command: std::process::Command,
        folder: &Path,
    ) -> Result<()> {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        self.started.push(Process { name: name.to_owned(), child });
        self.logs.push(log);
        Ok(())
    }

    /// None of them should have ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        for Process { name, child } in &mut self.started {
            if let Some(status) = child.try_wait()? {
                bail!("{name} has ended: {status}");
            }
        }
        Ok(())
    }

    /// What was said last, for an error.
    pub(crate) fn last_words(&self) -> String {
        let mut text = String::new();
        for log in &self.logs {
            let said = fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
            for line in last {
                let name = log.file_name().unwrap_or_default().to_string_lossy();
                let line: String = line.chars().take(LOG_COLUMNS).collect();
                text += &format!("\n  {name}: {line}");
            }
        }
        text
    }

    pub(crate) fn pids(&self) -> Vec<(String, Pid)> {
        let mut all = Vec::new();
        for process in &self.started {
            let Some(id) = process.child.id() else { continue };
            let pid = Pid::from_raw(id as i32);
            all.push((process.name.clone(), pid));
            descendants(pid, &mut all);
        }
        all
    }

    /// What each has used since it was started.
    pub(crate) fn usages(&self) -> Result<Usages> {
        let mut usages = Usages::new();
        for (name, pid) in self.pids() {
            let usage = Usage { cpu: cpu(pid)?, peak_kib: peak_kib(pid)? };
            let sum: &mut Usage = usages.entry(name).or_default();
            sum.cpu += usage.cpu;
            sum.peak_kib += usage.peak_kib;
        }
        Ok(usages)
    }

    /// Ends all of them without a word and waits until they are gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let pids = self.pids();
        self.kill_all();
        for process in &mut self.started {
            process.child.wait().await?;
        }
        reap(pids);
        self.started.clear();
        self.logs.clear();
        Ok(())
    }

    fn kill_all(&self) {
        for (_, pid) in self.pids() {
            // One that has ended by itself needs no signal.
            let _gone = kill(pid, Signal::SIGKILL);
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let pids = self.pids();
        self.kill_all();
        reap(pids);
    }
}

/// Waits for killed processes: what their parents have not, for they are killed too, is ours.
fn reap(pids: Vec<(String, Pid)>) {
    for (_, pid) in pids {
        // Waited for already.
        let _no_child = waitpid(pid, None);
    }
}

/// The children of a process and theirs, by the titles they give themselves.
fn descendants(parent: Pid, all: &mut Vec<(String, Pid)>) {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let pid = Pid::from_raw(pid);
            all.push((title(pid), pid));
            descendants(pid, all);
        }
    }
}

fn title(pid: Pid) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|octet| *octet == 0).map(String::from_utf8_lossy);
    let line = words.collect::<Vec<_>>().join(" ");
    let line = line.trim();
    line.rsplit_once('/').map_or(line, |(_, name)| name).to_owned()
}

/// The CPU time of all threads of a process, those that have ended included. `/proc/PID/stat` says
/// the same in hundredths of a second, too coarse for the short cases.
fn cpu(pid: Pid) -> Result<Duration> {
    let clock = clock_getcpuclockid(pid).with_context(|| format!("CPU time of process {pid}"))?;
    Ok(clock.now()?.into())
}

/// The CPU time of the calling thread.
pub(crate) fn own_cpu() -> Result<Duration> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into())
}

fn peak_kib(pid: Pid) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let Some(kib) = line.and_then(|rest| rest.trim().strip_suffix(" kB")) else {
        bail!("process {pid} has no VmHWM");
    };
    Ok(kib.parse()?)
}
