//! The answering half of HTTP/1.1.

use std::io::{self, BufRead, Read, Write};

use crate::calls::DEPTH_FIELD;

/// Request line and fields together.
const REQUEST_BYTES_MAX: u64 = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) host: Option<String>,
    /// How many services stand before this one.
    pub(crate) depth: u32,
    pub(crate) keep_alive: bool,
}

/// `None` where the client closed instead of asking again, or did not speak HTTP.
pub(crate) fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut bounded = reader.take(REQUEST_BYTES_MAX);
    let mut line = String::new();
    if bounded.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some("GET" | "HEAD" | "POST"), Some(target), Some(version)) =
        (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        path: path.to_owned(),
        query: query.to_owned(),
        host: None,
        depth: 0,
        keep_alive: version == "HTTP/1.1",
    };
    loop {
        let mut field = String::new();
        if bounded.read_line(&mut field)? == 0 {
            return Ok(None);
        }
        let field = field.trim_end();
        if field.is_empty() {
            return Ok(Some(request));
        }
        let Some((name, value)) = field.split_once(':') else { return Ok(None) };
        let value = value.trim();
        if name.eq_ignore_ascii_case("host") {
            request.host = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case(DEPTH_FIELD) {
            // What is no number would be a way out of a circle.
            request.depth = value.parse().unwrap_or(u32::MAX);
        } else if name.eq_ignore_ascii_case("connection") {
            request.keep_alive &= !value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("content-length") && value != "0" {
            // Bodies are not read, so nothing after one could be understood.
            request.keep_alive = false;
        }
    }
}

pub(crate) fn respond(
    writer: &mut impl Write,
    status: &str,
    body: &str,
    keep_alive: bool,
) -> io::Result<()> {
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    // One write, so that an answer is one segment.
    let message = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
        body.len()
    );
    writer.write_all(message.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Request> {
        read_request(&mut text.as_bytes()).unwrap()
    }

    #[test]
    fn a_request_is_read() {
        let request =
            read("GET /slow?5 HTTP/1.1\r\nHost: a:1\r\nX-Viaduct-Depth: 3\r\n\r\n").unwrap();
        assert_eq!((request.path.as_str(), request.query.as_str()), ("/slow", "5"));
        assert_eq!((request.host.as_deref(), request.depth), (Some("a:1"), 3));
        assert!(request.keep_alive);
        assert!(!read("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
        assert!(!read("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap().keep_alive);
        assert_eq!(read("GET / HTTP/1.1\r\nX-Viaduct-Depth: x\r\n\r\n").unwrap().depth, u32::MAX);
    }

    #[test]
    fn what_is_no_request_is_none() {
        for text in ["", "GET /\r\n\r\n", "DELETE / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n"] {
            assert!(read(text).is_none(), "{text:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(20_000));
        assert!(read(&long).is_none());
    }

    proptest! {
        #[test]
        fn no_request_is_too_strange(bytes: Vec<u8>, field: String) {
            // That it returns is what is shown.
            let _ = read_request(&mut &bytes[..]);
            let _ = read(&format!("GET / HTTP/1.1\r\n{field}\r\n\r\n"));
        }
    }
}
