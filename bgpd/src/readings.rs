//! How the configuration was read, where it is a file that may become another.

use std::mem;

use bgp_speaker::Happening;

use crate::metrics::{heading, line};

/// What has come of it so far.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    taken: u64,
    refused: u64,
    /// In what was read last.
    errors: usize,
}

impl Readings {
    /// The configuration was read, with these errors; gives what is to be told of it.
    pub(crate) fn note(&mut self, errors: Vec<String>) -> Option<Happening> {
        let before = mem::replace(&mut self.errors, errors.len());
        if !errors.is_empty() {
            self.refused += 1;
            return Some(Happening::ConfigurationRefused(errors));
        }
        self.taken += 1;
        (before > 0).then_some(Happening::ConfigurationMended)
    }

    /// Nothing where no file is read.
    pub(crate) fn metrics(&self, text: &mut String) {
        let Self { taken, refused, errors } = self;
        if taken + refused == 0 {
            return;
        }
        let name = "viaduct_bgp_configuration_errors";
        heading(
            text,
            name,
            "gauge",
            "Errors of the file as it was read last; 0 where it is in force.",
        );
        line(text, format_args!("{name} {errors}"));
        let name = "viaduct_bgp_configuration_readings_total";
        heading(text, name, "counter", "How often the file was read, and what came of it.");
        for (outcome, count) in [("taken", taken), ("refused", refused)] {
            line(text, format_args!("{name}{{outcome=\"{outcome}\"}} {count}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(readings: &mut Readings, errors: &[&str]) -> Option<(&'static str, String)> {
        let told = readings.note(errors.iter().map(|error| (*error).to_owned()).collect());
        told.map(|what| (what.name(), what.to_string()))
    }

    #[test]
    fn what_is_wrong_is_told_each_time_and_what_is_right_once() {
        let mut readings = Readings::default();
        let mut text = String::new();
        readings.metrics(&mut text);
        assert_eq!(text, "");
        assert_eq!(told(&mut readings, &[]), None);
        let two = Some(("configuration-refused", "a: x; b: y".to_owned()));
        assert_eq!(told(&mut readings, &["a: x", "b: y"]), two);
        assert_eq!(told(&mut readings, &["a: x", "b: y"]), two);
        readings.metrics(&mut text);
        for line in [
            "viaduct_bgp_configuration_errors 2\n",
            "viaduct_bgp_configuration_readings_total{outcome=\"taken\"} 1\n",
            "viaduct_bgp_configuration_readings_total{outcome=\"refused\"} 2\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let mended = Some(("configuration-mended", "it is right again".to_owned()));
        assert_eq!(told(&mut readings, &[]), mended);
        assert_eq!(told(&mut readings, &[]), None);
    }

    #[test]
    fn of_very_many_errors_some_are_told() {
        let errors: Vec<_> = (0..1000).map(|at| format!("peer {at}: wrong")).collect();
        let told = Readings::default().note(errors).unwrap().to_string();
        assert!(told.ends_with("peer 7: wrong; and 992 more"), "{told}");
    }
}
