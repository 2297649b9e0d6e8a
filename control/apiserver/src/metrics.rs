//! Counters of the server, as Prometheus text.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the buckets of the duration histogram, in milliseconds.
const BUCKETS_MILLIS: [u64; 8] = [1, 5, 10, 50, 100, 500, 1000, 5000];

/// Label values are names of kinds, verbs and status codes, so there are few series.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    buckets: [AtomicU64; BUCKETS_MILLIS.len()],
    duration_count: AtomicU64,
    duration_micros: AtomicU64,
    pub(crate) watches: AtomicI64,
    pub(crate) connections: AtomicI64,
    pub(crate) connections_refused: AtomicU64,
}

impl Metrics {
    pub(crate) fn request(
        &self,
        verb: &'static str,
        resource: &'static str,
        code: u16,
        duration: Duration,
    ) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((verb, resource, code)).or_default() += 1;
        drop(requests);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        for (bound, bucket) in BUCKETS_MILLIS.iter().zip(&self.buckets) {
            if micros <= bound * 1000 {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.duration_count.fetch_add(1, Ordering::Relaxed);
        self.duration_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn render(&self, revision: u64) -> String {
        let mut out = String::new();
        self.write(&mut out, revision).unwrap_or_default();
        out
    }

    fn write(&self, out: &mut String, revision: u64) -> std::fmt::Result {
        writeln!(out, "# HELP apiserver_request_total Requests answered.")?;
        writeln!(out, "# TYPE apiserver_request_total counter")?;
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((verb, resource, code), count) in requests {
            writeln!(
                out,
                "apiserver_request_total{{verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"}} \
                 {count}"
            )?;
        }
        let name = "apiserver_request_duration_seconds";
        writeln!(out, "# HELP {name} Time to the head of the answer; watches left out.")?;
        writeln!(out, "# TYPE {name} histogram")?;
        for (bound, bucket) in BUCKETS_MILLIS.iter().zip(&self.buckets) {
            let (secs, millis) = (bound / 1000, bound % 1000);
            let count = bucket.load(Ordering::Relaxed);
            writeln!(out, "{name}_bucket{{le=\"{secs}.{millis:03}\"}} {count}")?;
        }
        let count = self.duration_count.load(Ordering::Relaxed);
        let micros = self.duration_micros.load(Ordering::Relaxed);
        writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}")?;
        writeln!(out, "{name}_sum {}.{:06}", micros / 1_000_000, micros % 1_000_000)?;
        writeln!(out, "{name}_count {count}")?;
        for (name, kind, help, value) in [
            (
                "apiserver_watches",
                "gauge",
                "Watches that are open.",
                self.watches.load(Ordering::Relaxed),
            ),
            (
                "apiserver_connections",
                "gauge",
                "Connections that are open.",
                self.connections.load(Ordering::Relaxed),
            ),
            (
                "apiserver_connections_refused_total",
                "counter",
                "Connections over the limit.",
                i64::try_from(self.connections_refused.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
            ),
            (
                "apiserver_store_revision",
                "gauge",
                "The newest revision of the store.",
                i64::try_from(revision).unwrap_or(i64::MAX),
            ),
        ] {
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")?;
        }
        Ok(())
    }
}
