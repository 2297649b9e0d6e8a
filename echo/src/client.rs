//! The client: requests one after another, one JSON line for each, a summary at the end.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use crate::{
    json::{self, Object},
    signal,
    url::{self, Url},
};

const BODY_BYTES_MAX: u64 = 1024 * 1024;
/// Pods that the summary counts one by one.
const PODS_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct Options {
    target: String,
    /// 0: until SIGTERM.
    count: u64,
    interval: Duration,
    timeout: Duration,
    keepalive: bool,
    unconnected: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            target: String::new(),
            count: 1,
            interval: Duration::ZERO,
            timeout: Duration::from_secs(1),
            keepalive: false,
            unconnected: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut number = || {
                let text = rest.next().ok_or_else(|| format!("{argument} needs a number"))?;
                text.parse::<u64>().map_err(|e| format!("{argument} {text}: {e}"))
            };
            match argument.as_str() {
                "-n" => options.count = number()?,
                "--interval-ms" => options.interval = Duration::from_millis(number()?),
                // A timeout of zero is an error to the socket calls.
                "--timeout-ms" => options.timeout = Duration::from_millis(number()?.max(1)),
                "--keepalive" => options.keepalive = true,
                "--unconnected" => options.unconnected = true,
                flag if flag.starts_with('-') => return Err(format!("{flag}: unknown option")),
                target if options.target.is_empty() => options.target = target.to_owned(),
                extra => return Err(format!("{extra}: one target is enough")),
            }
        }
        match options.target.is_empty() {
            true => Err(String::from("no target given")),
            false => Ok(options),
        }
    }
}

struct Answer {
    /// HTTP status; `None` for UDP.
    status: Option<u16>,
    body: String,
}

#[derive(Default)]
struct Tally {
    sent: u64,
    ok: u64,
    slowest: Duration,
    pods: BTreeMap<String, u64>,
}

impl Tally {
    fn note(&mut self, result: &io::Result<Answer>, took: Duration) {
        self.sent += 1;
        self.slowest = self.slowest.max(took);
        let Ok(answer) = result else { return };
        if !is_success(answer) {
            return;
        }
        self.ok += 1;
        if let Some(pod) = json::string_field(&answer.body, "pod")
            && (self.pods.len() < PODS_MAX || self.pods.contains_key(pod))
        {
            *self.pods.entry(pod.to_owned()).or_default() += 1;
        }
    }

    fn summary(&self) -> String {
        let mut pods = Object::new();
        for (pod, count) in &self.pods {
            pods = pods.raw(pod, &count.to_string());
        }
        Object::new()
            .raw("summary", "true")
            .raw("sent", &self.sent.to_string())
            .raw("ok", &self.ok.to_string())
            .raw("failed", &(self.sent - self.ok).to_string())
            .raw("maxMs", &milliseconds(self.slowest))
            .raw("pods", &pods.finish())
            .finish()
    }
}

pub(crate) fn get(options: &Options) -> Result<ExitCode, String> {
    let url = Url::parse(&options.target)?;
    let mut connection = None;
    ask_repeatedly(options, |_| {
        let result = request(&url, options, &mut connection);
        if result.is_err() || !options.keepalive {
            connection = None;
        }
        result
    })
}

pub(crate) fn udp(options: &Options) -> Result<ExitCode, String> {
    let target = url::socket_address(&options.target)?;
    ask_repeatedly(options, |sequence| exchange(target, options, sequence))
}

fn ask_repeatedly(
    options: &Options,
    mut ask: impl FnMut(u64) -> io::Result<Answer>,
) -> Result<ExitCode, String> {
    signal::note_stop();
    let mut tally = Tally::default();
    let mut sequence = 0;
    while (options.count == 0 || sequence < options.count) && !signal::stopped() {
        sequence += 1;
        let began = Instant::now();
        let result = ask(sequence);
        let took = began.elapsed();
        // A request that the signal cut short says nothing about the network.
        if !(result.is_err() && signal::stopped()) {
            tally.note(&result, took);
            emit(&outcome(sequence, &result, took))?;
        }
        if options.count == 0 || sequence < options.count {
            thread::sleep(options.interval.saturating_sub(began.elapsed()));
        }
    }
    emit(&tally.summary())?;
    Ok(if tally.ok == tally.sent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn emit(line: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| format!("stdout: {e}"))
}

fn outcome(sequence: u64, result: &io::Result<Answer>, took: Duration) -> String {
    let line = Object::new().raw("seq", &sequence.to_string()).raw("ms", &milliseconds(took));
    match result {
        Ok(answer) => {
            let ok = is_success(answer);
            let line = line.raw("ok", if ok { "true" } else { "false" });
            let line = match answer.status {
                Some(status) => line.raw("status", &status.to_string()),
                None => line,
            };
            let body = answer.body.trim_end();
            if body.starts_with('{') && body.ends_with('}') {
                line.raw("body", body).finish()
            } else {
                line.string("text", body).finish()
            }
        }
        Err(error) => line
            .raw("ok", "false")
            .string("error", kind(error))
            .string("message", &error.to_string())
            .finish(),
    }
}

fn is_success(answer: &Answer) -> bool {
    answer.status.is_none_or(|s| (200..300).contains(&s))
}

/// The words that tests match on.
fn kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset",
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "timeout",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        io::ErrorKind::UnexpectedEof => "closed",
        io::ErrorKind::InvalidData => "malformed",
        _ => "other",
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1000.0)
}

