//! What `up` tells while it works: a line a stage, with the time it took.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stage {
    pub name: &'static str,
    pub millis: u64,
}

pub(crate) struct Progress {
    begun: Instant,
    /// The same as the objects of the API tell it.
    pub begun_at: SystemTime,
    stage: Option<(&'static str, Instant)>,
    pub stages: Vec<Stage>,
    /// Nothing is printed where a script reads the result.
    quiet: bool,
    /// A terminal sees the stage that is under way, a log only those that are done.
    live: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let live = !quiet && std::io::stderr().is_terminal();
        Self {
            begun: Instant::now(),
            begun_at: SystemTime::now(),
            stage: None,
            stages: Vec::new(),
            quiet,
            live,
        }
    }

    pub(crate) fn begin(&mut self, name: &'static str) {
        self.end();
        self.stage = Some((name, Instant::now()));
        self.note("");
    }

    /// Says on a terminal what the stage is waiting for.
    pub(crate) fn note(&self, what: &str) {
        if let (true, Some((name, _))) = (self.live, self.stage) {
            say(&format!("\r\x1b[K  … {name} {what}"));
        }
    }

    pub(crate) fn end(&mut self) {
        let Some((name, begun)) = self.stage.take() else { return };
        let took = begun.elapsed();
        self.stages.push(Stage { name, millis: took.as_millis() as u64 });
        if self.live {
            say("\r\x1b[K");
        }
        if !self.quiet {
            say(&format!("  ✓ {name} ({:.1} s)\n", took.as_secs_f64()));
        }
    }

    /// Says something above the line of the stage that is under way.
    pub(crate) fn warn(&self, text: &str) {
        if self.live {
            say("\r\x1b[K");
        }
        say(text);
    }

    pub(crate) fn total(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// Progress that cannot be shown is no failure, least of all one that stops half-way.
fn say(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
