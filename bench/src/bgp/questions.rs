//! What an operator waits for while the table moves: questions to the admin socket of Viaduct, from a
//! thread of their own.

use std::{
    fmt,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use super::layout::{Layout, peer_address, prefix};
use crate::statistics::percentile;

/// Between one question and the next: people are slower, scripts hardly quicker.
const PAUSE: Duration = Duration::from_millis(5);
/// No answer at all is told as such, and not waited for.
const GIVEN_UP: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
struct Question {
    name: &'static str,
    path: String,
    /// To the last octet; else to the first, for what has as many as the table.
    whole: bool,
}

/// Of one prefix, of one peer, of everything.
fn questions(layout: &Layout) -> Result<Vec<Question>> {
    let some = prefix(layout.prefixes() / 3)?;
    let (inside, peer) = (some.address(), peer_address(layout.senders / 2));
    let whole = |name, path: &str| Question { name, path: path.to_owned(), whole: true };
    let begun = |name, path: &str| Question { name, path: path.to_owned(), whole: false };
    Ok(vec![
        whole("peers", "/v1/bgp/peers"),
        whole("peer ADDRESS", &format!("/v1/bgp/peer?peer={peer}")),
        whole("policy", "/v1/bgp/policy"),
        whole("routes PREFIX", &format!("/v1/bgp/routes?prefix={some}")),
        whole("routes ADDRESS", &format!("/v1/bgp/routes?prefix={inside}")),
        whole("routes --peer, 100 of them", &format!("/v1/bgp/routes?peer={peer}&limit=100")),
        begun("routes, first octet", "/v1/bgp/routes"),
        whole("events", "/v1/bgp/events"),
        whole("metrics", "/metrics"),
    ])
}

/// How long the answers to one question took.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub name: &'static str,
    secs: Vec<f64>,
}

impl Answers {
    pub(crate) fn count(&self) -> usize {
        self.secs.len()
    }

    /// Seconds below which a share of them lies.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        percentile(&mut self.secs.clone(), share)
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| self.percentile(share) * 1e3);
        let (name, count) = (self.name, self.count());
        write!(f, "{name:<28}{count:>6} answers{p50:>9.2}{p99:>9.2}{most:>9.2} ms p50, p99, max")
    }
}

/// Asks one question after another until it is told to stop.
pub(crate) struct Asking {
    thread: JoinHandle<Result<Vec<Answers>>>,
    stop: Arc<AtomicBool>,
}

impl Asking {
    pub(crate) fn begin(socket: PathBuf, layout: &Layout) -> Result<Self> {
        let questions = questions(layout)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut all: Vec<_> = questions
                .iter()
                .map(|question| Answers { name: question.name, secs: Vec::new() })
                .collect();
            while !stopped.load(Ordering::Relaxed) {
                for (question, answers) in questions.iter().zip(&mut all) {
                    let took = ask(&socket, question).with_context(|| question.path.clone())?;
                    answers.secs.push(took.as_secs_f64());
                    thread::sleep(PAUSE);
                }
            }
            Ok(all)
        });
        Ok(Self { thread, stop })
    }

    pub(crate) fn end(self) -> Result<Vec<Answers>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| anyhow!("the thread that asks has panicked"))?
    }
}

/// The connection is a new one each time, as the command line makes it.
fn ask(socket: &Path, question: &Question) -> Result<Duration> {
    let begun = Instant::now();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(GIVEN_UP))?;
    let path = &question.path;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: viaduct\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 256];
    let count = stream.read(&mut head)?;
    let text = String::from_utf8_lossy(&head[..count]);
    ensure!(text.starts_with("HTTP/1.1 200 "), "{text}");
    if question.whole {
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(begun.elapsed())
}
