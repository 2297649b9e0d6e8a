//! What was asked and how it ended, in the text format of Prometheus.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use domain::base::{Rtype, iana::Rcode};

/// Types with a count of their own; every other is `other`, or who asks would choose how many there
/// are.
const TYPES: [(Rtype, &str); 11] = [
    (Rtype::A, "A"),
    (Rtype::AAAA, "AAAA"),
    (Rtype::ANY, "ANY"),
    (Rtype::CNAME, "CNAME"),
    (Rtype::HTTPS, "HTTPS"),
    (Rtype::MX, "MX"),
    (Rtype::NS, "NS"),
    (Rtype::PTR, "PTR"),
    (Rtype::SOA, "SOA"),
    (Rtype::SRV, "SRV"),
    (Rtype::TXT, "TXT"),
];
const RCODES: [(Rcode, &str); 6] = [
    (Rcode::NOERROR, "NOERROR"),
    (Rcode::FORMERR, "FORMERR"),
    (Rcode::SERVFAIL, "SERVFAIL"),
    (Rcode::NXDOMAIN, "NXDOMAIN"),
    (Rcode::NOTIMP, "NOTIMP"),
    (Rcode::REFUSED, "REFUSED"),
];
const OTHER: &str = "other";
/// Upper bounds of the latency histogram; above them is one bucket more.
const BOUNDS_MICROS: [u64; 10] =
    [50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000];

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    queries: [[Counter; RCODES.len() + 1]; TYPES.len() + 1],
    latency: [Counter; BOUNDS_MICROS.len() + 1],
    latency_sum_micros: AtomicU64,
    pub cache_hits: Counter,
    pub forwarded: Counter,
    pub forward_failures: Counter,
    pub truncated: Counter,
    /// Neither a query nor something to be refused.
    pub dropped: Counter,
    /// Too many questions or connections at once.
    pub overloaded: Counter,
    pub tcp_connections: Counter,
}

impl Metrics {
    /// One query that was answered; `None` for one that is of no type.
    pub(crate) fn answered(&self, rtype: Option<Rtype>, rcode: Rcode, took: Duration) {
        let type_index = TYPES.iter().position(|(known, _)| Some(*known) == rtype);
        let rcode_index = RCODES.iter().position(|(known, _)| *known == rcode);
        self.queries[type_index.unwrap_or(TYPES.len())][rcode_index.unwrap_or(RCODES.len())].add();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.iter().position(|bound| micros <= *bound);
        self.latency[bucket.unwrap_or(BOUNDS_MICROS.len())].add();
        self.latency_sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// All queries that were answered.
    pub(crate) fn total(&self) -> u64 {
        self.queries.iter().flatten().map(Counter::value).sum()
    }

    pub(crate) fn text(&self, services: usize) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail, here and below.
        let name = "viaduct_dns_queries_total";
        head(&mut text, name, "counter", "Queries answered, by type and outcome.");
        let types = TYPES.iter().map(|(_, name)| *name).chain([OTHER]);
        for (rtype, row) in types.zip(&self.queries) {
            let rcodes = RCODES.iter().map(|(_, name)| *name).chain([OTHER]);
            for (rcode, count) in rcodes.zip(row) {
                let count = count.value();
                if count > 0 {
                    let _ = writeln!(text, "{name}{{type=\"{rtype}\",rcode=\"{rcode}\"}} {count}");
                }
            }
        }
        let counters = [
            ("forwarded", "Queries asked of the node's name servers.", &self.forwarded),
            ("forward_failures", "Of those, the ones without any answer.", &self.forward_failures),
            ("cache_hits", "Answers of name servers given again.", &self.cache_hits),
            ("truncated", "Answers that did not fit a datagram.", &self.truncated),
            ("dropped", "Messages that are no queries.", &self.dropped),
            ("overloaded", "Queries and connections refused as too many.", &self.overloaded),
            ("tcp_connections", "TCP connections accepted.", &self.tcp_connections),
        ];
        for (name, help, counter) in counters {
            let name = format!("viaduct_dns_{name}_total");
            head(&mut text, &name, "counter", help);
            let _ = writeln!(text, "{name} {}", counter.value());
        }
        let name = "viaduct_dns_services";
        head(&mut text, name, "gauge", "Services there are names for.");
        let _ = writeln!(text, "{name} {services}");
        self.latency(&mut text);
        text
    }

    fn latency(&self, text: &mut String) {
        let name = "viaduct_dns_latency_seconds";
        head(text, name, "histogram", "From a query received to its answer sent.");
        let mut count = 0;
        let bounds = BOUNDS_MICROS.iter().map(|micros| (*micros as f64 / 1e6).to_string());
        for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(&self.latency) {
            count += bucket.value();
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let sum = self.latency_sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format_of_prometheus() {
        let metrics = Metrics::default();
        metrics.answered(Some(Rtype::A), Rcode::NXDOMAIN, Duration::from_micros(70));
        metrics.answered(Some(Rtype::LOC), Rcode::NOERROR, Duration::from_secs(10));
        metrics.answered(None, Rcode::YXRRSET, Duration::ZERO);
        let text = metrics.text(4);
        for line in [
            "viaduct_dns_queries_total{type=\"A\",rcode=\"NXDOMAIN\"} 1",
            "viaduct_dns_queries_total{type=\"other\",rcode=\"NOERROR\"} 1",
            "viaduct_dns_queries_total{type=\"other\",rcode=\"other\"} 1",
            "viaduct_dns_latency_seconds_bucket{le=\"0.00005\"} 1",
            "viaduct_dns_latency_seconds_bucket{le=\"0.0001\"} 2",
            "viaduct_dns_latency_seconds_bucket{le=\"+Inf\"} 3",
            "viaduct_dns_services 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(metrics.total(), 3);
    }
}
