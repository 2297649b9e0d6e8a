mod golden;
mod properties;

use bytes::BytesMut;

use crate::Record;

fn encoded(record: &Record) -> BytesMut {
    let mut out = BytesMut::new();
    record.encode(&mut out).unwrap();
    out
}

/// All records of a text, the faulty ones left out.
fn decoded(mut octets: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((record, len)) = Record::first(octets).unwrap() {
        octets = &octets[len..];
        records.extend(record);
    }
    records
}
