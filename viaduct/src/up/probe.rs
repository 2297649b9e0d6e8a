//! A request to a service, from wherever the process stands that makes it.

use std::{
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// The status line is what counts.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// What is asked, and how it must answer: by taking a connection, or by speaking HTTP and not
/// saying that it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Http(SocketAddr),
}

impl Target {
    pub(crate) fn address(self) -> SocketAddr {
        let (Self::Tcp(address) | Self::Http(address)) = self;
        address
    }

    pub(crate) fn ask(self) -> Result<()> {
        let address = self.address();
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        let Self::Http(_) = self else { return Ok(()) };
        stream.set_read_timeout(Some(TIMEOUT))?;
        // One write: a server may answer, and close, when it has read the first part of several.
        let request = format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
        match status.and_then(|code| code.parse::<u16>().ok()) {
            Some(100..500) => Ok(()),
            // Where a service says what is wrong, it says so at the end.
            Some(_) => bail!("{self} answered: {}", answer.trim_end()),
            None => bail!("{self} did not speak HTTP: {:?}", answer.lines().next()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Http(address) => write!(f, "http://{address}/"),
        }
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, address) = text.split_once("://").context("it is no URL")?;
        let address = address.trim_end_matches('/').parse()?;
        match kind {
            "tcp" => Ok(Self::Tcp(address)),
            "http" => Ok(Self::Http(address)),
            _ => bail!("{kind} is neither tcp nor http"),
        }
    }
}

/// Asks each of the targets until it has answered, `limit` long at most.
pub(crate) fn ask_all(targets: &[Target], limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    for target in targets {
        while let Err(error) = target.ask() {
            if Instant::now() >= deadline {
                return Err(error.context(format!("{target}: no good answer in {limit:?}")));
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers every connection with this.
    fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).and_then(|_| stream.write_all(answer.as_bytes()));
            }
        });
        address
    }

    #[test]
    fn answers_are_judged() {
        assert!(Target::Http(server("HTTP/1.1 200 OK\r\n\r\n")).ask().is_ok());
        assert!(Target::Http(server("HTTP/1.1 404 Not Found\r\n\r\n")).ask().is_ok());
        let failed = Target::Http(server("HTTP/1.1 502 Bad Gateway\r\n\r\n{why}\n"));
        assert!(failed.ask().unwrap_err().to_string().ends_with("{why}"));
        assert!(Target::Http(server("SSH-2.0\r\n")).ask().is_err());
        assert!(Target::Tcp(server("")).ask().is_ok());
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(ask_all(&[Target::Tcp(nobody)], Duration::ZERO).is_err());
    }

    #[test]
    fn a_target_is_read_as_it_is_written() {
        for text in ["http://10.0.0.1:80/", "http://[fd00::1]:80/", "tcp://10.0.0.1:6379"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for wrong in ["10.0.0.1:80", "http://name/", "udp://10.0.0.1:53"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
