//! Containers created under a conmon of their own.
#![expect(unsafe_code, reason = "a descriptor is passed on to conmon")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe,
    process::Command,
};

use super::{Runtime, RuntimeError};

const LIMIT: Duration = Duration::from_secs(60);

/// A bundle about to become a container.
pub(crate) struct Launch {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) log: PathBuf,
    /// Give it a terminal, as its bundle says.
    pub(crate) terminal: bool,
}

/// What conmon writes into its sync pipe once runc has created the container: the pid of the
/// first process, or a negative number and why not.
#[derive(Deserialize)]
struct Report {
    data: i32,
    #[serde(default)]
    message: Option<String>,
}

impl Runtime {
    /// Creates the container and returns the pid of its first process, which waits for `start`.
    pub(crate) async fn create(&self, launch: &Launch) -> Result<i32, RuntimeError> {
        let failed = || RuntimeError::io("conmon");
        let (sender, receiver) = pipe::pipe().map_err(failed())?;
        let sender = sender.into_blocking_fd().map_err(failed())?;
        let mut command = self.conmon_command(launch);
        command.env("_OCI_SYNCPIPE", sender.as_raw_fd().to_string());
        inherit(&mut command, &sender);
        let work = async {
            let mut child = command.spawn().map_err(failed())?;
            drop(sender);
            // conmon leaves for the background at once; what it reports comes by the pipe.
            let status = child.wait().await.map_err(failed())?;
            let mut line = String::new();
            BufReader::new(receiver).read_line(&mut line).await.map_err(failed())?;
            read_report(&line, status.code())
        };
        match tokio::time::timeout(LIMIT, work).await {
            Ok(done) => done,
            Err(_elapsed) => Err(RuntimeError::Timeout {
                what: format!("creation of {}", launch.id),
                limit_secs: LIMIT.as_secs(),
            }),
        }
    }

    fn conmon_command(&self, launch: &Launch) -> Command {
        let mut command = Command::new(&self.conmon);
        command.args(["--api-version", "1", "--full-attach", "--no-sync-log"]);
        command.args(["--log-level", "error"]);
        command.args(["--cid", &launch.id, "--cuuid", &launch.id, "--name", &launch.id]);
        command.arg("--bundle").arg(&launch.bundle);
        command.arg("--container-pidfile").arg(launch.bundle.join("pid"));
        command.arg("--conmon-pidfile").arg(launch.bundle.join("conmon.pid"));
        command.arg("--log-path").arg(&launch.log);
        command.arg("--log-size-max").arg(self.log_bytes_max.to_string());
        command.arg("--exit-dir").arg(self.exits());
        command.arg("--runtime").arg(&self.runc);
        command.args(["--runtime-arg", "--root", "--runtime-arg"]).arg(self.runc_root());
        if launch.terminal {
            command.arg("--terminal");
        }
        // conmon outlives us, so it must hold no pipe of ours but the one it knows of.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir("/");
        command
    }
}

/// Lets the child keep this one descriptor; every other is closed by exec.
fn inherit(command: &mut Command, descriptor: &OwnedFd) {
    let raw = descriptor.as_raw_fd();
    let keep = move || {
        // SAFETY: fcntl is async-signal-safe and the descriptor is open in the forked child.
        match unsafe { libc::fcntl(raw, libc::F_SETFD, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure allocates nothing and calls only fcntl.
    unsafe { command.pre_exec(keep) };
}

fn read_report(line: &str, code: Option<i32>) -> Result<i32, RuntimeError> {
    let failed = |message: String| RuntimeError::Command { program: "conmon".to_owned(), message };
    if line.is_empty() {
        return Err(failed(format!("exit code {} and no report", code.unwrap_or(-1))));
    }
    match serde_json::from_str::<Report>(line) {
        Ok(Report { data, .. }) if data > 0 => Ok(data),
        Ok(Report { message, .. }) => {
            let text = message.unwrap_or_else(|| "the container was not created".to_owned());
            Err(failed(plain(&text)))
        }
        Err(error) => Err(failed(format!("{error} in {line:?}"))),
    }
}

/// runc logs in logfmt; people want the sentence.
fn plain(text: &str) -> String {
    let message = text.rsplit_once("msg=\"").map_or(text, |(_, rest)| rest);
    message.trim().trim_end_matches('"').replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_pid_or_a_reason() {
        assert_eq!(read_report("{\"data\": 42}\n", Some(0)).unwrap(), 42);
        let text = r#"{"data": -1, "message": "time=\"t\" level=error msg=\"runc create failed: exec: \\\"/x\\\": no such file\"\n"}"#;
        let error = read_report(text, Some(0)).unwrap_err().to_string();
        assert_eq!(error, r#"conmon: runc create failed: exec: "/x": no such file"#);
        assert!(read_report("", Some(1)).unwrap_err().to_string().contains("exit code 1"));
        assert!(read_report("nonsense", Some(0)).is_err());
    }
}
