//! The client: requests at a steady pace, one JSON line for each, a summary at the end.

mod histogram;
mod options;
mod pace;
mod report;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    process::ExitCode,
    thread,
    time::Instant,
};

pub(crate) use self::options::Options;
use self::report::Report;
use crate::{
    failure::Failure,
    http::{Answer, Asking, Connection},
    json::{self, Object},
    resolve::Resolver,
    signal,
    url::{self, Url},
};

const BODY_BYTES_MAX: u64 = 1024 * 1024;

pub(crate) fn get(options: &Options) -> Result<ExitCode, String> {
    let url = Url::parse(&options.target)?;
    let resolver = Resolver::from_files(&options.resolv_conf);
    let asking = asking(options, &resolver);
    if options.keepalive {
        let mut connection = None;
        return one_after_another(options, |_| {
            let result = ask_again(&asking, &url, &mut connection);
            if result.is_err() {
                connection = None;
            }
            result
        });
    }
    let ask = |_| {
        let mut connection = asking.connect(&url)?;
        asking.get(&mut connection, &url, "Connection: close\r\n")
    };
    ask_repeatedly(options, ask)
}

pub(crate) fn udp(options: &Options) -> Result<ExitCode, String> {
    let target = url::socket_address(&options.target)?;
    ask_repeatedly(options, |sequence| exchange(target, options, sequence))
}

/// Looks a name up and prints its addresses.
pub(crate) fn resolve(options: &Options) -> Result<ExitCode, String> {
    let resolver = Resolver::from_files(&options.resolv_conf);
    let found = resolver.lookup(&options.target, Instant::now() + options.timeout);
    println!("{}", found_json(&options.target, &found));
    Ok(if found.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a lookup gave, for whoever asked for it.
pub(crate) fn found_json(name: &str, found: &Result<Vec<IpAddr>, Failure>) -> String {
    let line = Object::new().string("name", name);
    match found {
        Ok(addresses) => {
            let quoted = addresses.iter().map(|address| json::quote(&address.to_string()));
            line.raw("addresses", &json::array(quoted)).finish()
        }
        Err(failure) => {
            line.string("error", failure.kind).string("message", &failure.message).finish()
        }
    }
}

fn asking<'a>(options: &Options, resolver: &'a Resolver) -> Asking<'a> {
    Asking {
        resolver,
        families: options.families,
        timeout: options.timeout,
        body_bytes_max: BODY_BYTES_MAX,
    }
}

/// With a pace of its own, a request does not wait for the answer of the one before it.
fn ask_repeatedly(
    options: &Options,
    ask: impl Fn(u64) -> Result<Answer, Failure> + Sync,
) -> Result<ExitCode, String> {
    if options.interval.is_zero() || options.count == 1 {
        return one_after_another(options, ask);
    }
    signal::note_stop();
    let report = Report::new();
    pace::run(options, |request| {
        let result = ask(request.sequence);
        report.note(request.sequence, request.due, &result)
    })?;
    report.finish()
}

fn one_after_another(
    options: &Options,
    mut ask: impl FnMut(u64) -> Result<Answer, Failure>,
) -> Result<ExitCode, String> {
    signal::note_stop();
    let report = Report::new();
    let mut sequence = 0;
    while (options.count == 0 || sequence < options.count) && !signal::stopped() {
        sequence += 1;
        let begun = Instant::now();
        let result = ask(sequence);
        // A request that the signal cut short says nothing about the network.
        if !(result.is_err() && signal::stopped()) {
            report.note(sequence, begun, &result)?;
        }
        if options.count == 0 || sequence < options.count {
            thread::sleep(options.interval.saturating_sub(begun.elapsed()));
        }
    }
    report.finish()
}

fn ask_again(
    asking: &Asking<'_>,
    url: &Url,
    connection: &mut Option<Connection>,
) -> Result<Answer, Failure> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(asking.connect(url)?),
    };
    asking.get(connection, url, "Connection: keep-alive\r\n")
}

fn exchange(target: SocketAddr, options: &Options, sequence: u64) -> Result<Answer, Failure> {
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
            return Err(Failure::malformed(format!("answer from {from}, asked {target}")));
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

    #[test]
    fn a_refused_connection_is_told_from_others() {
        let url = Url::parse("http://127.0.0.1:1/").unwrap();
        let options = Options::parse(&["x".to_owned()]).unwrap();
        let resolver = Resolver::from_files("/dev/null");
        let refused = ask_again(&asking(&options, &resolver), &url, &mut None);
        assert_eq!(refused.unwrap_err().kind, "refused");
    }

    #[test]
    fn a_lookup_is_told_as_json() {
        let found = Ok(vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]);
        assert_eq!(found_json("a", &found), r#"{"name":"a","addresses":["10.0.0.1","fd00::1"]}"#);
        let failed = Err(Failure::new("no-such-name", "a"));
        assert!(json::is_object(&found_json("a", &failed)));
    }
}
