//! What the client is told on its command line.

use std::time::Duration;

use crate::{http::Families, resolve::RESOLV_CONF};

/// A thread for each request that is under way.
const IN_FLIGHT_MAX: u64 = 1024;
const IN_FLIGHT_DEFAULT: u64 = 256;

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) target: String,
    /// 0: until SIGTERM.
    pub(crate) count: u64,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// How many requests may be under way at once, where there is a pace.
    pub(crate) in_flight: u64,
    pub(crate) families: Families,
    pub(crate) keepalive: bool,
    pub(crate) unconnected: bool,
    pub(crate) resolv_conf: String,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            target: String::new(),
            count: 1,
            interval: Duration::ZERO,
            timeout: Duration::from_secs(1),
            in_flight: IN_FLIGHT_DEFAULT,
            families: Families::Both,
            keepalive: false,
            unconnected: false,
            resolv_conf: RESOLV_CONF.to_owned(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
            let mut number = || {
                let text = value()?;
                text.parse::<u64>().map_err(|e| format!("{argument} {text}: {e}"))
            };
            match argument.as_str() {
                "-n" => options.count = number()?,
                "--interval-ms" => options.interval = Duration::from_millis(number()?),
                // A timeout of zero is an error to the socket calls.
                "--timeout-ms" => options.timeout = Duration::from_millis(number()?.max(1)),
                "--in-flight" => options.in_flight = number()?.clamp(1, IN_FLIGHT_MAX),
                "--resolv-conf" => options.resolv_conf = value()?.clone(),
                "-4" => options.families = Families::V4,
                "-6" => options.families = Families::V6,
                "--keepalive" => options.keepalive = true,
                "--unconnected" => options.unconnected = true,
                flag if flag.starts_with('-') => return Err(format!("{flag}: unknown option")),
                target if options.target.is_empty() => options.target = target.to_owned(),
                extra => return Err(format!("{extra}: one target is enough")),
            }
        }
        match options.target.is_empty() {
            true => Err(String::from("no target given")),
            false => Ok(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let parse = |words: &[&str]| {
            Options::parse(&words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>())
        };
        let options = parse(&["10.0.0.1:80", "-n", "3", "--timeout-ms", "0", "-6"]).unwrap();
        assert_eq!((options.count, options.timeout), (3, Duration::from_millis(1)));
        assert_eq!(options.families, Families::V6);
        assert_eq!(parse(&["a", "--in-flight", "0"]).unwrap().in_flight, 1);
        assert!(parse(&[]).is_err());
        assert!(parse(&["a", "b"]).is_err());
        assert!(parse(&["a", "--what"]).is_err());
        assert!(parse(&["a", "-n", "x"]).is_err());
        assert!(parse(&["a", "--resolv-conf"]).is_err());
    }
}
