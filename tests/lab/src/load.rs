use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::IpAddr,
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;

use crate::Shell;

/// What the example program says of itself and of its client.
#[derive(Clone, Debug, Deserialize)]
pub struct Reply {
    pub pod: String,
    pub node: String,
    /// The address the pod saw.
    pub client: IpAddr,
}

impl Reply {
    pub fn client_address(&self) -> IpAddr {
        self.client.to_canonical()
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Line {
    #[serde(default)]
    summary: bool,
    #[serde(default)]
    ok: serde_json::Value,
    body: Option<Reply>,
    error: Option<String>,
    message: Option<String>,
    #[serde(default)]
    seq: u64,
}

/// The requests of one client: what was answered, and what failed and how.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub replies: Vec<Reply>,
    /// `seq kind message` of each failure.
    pub failures: Vec<String>,
}

impl Outcome {
    pub fn sent(&self) -> usize {
        self.replies.len() + self.failures.len()
    }

    pub fn by_pod(&self) -> BTreeMap<&str, usize> {
        let mut pods = BTreeMap::new();
        for reply in &self.replies {
            *pods.entry(reply.pod.as_str()).or_default() += 1;
        }
        pods
    }

    /// Fails unless every request was answered.
    pub fn none_lost(&self, what: &str) -> Result<()> {
        if !self.failures.is_empty() {
            let shown = self.failures.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
            bail!("{what}: {} of {} requests failed: {shown}", self.failures.len(), self.sent());
        }
        if self.replies.is_empty() {
            bail!("{what}: no request was made");
        }
        Ok(())
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let line: Line =
            serde_json::from_str(line).with_context(|| format!("the client printed: {line}"))?;
        if line.summary {
            return Ok(());
        }
        match (line.ok == true, line.body) {
            (true, Some(reply)) => self.replies.push(reply),
            _ => self.failures.push(format!(
                "#{} {} {}",
                line.seq,
                line.error.unwrap_or_default(),
                line.message.unwrap_or_default()
            )),
        }
        Ok(())
    }
}

/// A client that goes on asking until it is told to end.
pub struct Load {
    child: Child,
    outcome: Arc<Mutex<Outcome>>,
    reader: Option<JoinHandle<Result<()>>>,
}

impl Load {
    /// `arguments` are those of `viaduct-echo`: `get URL` or `udp ADDRESS:PORT`, and options.
    pub fn start(shell: &Shell, arguments: &[&str]) -> Result<Self> {
        let mut child = shell
            .command(crate::cluster::binary("viaduct-echo")?)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .context("start viaduct-echo")?;
        let stdout = child.stdout.take().context("the client has no output")?;
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let shared = outcome.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                shared.lock().unwrap_or_else(PoisonError::into_inner).add(&line?)?;
            }
            Ok(())
        });
        Ok(Self { child, outcome, reader: Some(reader) })
    }

    /// How many requests have been answered or failed so far.
    pub fn sent(&self) -> usize {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).sent()
    }

    /// What has happened so far.
    pub fn so_far(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the client and gives what became of its requests.
    pub fn stop(mut self) -> Result<Outcome> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        self.join()
    }

    /// Waits for a client with a count of its own.
    pub fn join(&mut self) -> Result<Outcome> {
        self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            match reader.join() {
                Ok(result) => result?,
                Err(_panic) => bail!("the reader of the client's output panicked"),
            }
        }
        Ok(self.so_far())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that fails leaves no client behind; one that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shell {
    /// Makes `count` requests and waits for them.
    pub fn ask(&self, kind: &str, target: &str, count: usize) -> Result<Outcome> {
        Load::start(self, &[kind, target, "-n", &count.to_string()])?.join()
    }
}
