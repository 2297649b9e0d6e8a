//! What the client prints: a line for each request, and the summary.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::histogram::Histogram;
use crate::{
    failure::Failure,
    http::Answer,
    json::{self, Object},
};

/// Pods that the summary counts one by one.
const PODS_MAX: usize = 1024;

/// Requests tell of themselves from many threads.
pub(crate) struct Report(Mutex<Tally>);

struct Tally {
    begun: Instant,
    begun_at: SystemTime,
    sent: u64,
    ok: u64,
    latencies: Histogram,
    /// When a request was last answered well, and the longest time in which none was.
    good: Instant,
    longest_gap: Duration,
    pods: BTreeMap<String, u64>,
    failures: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(Tally {
            begun: now,
            begun_at: SystemTime::now(),
            sent: 0,
            ok: 0,
            latencies: Histogram::new(),
            good: now,
            longest_gap: Duration::ZERO,
            pods: BTreeMap::new(),
            failures: BTreeMap::new(),
        }))
    }

    /// Counts and prints a request that should have been sent at `due` and is answered now.
    pub(crate) fn note(
        &self,
        sequence: u64,
        due: Instant,
        result: &Result<Answer, Failure>,
    ) -> Result<(), String> {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tally.note(result, due, now);
        emit(&line(sequence, tally.clock(due), result, now - due))
    }

    /// Prints the summary.
    pub(crate) fn finish(self) -> Result<ExitCode, String> {
        let mut tally = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        emit(&tally.summary(Instant::now()))?;
        Ok(if tally.ok == tally.sent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Tally {
    /// Milliseconds since the epoch.
    fn clock(&self, at: Instant) -> u128 {
        let at = self.begun_at + at.saturating_duration_since(self.begun);
        at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
    }

    fn note(&mut self, result: &Result<Answer, Failure>, due: Instant, now: Instant) {
        self.sent += 1;
        self.latencies.add(now.saturating_duration_since(due));
        match result {
            Ok(answer) if answer.is_success() => {
                self.ok += 1;
                self.close_gap(now);
                if let Some(pod) = json::string_field(&answer.body, "pod")
                    && (self.pods.len() < PODS_MAX || self.pods.contains_key(pod))
                {
                    *self.pods.entry(pod.to_owned()).or_default() += 1;
                }
            }
            Ok(_refused) => *self.failures.entry("status").or_default() += 1,
            Err(failure) => *self.failures.entry(failure.kind).or_default() += 1,
        }
    }

    fn close_gap(&mut self, now: Instant) {
        self.longest_gap = self.longest_gap.max(now.saturating_duration_since(self.good));
        self.good = now;
    }

    fn summary(&mut self, now: Instant) -> String {
        self.close_gap(now);
        let counts = |counts: &mut dyn Iterator<Item = (&str, u64)>| {
            counts.fold(Object::new(), |object, (name, count)| object.raw(name, &count.to_string()))
        };
        let pods = counts(&mut self.pods.iter().map(|(pod, count)| (pod.as_str(), *count)));
        let failures = counts(&mut self.failures.iter().map(|(kind, count)| (*kind, *count)));
        Object::new()
            .raw("summary", "true")
            .raw("sent", &self.sent.to_string())
            .raw("ok", &self.ok.to_string())
            .raw("failed", &(self.sent - self.ok).to_string())
            .raw("failures", &failures.finish())
            .raw("seconds", &format!("{:.3}", (now - self.begun).as_secs_f64()))
            .raw("p50Ms", &milliseconds(self.latencies.percentile(50)))
            .raw("p99Ms", &milliseconds(self.latencies.percentile(99)))
            .raw("maxMs", &milliseconds(self.latencies.max()))
            .raw("longestGapMs", &milliseconds(self.longest_gap))
            .raw("pods", &pods.finish())
            .finish()
    }
}

fn emit(line: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| format!("stdout: {e}"))
}

fn line(sequence: u64, at: u128, result: &Result<Answer, Failure>, took: Duration) -> String {
    let line = Object::new()
        .raw("seq", &sequence.to_string())
        .raw("at", &at.to_string())
        .raw("ms", &milliseconds(took));
    match result {
        Ok(answer) => {
            let line = line.raw("ok", if answer.is_success() { "true" } else { "false" });
            let line = match answer.status {
                Some(status) => line.raw("status", &status.to_string()),
                None => line,
            };
            let line = if answer.is_success() { line } else { line.string("error", "status") };
            let body = answer.body.trim_end();
            if json::is_object(body) {
                line.raw("body", body).finish()
            } else {
                line.string("text", body).finish()
            }
        }
        Err(failure) => line
            .raw("ok", "false")
            .string("error", failure.kind)
            .string("message", &failure.message)
            .finish(),
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answer, Failure> {
        Ok(Answer { status: Some(status), body: body.to_owned() })
    }

    #[test]
    fn a_line_tells_what_came_of_a_request() {
        let of = |result| line(7, 1_000, &result, Duration::from_micros(1_500));
        assert_eq!(
            of(answer(200, "{\"pod\":\"a\"}\n")),
            r#"{"seq":7,"at":1000,"ms":1.500,"ok":true,"status":200,"body":{"pod":"a"}}"#
        );
        assert_eq!(
            of(answer(503, "full\n")),
            r#"{"seq":7,"at":1000,"ms":1.500,"ok":false,"status":503,"error":"status","text":"full"}"#
        );
        assert!(
            of(Err(Failure::new("refused", "no")))
                .ends_with(r#""error":"refused","message":"no"}"#)
        );
        assert!(of(answer(200, "{broken}")).ends_with(r#""text":"{broken}"}"#));
    }

    #[test]
    fn the_summary_counts() {
        let report = Report::new();
        let mut tally = report.0.into_inner().unwrap();
        let at = |millis| tally.begun + Duration::from_millis(millis);
        let times = [(0, 10), (20, 25), (40, 540), (560, 570)].map(|(due, now)| (at(due), at(now)));
        let end = at(600);
        let results = [
            answer(200, r#"{"pod":"a"}"#),
            answer(502, "x"),
            Err(Failure::new("timeout", "")),
            answer(200, r#"{"pod":"a"}"#),
        ];
        for (result, (due, now)) in results.iter().zip(times) {
            tally.note(result, due, now);
        }
        let summary = tally.summary(end);
        assert!(json::is_object(&summary));
        for part in [
            r#""sent":4,"ok":2,"failed":2,"failures":{"status":1,"timeout":1},"seconds":0.600"#,
            r#""maxMs":500.000,"longestGapMs":560.000,"pods":{"a":2}"#,
        ] {
            assert!(summary.contains(part), "{summary}");
        }
    }
}
