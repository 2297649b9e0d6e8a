//! What is fuzzed: functions that take any octets and panic where a promise is broken.
//!
//! `fuzz/libfuzzer` makes a fuzzer of each (`make fuzz`), and the tests of this crate run them over
//! `fuzz/corpus`, which is what fuzzing has found worth keeping so far.

#![expect(clippy::unwrap_used, reason = "a broken promise is to end in a panic")]

mod config;
pub mod corpus;
mod input;
mod message;
mod mrt;
mod speaker;
mod update;

pub use config::config;
pub use message::message;
pub use mrt::mrt;
pub use speaker::speaker;
pub use update::update;

/// One thing to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

pub const TARGETS: [Target; 5] = [
    Target { name: "message", run: message },
    Target { name: "update", run: update },
    Target { name: "speaker", run: speaker },
    Target { name: "config", run: config },
    Target { name: "mrt", run: mrt },
];
