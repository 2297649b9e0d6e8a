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

/// What the example program says of itself and of its client, and whom it asked in turn.
#[derive(Clone, Debug, Deserialize)]
pub struct Reply {
    #[serde(default)]
    pub service: String,
    #[serde(default)]
    pub version: String,
    pub pod: String,
    pub node: String,
    /// The address the pod saw.
    pub client: IpAddr,
    /// Its own address and port; UDP does not tell it.
    #[serde(default)]
    pub server: String,
    /// By which name it was asked.
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub calls: Vec<Called>,
}

/// What a service answered that was called, or why it did not.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Called {
    Reply(Box<Reply>),
    Failure { url: String, error: String, message: String },
}

impl Reply {
    pub fn client_address(&self) -> IpAddr {
        self.client.to_canonical()
    }

    /// The answers of all that were called, of those behind them too, this one first; fails where
    /// one is missing.
    pub fn hops(&self) -> Result<Vec<&Self>> {
        let mut hops = vec![self];
        for called in &self.calls {
            match called {
                Called::Reply(reply) => hops.extend(reply.hops()?),
                Called::Failure { url, error, message } => {
                    bail!("{} asked {url}: {error}: {message}", self.service)
                }
            }
        }
        Ok(hops)
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Line {
    #[serde(default)]
    summary: bool,
    #[serde(default)]
    ok: serde_json::Value,
    body: Option<Reply>,
    text: Option<String>,
    error: Option<String>,
    message: Option<String>,
    #[serde(default)]
    seq: u64,
    /// Milliseconds since the epoch.
    #[serde(default)]
    at: u64,
}

/// What a client says of all its requests together, at its end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub sent: u64,
    pub ok: u64,
    /// How many failed, by reason.
    pub failures: BTreeMap<String, u64>,
    pub seconds: f64,
    /// Latencies count from when a request was due.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// The longest time in which no request was answered well.
    pub longest_gap_ms: f64,
}

/// The requests of one client: what was answered, and what failed and how.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub replies: Vec<Reply>,
    /// `#seq @milliseconds-since-the-epoch kind message` of each failure.
    pub failures: Vec<String>,
    /// When each of those was due, in milliseconds since the epoch.
    pub failed_at: Vec<u64>,
    /// Of a client that has ended.
    pub summary: Option<Summary>,
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

    fn add(&mut self, text: &str) -> Result<()> {
        let printed = || format!("the client printed: {text}");
        let line: Line = serde_json::from_str(text).with_context(printed)?;
        if line.summary {
            self.summary = Some(serde_json::from_str(text).with_context(printed)?);
            return Ok(());
        }
        match (line.ok == true, line.body) {
            (true, Some(reply)) => self.replies.push(reply),
            // Of a service that answered for others what it answered says which of them failed.
            (_, Some(reply)) => {
                let why = reply.hops().err().map(|error| error.to_string()).unwrap_or_default();
                self.fail(line.seq, line.at, line.error, &why);
            }
            (_, None) => {
                let why = line.message.or(line.text).unwrap_or_default();
                self.fail(line.seq, line.at, line.error, &why);
            }
        }
        Ok(())
    }

    fn fail(&mut self, sequence: u64, at: u64, kind: Option<String>, why: &str) {
        let kind = kind.unwrap_or_default();
        self.failed_at.push(at);
        self.failures.push(format!("#{sequence} @{at} {kind} {why}"));
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
            .command(crate::cluster::program("viaduct-echo")?)
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
