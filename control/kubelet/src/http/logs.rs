//! Container logs in the CRI format that conmon writes:
//! `2026-01-02T03:04:05.678901234+00:00 stdout F text`, where `P` instead of `F` marks a line
//! that goes on in the next entry.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use k8s_openapi::jiff::Timestamp;

const TAIL_BLOCK_BYTES: usize = 64 * 1024;

/// The plain text at the end of a log, at most so many bytes of it.
pub(crate) fn tail_text(path: &Path, bytes_max: usize) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // An entry is its text and about 46 bytes before it; short lines may come up short.
    let window = bytes_max as u64 * 3 + TAIL_BLOCK_BYTES as u64;
    let from = length.saturating_sub(window);
    file.seek(SeekFrom::Start(from))?;
    let mut raw = Vec::new();
    file.take(window).read_to_end(&mut raw)?;
    let mut text = Vec::new();
    let skip = usize::from(from > 0);
    for line in raw.split(|&b| b == b'\n').skip(skip) {
        if let Some(entry) = Entry::parse(line) {
            text.extend_from_slice(entry.text);
            if entry.ends_line {
                text.push(b'\n');
            }
        }
    }
    let start = text.len().saturating_sub(bytes_max);
    Ok(String::from_utf8_lossy(&text[start..]).into_owned())
}

/// One entry, without its newline.
pub(crate) struct Entry<'a> {
    pub(crate) timestamp: &'a [u8],
    pub(crate) ends_line: bool,
    pub(crate) text: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `None` for what is not an entry, such as the rest of one that was cut.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |&b| b == b' ');
        let (timestamp, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
        if !matches!(stream, b"stdout" | b"stderr") || timestamp.len() < 20 {
            return None;
        }
        Some(Self { timestamp, ends_line: tag != b"P", text: parts.next().unwrap_or_default() })
    }
}

/// What a reader of a log wants of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogOptions {
    pub(crate) timestamps: bool,
    pub(crate) tail_lines: Option<u64>,
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) since: Option<Timestamp>,
}

/// Entries in, text out.
pub(crate) struct Filter {
    options: LogOptions,
    left_bytes: u64,
    in_line: bool,
}

impl Filter {
    pub(crate) fn new(options: LogOptions) -> Self {
        let left_bytes = options.limit_bytes.unwrap_or(u64::MAX);
        Self { options, left_bytes, in_line: false }
    }

    /// Whether the limit of bytes is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.left_bytes == 0
    }

    pub(crate) fn apply(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(entry) = Entry::parse(line) else { return };
        if !self.in_line && self.is_too_old(&entry) {
            return;
        }
        let from = out.len();
        if self.options.timestamps && !self.in_line {
            out.extend_from_slice(entry.timestamp);
            out.push(b' ');
        }
        out.extend_from_slice(entry.text);
        if entry.ends_line {
            out.push(b'\n');
        }
        self.in_line = !entry.ends_line;
        let room = usize::try_from(self.left_bytes).unwrap_or(usize::MAX);
        out.truncate(from.saturating_add(room));
        self.left_bytes -= (out.len() - from) as u64;
    }

    fn is_too_old(&self, entry: &Entry<'_>) -> bool {
        let Some(since) = self.options.since else { return false };
        let written = std::str::from_utf8(entry.timestamp).ok().and_then(|t| t.parse().ok());
        written.is_some_and(|at: Timestamp| at < since)
    }
}

