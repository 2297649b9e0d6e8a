use std::{
    ffi::OsStr,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// A place where commands run: a network namespace, and the cgroup whose hooks they pass.
#[derive(Clone, Debug)]
pub struct Shell {
    /// A file that names the namespace, `/run/netns/X` or `/proc/PID/ns/net`.
    pub netns: PathBuf,
    /// A folder of cgroup2 that the command joins before it starts.
    pub cgroup: Option<PathBuf>,
}

impl Shell {
    /// A command that, once started, runs here. `nsenter` keeps `/sys` as it is, unlike `ip netns
    /// exec`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut nsenter = format!("--net={}", self.netns.display());
        let mut command = match &self.cgroup {
            Some(cgroup) => {
                let mut shell = Command::new("sh");
                let join = "echo $$ > \"$0\"/cgroup.procs && exec nsenter \"$@\"";
                shell.arg("-c").arg(join).arg(cgroup);
                shell
            }
            None => Command::new("nsenter"),
        };
        command.arg(std::mem::take(&mut nsenter)).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end and gives what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        finish(self.command(program), program, arguments)
    }
}

/// Runs a command of the host to its end and gives what it printed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    finish(Command::new(program), program, arguments)
}

fn finish(mut command: Command, program: &str, arguments: &[&str]) -> Result<String> {
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}\n{text}{why}", arguments.join(" "), output.status);
    }
    Ok(text)
}

/// Asks until the answer is there, and fails with the last reason why it was not.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut question: impl FnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match question() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what}: not within {limit:?}")));
            }
            Err(_not_yet) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// How often a test repeats what it repeats: `in_ci` times `REPEAT`, which `make soak` sets to 10.
pub fn repeat(in_ci: usize) -> usize {
    let factor = std::env::var("REPEAT").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    in_ci * factor
}
