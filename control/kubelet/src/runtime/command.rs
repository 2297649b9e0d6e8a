//! Programs that are run to their end, within a time.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command};

use super::RuntimeError;

pub(super) struct Output {
    pub(super) success: bool,
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Output {
    pub(super) fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        match text.trim() {
            "" => format!("exit code {}", self.code.unwrap_or(-1)),
            complaint => complaint.to_owned(),
        }
    }
}

/// Runs a program; one that takes longer than `limit` is killed.
pub(super) async fn run(
    mut command: Command,
    stdin: &[u8],
    limit: Duration,
) -> Result<Output, RuntimeError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = || RuntimeError::io(program.clone());
    let input = if stdin.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed())?;
    let work = async {
        if let Some(mut pipe) = child.stdin.take() {
            // A program that does not read its input says by its exit code what it thinks of it.
            match pipe.write_all(stdin).await {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        child.wait_with_output().await
    };
    match tokio::time::timeout(limit, work).await {
        Ok(done) => {
            let output = done.map_err(failed())?;
            Ok(Output {
                success: output.status.success(),
                code: output.status.code(),
                stdout: output.stdout,
                stderr: output.stderr,
            })
        }
        Err(_elapsed) => Err(RuntimeError::Timeout { what: program, limit_secs: limit.as_secs() }),
    }
}
