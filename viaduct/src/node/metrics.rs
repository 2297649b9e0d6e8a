//! Prometheus metrics of a daemon, in the text format.

use std::{
    fmt::{Display, Write},
    time::Instant,
};

/// The process itself: since when it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    started: Instant,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn uptime_secs(self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

/// Collects metrics. Each name is written with its help and type once, before its first sample.
#[derive(Default)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help, value);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "counter", help, value);
    }

    fn metric(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// Writing to a string cannot fail, here and wherever else a result is dropped.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One counter for each value of a label.
    pub(crate) fn labelled<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl Iterator<Item = (&'a str, u64)>,
    ) {
        self.head(name, "counter", help);
        for (value, count) in samples {
            let _ = writeln!(self.0, "{name}{{{label}=\"{value}\"}} {count}");
        }
    }

    /// One gauge for each pair of values of two labels.
    pub(crate) fn labelled_gauges(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        samples: impl IntoIterator<Item = ([String; 2], u64)>,
    ) {
        self.head(name, "gauge", help);
        let [first, second] = labels;
        for ([one, two], value) in samples {
            let _ = writeln!(self.0, "{name}{{{first}=\"{one}\",{second}=\"{two}\"}} {value}");
        }
    }

    /// `buckets` has one count more than there are bounds: what is above them all.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[f64],
        buckets: &[u64],
        sum: f64,
    ) {
        self.head(name, "histogram", help);
        let mut count = 0;
        for (index, bucket) in buckets.iter().enumerate() {
            count += bucket;
            let bound = bounds.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            let _ = writeln!(self.0, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(self.0, "{name}_sum {sum}\n{name}_count {count}");
    }

    /// What another part has written in the same format.
    pub(crate) fn append(&mut self, text: &str) {
        self.0 += text;
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Resident memory of this process in bytes; 0 where the kernel does not say.
pub(crate) fn resident_bytes() -> u64 {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    pages * page.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format_of_prometheus() {
        let mut text = Text::default();
        text.gauge("viaduct_pods", "Pods on this node.", 3);
        let expected = "# HELP viaduct_pods Pods on this node.\n# TYPE viaduct_pods gauge\n\
                        viaduct_pods 3\n";
        assert_eq!(text.finish(), expected);
        let mut text = Text::default();
        text.histogram("h", "H.", &[0.5], &[2, 1], 3.0);
        assert!(
            text.finish()
                .ends_with("h_bucket{le=\"0.5\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 3\nh_count 3\n")
        );
        assert!(resident_bytes() > 0);
    }
}
