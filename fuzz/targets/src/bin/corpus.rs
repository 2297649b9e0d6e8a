//! `corpus unpack FILE FOLDER` and `corpus pack FOLDER FILE`: libFuzzer wants each input in a file of
//! its own.

use std::{
    collections::BTreeSet,
    env, fs, io,
    path::{Path, PathBuf},
};

use viaduct_fuzz_targets::corpus;

fn main() -> io::Result<()> {
    let mut words = env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let mut path = || PathBuf::from(words.next().unwrap_or_default());
    let (from, to) = (path(), path());
    match verb.as_str() {
        "unpack" => unpack(&from, &to),
        "pack" => pack(&from, &to),
        _ => Err(io::Error::other("expected: corpus unpack FILE FOLDER | corpus pack FOLDER FILE")),
    }
}

fn unpack(file: &Path, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (number, input) in corpus::read(file)?.iter().enumerate() {
        fs::write(folder.join(format!("{number:05}")), input)?;
    }
    Ok(())
}

fn pack(folder: &Path, file: &Path) -> io::Result<()> {
    let entries = fs::read_dir(folder)?;
    let inputs: io::Result<BTreeSet<_>> = entries.map(|entry| fs::read(entry?.path())).collect();
    corpus::write(file, &inputs?)
}
