//! What `up` tells while it works: a line a stage, with the time it took.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stage {
    pub name: &'static str,
    pub millis: u64,
}

pub(crate) struct Progress {
    begun: Instant,
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
        Self { begun: Instant::now(), stage: None, stages: Vec::new(), quiet, live }
    }

    pub(crate) fn begin(&mut self, name: &'static str) {
        self.end();
        self.stage = Some((name, Instant::now()));
        self.note("");
    }

    /// Says on a terminal what the stage is waiting for.
    pub(crate) fn note(&self, what: &str) {
        if let (true, Some((name, _))) = (self.live, self.stage) {
            eprint!("\r\x1b[K  … {name} {what}");
            // Progress that cannot be shown is no failure.
            let _ = std::io::stderr().flush();
        }
    }

    pub(crate) fn end(&mut self) {
        let Some((name, begun)) = self.stage.take() else { return };
        let took = begun.elapsed();
        self.stages.push(Stage { name, millis: took.as_millis() as u64 });
        if self.live {
            eprint!("\r\x1b[K");
        }
        if !self.quiet {
            eprintln!("  ✓ {name} ({:.1} s)", took.as_secs_f64());
        }
    }

    pub(crate) fn total(&self) -> Duration {
        self.begun.elapsed()
    }
}
