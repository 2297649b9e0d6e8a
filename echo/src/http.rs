//! The asking half of HTTP/1.1: a connection, a request, its answer.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    resolve::Resolver,
    url::{Host, Url},
};

/// Status line and fields together.
const HEAD_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status; `None` for UDP.
    pub(crate) status: Option<u16>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_none_or(|status| (200..300).contains(&status))
    }
}

/// Which addresses of a name count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Families {
    #[default]
    Both,
    V4,
    V6,
}

impl Families {
    fn has(self, address: &SocketAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// How a client goes about a request.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) resolver: &'a Resolver,
    pub(crate) families: Families,
    /// For the lookup, for connecting and for each read after that.
    pub(crate) timeout: Duration,
    pub(crate) body_bytes_max: u64,
}

pub(crate) type Connection = BufReader<TcpStream>;

impl Asking<'_> {
    /// Connects to the best address of the host. The next one is tried only where this host has no
    /// way to such addresses: a client that hid a refused connection would be of no use here.
    pub(crate) fn connect(&self, url: &Url) -> Result<Connection, Failure> {
        let mut last = Failure::new("unreachable", format!("{}: no such address", url.authority));
        for address in self.addresses(url)? {
            match TcpStream::connect_timeout(&address, self.timeout) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(self.timeout))?;
                    stream.set_write_timeout(Some(self.timeout))?;
                    stream.set_nodelay(true)?;
                    return Ok(BufReader::new(stream));
                }
                Err(error) if has_no_way(&error) => {
                    last = error.into();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(last)
    }

    fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, Failure> {
        let found = match &url.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.resolver.lookup(name, Instant::now() + self.timeout)?,
        };
        let sockets = found.into_iter().map(|address| SocketAddr::new(address, url.port));
        Ok(sockets.filter(|address| self.families.has(address)).collect())
    }

    /// Sends a GET and reads what is answered. `fields` are whole lines.
    pub(crate) fn get(
        &self,
        connection: &mut Connection,
        url: &Url,
        fields: &str,
    ) -> Result<Answer, Failure> {
        let (path, host) = (&url.path, &url.authority);
        let message = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        connection.get_mut().write_all(message.as_bytes())?;
        read_answer(connection, self.body_bytes_max)
    }
}

/// Whether this host has no addresses or no routes of that family.
fn has_no_way(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable)
}

pub(crate) fn read_answer(
    reader: &mut impl BufRead,
    body_bytes_max: u64,
) -> Result<Answer, Failure> {
    let closed = || Failure::new("closed", "the connection ended before the answer did");
    let mut head = reader.take(HEAD_BYTES_MAX);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Err(closed());
    }
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_whitespace().nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| Failure::malformed(line.trim_end()))?;
    let mut length = None;
    loop {
        let mut field = String::new();
        if head.read_line(&mut field)? == 0 {
            return Err(closed());
        }
        let field = field.trim_end();
        if field.is_empty() {
            break;
        }
        if let Some((name, value)) = field.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let mut body = Vec::new();
    // One byte more than is allowed shows that there is more.
    let bound = length.unwrap_or(u64::MAX).min(body_bytes_max.saturating_add(1));
    reader.take(bound).read_to_end(&mut body)?;
    if body.len() as u64 > body_bytes_max {
        return Err(Failure::new("too-large", format!("more than {body_bytes_max} bytes")));
    }
    if length.is_some_and(|length| (body.len() as u64) < length) {
        return Err(closed());
    }
    Ok(Answer { status: Some(status), body: String::from_utf8_lossy(&body).into_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(text: &str) -> Result<Answer, Failure> {
        read_answer(&mut text.as_bytes(), 8)
    }

    fn kind(text: &str) -> &'static str {
        answer(text).unwrap_err().kind
    }

    #[test]
    fn an_answer_is_read_to_its_length() {
        let read = answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc").unwrap();
        assert_eq!((read.status, read.body.as_str()), (Some(200), "ab"));
        let read = answer("HTTP/1.0 502 Bad Gateway\r\n\r\nabc").unwrap();
        assert_eq!((read.status, read.body.as_str()), (Some(502), "abc"));
    }

    #[test]
    fn a_cut_answer_is_a_failure() {
        assert_eq!(kind("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"), "closed");
        assert_eq!(kind("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"), "closed");
        assert_eq!(kind(""), "closed");
        assert_eq!(kind("SSH-2.0\r\n"), "malformed");
    }

    #[test]
    fn a_body_has_a_bound() {
        assert!(answer("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12345678").is_ok());
        assert_eq!(kind("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789"), "too-large");
        assert_eq!(kind("HTTP/1.1 200 OK\r\n\r\n123456789"), "too-large");
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(text: Vec<u8>, body: String) {
            // That it returns is what is shown.
            let _ = read_answer(&mut &text[..], 16);
            let _ = answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n{body}"));
        }
    }
}
