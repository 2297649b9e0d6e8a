//! Inputs that fuzzing has found worth keeping, one file for each target: each input behind its length
//! of four octets, big endian.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// `fuzz/corpus`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// The inputs of a file.
pub fn read(file: &Path) -> io::Result<Vec<Vec<u8>>> {
    let octets = fs::read(file)?;
    let mut rest = &octets[..];
    let mut inputs = Vec::new();
    while let Some((len, more)) = rest.split_first_chunk() {
        let cut_short = || io::Error::new(io::ErrorKind::UnexpectedEof, file.display().to_string());
        let len = u32::from_be_bytes(*len) as usize;
        let (input, more) = more.split_at_checked(len).ok_or_else(cut_short)?;
        inputs.push(input.to_vec());
        rest = more;
    }
    Ok(inputs)
}

/// Writes inputs, shortest first.
pub fn write(file: &Path, inputs: &BTreeSet<Vec<u8>>) -> io::Result<()> {
    let mut sorted: Vec<_> = inputs.iter().collect();
    sorted.sort_by_key(|input| input.len());
    let mut octets = Vec::new();
    for input in sorted {
        octets.extend((input.len() as u32).to_be_bytes());
        octets.extend(input);
    }
    fs::write(file, octets)
}
