//! runc's command line.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use tokio::process::Command;

use super::{
    Runtime, RuntimeError,
    command::{self, Output},
};

/// runc itself answers within tens of milliseconds; a busy machine gets some room.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Term,
    Kill,
}

/// What runc knows of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inspection {
    /// Created, its program not yet started.
    Created,
    Running,
    Stopped,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct ExecOutput {
    pub(crate) exit_code: i32,
    pub(crate) output: String,
}

#[derive(Deserialize)]
struct State {
    status: String,
}

impl Runtime {
    fn runc_command(&self) -> Command {
        let mut command = Command::new(&self.runc);
        command.arg("--root").arg(self.runc_root());
        command
    }

    async fn runc(&self, arguments: &[&str]) -> Result<Output, RuntimeError> {
        let mut command = self.runc_command();
        command.args(arguments);
        command::run(command, &[], LIMIT).await
    }

    async fn runc_checked(&self, arguments: &[&str]) -> Result<(), RuntimeError> {
        let output = self.runc(arguments).await?;
        if output.success {
            return Ok(());
        }
        let program = format!("runc {}", arguments.first().unwrap_or(&""));
        Err(RuntimeError::Command { program, message: output.complaint() })
    }

    /// For people: `runc://1.1.5`.
    pub(crate) async fn version(&self) -> Result<String, RuntimeError> {
        let output = self.runc(&["--version"]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_whitespace().nth(2).unwrap_or("unknown");
        Ok(format!("runc://{version}"))
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        self.runc_checked(&["start", id]).await
    }

    /// A container that has stopped already needs no signal.
    pub(crate) async fn kill(&self, id: &str, signal: Signal) -> Result<(), RuntimeError> {
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Kill => "KILL",
        };
        match self.runc_checked(&["kill", id, name]).await {
            Err(RuntimeError::Command { message, .. })
                if message.contains("not running") || message.contains("does not exist") =>
            {
                Ok(())
            }
            done => done,
        }
    }

    /// Kills what still runs and removes runc's state and cgroups.
    pub(crate) async fn delete(&self, id: &str) -> Result<(), RuntimeError> {
        match self.runc_checked(&["delete", "--force", id]).await {
            Err(RuntimeError::Command { message, .. }) if message.contains("does not exist") => {
                Ok(())
            }
            done => done,
        }
    }

    pub(crate) async fn inspect(&self, id: &str) -> Result<Inspection, RuntimeError> {
        let output = self.runc(&["state", id]).await?;
        if !output.success {
            let complaint = output.complaint();
            return match complaint.contains("does not exist") {
                true => Ok(Inspection::Unknown),
                false => Err(RuntimeError::Command {
                    program: "runc state".to_owned(),
                    message: complaint,
                }),
            };
        }
        let state: State = serde_json::from_slice(&output.stdout).map_err(|error| {
            RuntimeError::Command { program: "runc state".to_owned(), message: error.to_string() }
        })?;
        Ok(match state.status.as_str() {
            "created" | "creating" => Inspection::Created,
            "stopped" => Inspection::Stopped,
            _ => Inspection::Running,
        })
    }

    /// Runs a program in the container, as its own user. One that does not end in time is killed.
    pub(crate) async fn exec(
        &self,
        id: &str,
        arguments: &[String],
        limit: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let scratch = tempfile::tempdir().map_err(RuntimeError::io("temporary directory"))?;
        let pid_file = scratch.path().join("pid");
        let mut command = self.runc_command();
        command.arg("exec").arg("--pid-file").arg(&pid_file).arg(id).args(arguments);
        match command::run(command, &[], limit).await {
            Ok(output) => {
                let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
                text.push_str(&String::from_utf8_lossy(&output.stderr));
                Ok(ExecOutput { exit_code: output.code.unwrap_or(-1), output: text })
            }
            Err(error) => {
                // Killing runc leaves what it started.
                kill_by_file(&pid_file);
                Err(error)
            }
        }
    }
}

fn kill_by_file(path: &Path) {
    let pid = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = pid {
        // It may have ended in between; nobody has reaped it yet, so the pid is still its own.
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}
