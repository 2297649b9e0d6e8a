//! The services that this one asks before it answers, all at once.

use std::{num::ParseIntError, thread, time::Duration};

use crate::{
    failure::Failure,
    http::{Answer, Asking, Families},
    json::{self, Object},
    resolve::{RESOLV_CONF, Resolver},
    url::Url,
};

/// How many services stand one behind another, at most: more are calls in a circle.
pub(crate) const DEPTH_MAX: u32 = 8;
/// The field that tells a service how many stand before it.
pub(crate) const DEPTH_FIELD: &str = "X-Viaduct-Depth";
const CALLS_MAX: usize = 16;
/// An answer holds those of everybody behind it.
const BODY_BYTES_MAX: u64 = 256 * 1024;
const TIMEOUT_MS_DEFAULT: u64 = 2_000;
const STACK_BYTES: usize = 128 * 1024;

#[derive(Debug)]
pub(crate) struct Calls {
    targets: Vec<(String, Url)>,
    timeout: Duration,
    resolver: Resolver,
}

/// What the called have answered, as JSON, and whether all of it is well.
pub(crate) struct Called {
    pub(crate) json: String,
    pub(crate) is_whole: bool,
}

impl Calls {
    /// `CALLS` has the URLs, with spaces between them; `CALL_TIMEOUT_MS` is for each.
    pub(crate) fn from_env() -> Result<Self, String> {
        let timeout = match std::env::var("CALL_TIMEOUT_MS") {
            Ok(text) => text
                .parse()
                .map_err(|error: ParseIntError| format!("CALL_TIMEOUT_MS={text}: {error}"))?,
            Err(_unset) => TIMEOUT_MS_DEFAULT,
        };
        let resolver = Resolver::from_files(RESOLV_CONF);
        let targets = std::env::var("CALLS").unwrap_or_default();
        Self::new(&targets, Duration::from_millis(timeout.max(1)), resolver)
    }

    pub(crate) fn new(
        targets: &str,
        timeout: Duration,
        resolver: Resolver,
    ) -> Result<Self, String> {
        let targets = targets
            .split_whitespace()
            .map(|text| Ok((text.to_owned(), Url::parse(text)?)))
            .collect::<Result<Vec<_>, String>>()
            .map_err(|error| format!("CALLS: {error}"))?;
        match targets.len() {
            0..=CALLS_MAX => Ok(Self { targets, timeout, resolver }),
            count => Err(format!("CALLS: {count} targets, and {CALLS_MAX} are allowed")),
        }
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Asks everybody; `None` where there is nobody to be asked.
    pub(crate) fn call(&self, depth: u32) -> Option<Called> {
        if self.targets.is_empty() {
            return None;
        }
        let results: Vec<(String, bool)> = thread::scope(|scope| {
            let threads: Vec<_> = self.targets[1..]
                .iter()
                .map(|target| {
                    thread::Builder::new()
                        .stack_size(STACK_BYTES)
                        .spawn_scoped(scope, move || self.ask(target, depth))
                })
                .collect();
            // The first is asked here: most services ask only one.
            let mut results = vec![self.ask(&self.targets[0], depth)];
            for (thread, target) in threads.into_iter().zip(&self.targets[1..]) {
                results.push(match thread.map(thread::ScopedJoinHandle::join) {
                    Ok(Ok(result)) => result,
                    Ok(Err(_panic)) => failed(&target.0, &Failure::new("other", "panicked")),
                    Err(error) => failed(&target.0, &error.into()),
                });
            }
            results
        });
        let is_whole = results.iter().all(|(_, is_whole)| *is_whole);
        let json = json::array(results.into_iter().map(|(json, _)| json));
        Some(Called { json, is_whole })
    }

    fn ask(&self, (text, url): &(String, Url), depth: u32) -> (String, bool) {
        if depth >= DEPTH_MAX {
            let why = format!("{depth} services stand one behind another: a circle?");
            return failed(text, &Failure::new("too-deep", why));
        }
        // Whoever stands further behind gives up earlier, so that its reason comes through.
        let timeout = self.timeout * (DEPTH_MAX - depth) / DEPTH_MAX;
        let asking = Asking {
            resolver: &self.resolver,
            families: Families::Both,
            timeout,
            body_bytes_max: BODY_BYTES_MAX,
        };
        let fields = format!("Connection: close\r\n{DEPTH_FIELD}: {}\r\n", depth + 1);
        let answer = asking
            .connect(url)
            .and_then(|mut connection| asking.get(&mut connection, url, &fields));
        match answer {
            Ok(answer) => outcome(text, &answer),
            Err(failure) => failed(text, &failure),
        }
    }
}

/// What is put into our own answer: theirs as it is, or why there is none.
fn outcome(target: &str, answer: &Answer) -> (String, bool) {
    let body = answer.body.trim_end();
    if json::is_object(body) {
        // Where it is not whole, its own entries say what is missing.
        return (body.to_owned(), answer.is_success());
    }
    let status = answer.status.unwrap_or_default();
    let line = body.lines().next().unwrap_or_default();
    let (kind, message) = match answer.is_success() {
        true => ("malformed", format!("no JSON object: {line}")),
        false => ("status", format!("{status}: {line}")),
    };
    failed(target, &Failure::new(kind, message))
}

fn failed(target: &str, failure: &Failure) -> (String, bool) {
    let entry = Object::new()
        .string("url", target)
        .string("error", failure.kind)
        .string("message", &failure.message);
    (entry.finish(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(targets: &str) -> Result<Calls, String> {
        Calls::new(targets, Duration::from_secs(1), Resolver::from_files("/dev/null"))
    }

    #[test]
    fn targets_are_checked() {
        assert!(calls("").unwrap().call(0).is_none());
        assert_eq!(calls(" http://a/  http://b:81/ ").unwrap().targets.len(), 2);
        assert!(calls("http://a b:c").unwrap_err().starts_with("CALLS: "));
        assert!(calls(&"http://a ".repeat(17)).unwrap_err().contains("17 targets"));
    }

    #[test]
    fn one_failure_is_told_and_spoils_the_whole() {
        let called = calls("http://127.0.0.1:1/").unwrap().call(0).unwrap();
        assert!(!called.is_whole);
        assert!(called.json.contains(r#""url":"http://127.0.0.1:1/","error":"refused""#));
    }

    #[test]
    fn a_circle_ends() {
        let called = calls("http://127.0.0.1:1/").unwrap().call(DEPTH_MAX).unwrap();
        assert!(called.json.contains(r#""error":"too-deep""#), "{}", called.json);
    }

    #[test]
    fn answers_are_taken_as_they_are_or_not_at_all() {
        let of = |status, body: &str| {
            outcome("http://a/", &Answer { status: Some(status), body: body.to_owned() })
        };
        assert_eq!(of(200, "{\"a\":1}\n"), (String::from("{\"a\":1}"), true));
        assert_eq!(of(502, "{\"a\":1}"), (String::from("{\"a\":1}"), false));
        assert!(of(200, "hello\nyou").0.contains("no JSON object: hello"));
        assert!(of(503, "too many").0.contains(r#""error":"status","message":"503: too many""#));
    }
}