/// Where the last so many lines of a log begin. The log's size is bounded, and so is this.
pub(crate) fn tail_start(path: &Path, lines: Option<u64>) -> io::Result<u64> {
    let Some(lines) = lines else { return Ok(0) };
    let mut file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut position = file_bytes;
    let mut block = vec![0; TAIL_BLOCK_BYTES];
    // What follows in the file the block being looked at, up to its first newline.
    let mut after: Vec<u8> = Vec::new();
    let mut found = 0;
    while position > 0 {
        let length = position.min(TAIL_BLOCK_BYTES as u64);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        let part = &mut block[..usize::try_from(length).unwrap_or(TAIL_BLOCK_BYTES)];
        file.read_exact(part)?;
        let mut joined = part.to_vec();
        joined.extend_from_slice(&after);
        // Each newline ends an entry; the entry before it counts when it ends a line.
        let mut end = joined.len();
        while let Some(newline) = joined[..end].iter().rposition(|&b| b == b'\n') {
            let begin = newline + 1;
            if Entry::parse(&joined[begin..end]).is_some_and(|e| e.ends_line) {
                found += 1;
                if found > lines {
                    // The line after this one is the first that is wanted.
                    return Ok((position + end as u64 + 1).min(file_bytes));
                }
            }
            end = newline;
        }
        after = joined[..end].to_vec();
        if after.len() > TAIL_BLOCK_BYTES * 16 {
            return Ok(position);
        }
    }
    if Entry::parse(&after).is_some_and(|e| e.ends_line) && found == lines {
        return Ok(after.len() as u64 + 1);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "2026-01-02T03:04:05.123456789+00:00";

    fn log(entries: &[(&str, &str)]) -> String {
        entries.iter().map(|(tag, text)| format!("{STAMP} stdout {tag} {text}\n")).collect()
    }

    fn read(text: &str, options: LogOptions) -> String {
        let mut filter = Filter::new(options);
        let mut out = Vec::new();
        text.lines().for_each(|line| filter.apply(line.as_bytes(), &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn partial_entries_make_one_line() {
        let text = log(&[("P", "a"), ("F", "b"), ("F", "c"), ("F", "")]);
        assert_eq!(read(&text, LogOptions::default()), "ab\nc\n\n");
        let stamped = read(&text, LogOptions { timestamps: true, ..LogOptions::default() });
        assert_eq!(stamped, format!("{STAMP} ab\n{STAMP} c\n{STAMP} \n"));
    }

    #[test]
    fn bytes_and_age_are_limited() {
        let text = log(&[("F", "abc"), ("F", "def")]);
        let limited = LogOptions { limit_bytes: Some(5), ..LogOptions::default() };
        assert_eq!(read(&text, limited), "abc\nd");
        let since =
            |at: &str| LogOptions { since: Some(at.parse().unwrap()), ..LogOptions::default() };
        assert_eq!(read(&text, since("2026-01-02T03:04:06Z")), "");
        assert_eq!(read(&text, since("2026-01-02T03:04:05Z")), "abc\ndef\n");
    }

    #[test]
    fn garbage_is_left_out() {
        assert_eq!(read("garbage\n\nx stdout F y\n", LogOptions::default()), "");
    }

    #[test]
    fn the_tail_is_found_in_logs_of_any_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for count in [0_u64, 1, 5, 5000] {
            let numbers: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            let entries: Vec<(&str, &str)> =
                numbers.iter().flat_map(|n| [("P", "line "), ("F", n.as_str())]).collect();
            let text = log(&entries);
            std::fs::write(&path, &text).unwrap();
            for lines in [0, 1, 3, 4999, 5000, 9999] {
                let start = tail_start(&path, Some(lines)).unwrap();
                let tail = read(&text[usize::try_from(start).unwrap()..], LogOptions::default());
                let wanted: String = (0..count)
                    .skip(usize::try_from(count.saturating_sub(lines)).unwrap())
                    .map(|n| format!("line {n}\n"))
                    .collect();
                assert_eq!(tail, wanted, "{lines} of {count}");
            }
        }
    }

    #[test]
    fn the_tail_as_text_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, log(&[("F", "first"), ("F", "second")])).unwrap();
        assert_eq!(tail_text(&path, 4096).unwrap(), "first\nsecond\n");
        assert_eq!(tail_text(&path, 7).unwrap(), "second\n");
    }
}
