//! A stream of TCP as a capture, for a dissector of another maker.

use std::{fs, path::Path, process::Command};

use super::netns::output;

/// What `tshark` makes of what a server of a port has received, in its longest form. Each piece is a
/// packet, and must fit into one.
pub(crate) fn dissect(pieces: &[Vec<u8>], port: u16, protocol: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stream.pcap");
    write(&file, pieces, port);
    output(
        Command::new("tshark")
            .arg("-r")
            .arg(file)
            .arg("-V")
            .args(["-d", &format!("tcp.port=={port},{protocol}")]),
    )
}

/// Packets of raw IPv4 that carry the stream from 192.0.2.1 to a server.
fn write(file: &Path, pieces: &[Vec<u8>], port: u16) {
    let mut out = Vec::new();
    // LINKTYPE_RAW, as its file header says it.
    let header: [u32; 6] = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, 101];
    header.iter().for_each(|word| out.extend(word.to_be_bytes()));
    let mut sequence = 1u32;
    for (at, segment) in pieces.iter().enumerate() {
        let len = 40 + segment.len();
        for word in [at as u32, 0, len as u32, len as u32] {
            out.extend(word.to_be_bytes());
        }
        out.extend([0x45, 0]);
        out.extend((len as u16).to_be_bytes());
        out.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 9]);
        out.extend(40_000u16.to_be_bytes());
        out.extend(port.to_be_bytes());
        out.extend(sequence.to_be_bytes());
        out.extend([0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        out.extend(segment);
        sequence += segment.len() as u32;
    }
    fs::write(file, out).unwrap();
}