fn request(
    url: &Url,
    options: &Options,
    connection: &mut Option<BufReader<TcpStream>>,
) -> io::Result<Answer> {
    if connection.is_none() {
        let stream = TcpStream::connect_timeout(&url.address, options.timeout)?;
        stream.set_read_timeout(Some(options.timeout))?;
        stream.set_write_timeout(Some(options.timeout))?;
        stream.set_nodelay(true)?;
        *connection = Some(BufReader::new(stream));
    }
    let Some(reader) = connection.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
    let keep = if options.keepalive { "keep-alive" } else { "close" };
    let (path, host) = (&url.path, &url.authority);
    let message = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {keep}\r\n\r\n");
    reader.get_mut().write_all(message.as_bytes())?;
    read_answer(reader)
}

fn read_answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let mut bounded = reader.take(BODY_BYTES_MAX);
    let mut line = String::new();
    if bounded.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_whitespace().nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.trim_end().to_owned()))?;
    let mut length = None;
    loop {
        let mut field = String::new();
        if bounded.read_line(&mut field)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
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
    match length {
        Some(length) => {
            bounded.take(length).read_to_end(&mut body)?;
            if (body.len() as u64) < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        None => drop(bounded.read_to_end(&mut body)?),
    }
    Ok(Answer { status: Some(status), body: String::from_utf8_lossy(&body).into_owned() })
}

fn exchange(target: SocketAddr, options: &Options, sequence: u64) -> io::Result<Answer> {
    let any = match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.set_read_timeout(Some(options.timeout))?;
    let payload = sequence.to_string();
    let mut buffer = [0; 2048];
    let length = if options.unconnected {
        socket.send_to(payload.as_bytes(), target)?;
        let (length, from) = socket.recv_from(&mut buffer)?;
        if from != target {
            let message = format!("answer from {from}, asked {target}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        length
    } else {
        socket.connect(target)?;
        socket.send(payload.as_bytes())?;
        socket.recv(&mut buffer)?
    };
    Ok(Answer { status: None, body: String::from_utf8_lossy(&buffer[..length]).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> io::Result<Answer> {
        read_answer(&mut text.as_bytes())
    }

    #[test]
    fn an_answer_is_read_to_its_length() {
        let read = answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc").unwrap();
        assert_eq!((read.status, read.body.as_str()), (Some(200), "ab"));
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        let cut = answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc");
        assert_eq!(kind(&cut.err().unwrap()), "closed");
        assert_eq!(kind(&answer("").err().unwrap()), "closed");
        assert_eq!(kind(&answer("SSH-2.0\r\n").err().unwrap()), "malformed");
    }

    #[test]
    fn a_refused_connection_is_told_from_others() {
        let options = Options::parse(&["http://127.0.0.1:1/".to_owned()]).unwrap();
        let url = Url::parse(&options.target).unwrap();
        let refused = request(&url, &options, &mut None);
        let line = outcome(1, &refused, Duration::ZERO);
        assert!(line.contains(r#""ok":false,"error":"refused""#), "{line}");
    }

    #[test]
    fn options_are_checked() {
        let parse = |words: &[&str]| {
            Options::parse(&words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>())
        };
        let options = parse(&["10.0.0.1:80", "-n", "3", "--timeout-ms", "0"]).unwrap();
        assert_eq!((options.count, options.timeout), (3, Duration::from_millis(1)));
        assert!(parse(&[]).is_err());
        assert!(parse(&["a", "b"]).is_err());
        assert!(parse(&["a", "--what"]).is_err());
        assert!(parse(&["a", "-n", "x"]).is_err());
    }
}
