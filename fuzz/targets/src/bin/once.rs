//! `once TARGET FILE…`: runs inputs as the fuzzer would, in an ordinary build.

use std::{env, fs, io};

use viaduct_fuzz_targets::TARGETS;

fn main() -> io::Result<()> {
    let mut words = env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let target = TARGETS.into_iter().find(|target| target.name == name);
    let target = target.ok_or_else(|| io::Error::other("expected: once TARGET FILE…"))?;
    words.try_for_each(|file| fs::read(file).map(|input| (target.run)(&input)))
}
