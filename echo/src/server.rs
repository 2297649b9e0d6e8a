//! The server: HTTP/1.1 and UDP on one port, both families on one socket.

mod identity;
mod request;

use std::{
    io::{self, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use self::{
    identity::Identity,
    request::{Request, read_request, respond},
};
use crate::{calls::Calls, client, listen, signal};

/// Connections served at once; one more is answered with 503.
const CONNECTIONS_MAX: usize = 1024;
const STACK_BYTES: usize = 128 * 1024;
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const SLOW_MS_DEFAULT: u64 = 5_000;
const SLOW_MS_MAX: u64 = 600_000;
/// How long a lookup may take that somebody asked for.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// A signal that another thread took is found out after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long requests that are under way hold up a graceful end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What SIGTERM means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// The process is gone, and with it every request that is under way: the worst that a program
    /// may do to those who stop it.
    AtOnce,
    /// Every request that is under way is answered first.
    Graceful,
}

impl Exit {
    fn from_env() -> Result<Self, String> {
        match std::env::var("EXIT").as_deref() {
            Err(_unset) => Ok(Self::AtOnce),
            Ok("" | "at-once") => Ok(Self::AtOnce),
            Ok("graceful") => Ok(Self::Graceful),
            Ok(other) => Err(format!("EXIT={other}: it is `at-once` or `graceful`")),
        }
    }
}

struct Shared {
    identity: Identity,
    calls: Calls,
    ready: AtomicBool,
    connections: AtomicUsize,
    /// Requests that are read and not answered yet.
    requests: AtomicUsize,
}

impl Shared {
    fn new(identity: Identity, calls: Calls) -> Self {
        Self {
            identity,
            calls,
            ready: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        }
    }
}

/// Counts one more for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The port to listen on: `--port`, then `$PORT`, then 8080.
pub(crate) fn port(arguments: &[String]) -> Result<u16, String> {
    let text = match arguments {
        [] => std::env::var("PORT").unwrap_or_else(|_| String::from("8080")),
        [flag, value] if flag == "--port" => value.clone(),
        [other, ..] => {
            return Err(format!("{other}: unknown argument; --help shows what there is"));
        }
    };
    text.parse().map_err(|e| format!("port {text}: {e}"))
}

pub(crate) fn serve(port: u16) -> Result<ExitCode, String> {
    match Exit::from_env()? {
        Exit::AtOnce => signal::exit_on_stop(),
        Exit::Graceful => signal::note_stop(),
    }
    let shared = Arc::new(Shared::new(Identity::from_env(), Calls::from_env()?));
    let listener = on_any(port, listen::bind).map_err(|e| format!("tcp {port}: {e}"))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let datagrams =
        on_any(address.port(), UdpSocket::bind).map_err(|e| format!("udp {port}: {e}"))?;
    println!("{}", crate::json::Object::new().string("listening", &address.to_string()).finish());
    let udp_shared = Arc::clone(&shared);
    spawn(move || answer_datagrams(&datagrams, &udp_shared)).map_err(|e| e.to_string())?;
    accept(&listener, &shared, signal::stopped);
    drain(&shared);
    Ok(ExitCode::SUCCESS)
}

/// The IPv6 wildcard takes both families; a host without IPv6 has only the other.
fn on_any<T>(port: u16, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
        .or_else(|_| bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)))
}

fn spawn(body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(STACK_BYTES).spawn(body).map(drop)
}

/// Takes connections until `stopped`, and then those that are there already.
fn accept(listener: &TcpListener, shared: &Arc<Shared>, stopped: fn() -> bool) {
    loop {
        // Looked at first: whoever connected before is in the queue then.
        let stopping = stopped();
        let wait = if stopping { Duration::ZERO } else { LOOK_AGAIN };
        match listen::accept(listener, wait) {
            Ok(Some((stream, client))) => take(stream, client, shared),
            Ok(None) if stopping => return,
            Ok(None) => {}
            Err(error) => {
                // Out of descriptors, or a client that left: neither ends the server.
                eprintln!("accept: {error}");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn take(stream: TcpStream, client: SocketAddr, shared: &Arc<Shared>) {
    if shared.connections.load(Ordering::SeqCst) >= CONNECTIONS_MAX {
        return refuse(stream);
    }
    let of_thread = Arc::clone(shared);
    // Counted here: a graceful end waits for those that are taken, not for those that have begun.
    of_thread.connections.fetch_add(1, Ordering::SeqCst);
    let spawned = spawn(move || {
        // A client that goes away is its own business.
        let _ = converse(&stream, client, &of_thread);
        of_thread.connections.fetch_sub(1, Ordering::SeqCst);
    });
    if let Err(error) = spawned {
        eprintln!("thread: {error}");
        shared.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

fn refuse(mut stream: TcpStream) {
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let _ = respond(&mut stream, "503 Service Unavailable", "too many connections\n", false);
}

/// Waits for the requests that are under way. A connection on which nothing is asked holds up
/// nothing for longer than a request takes to come.
fn drain(shared: &Shared) {
    const QUIET: Duration = Duration::from_millis(100);
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    let mut quiet_since = Instant::now();
    while Instant::now() < deadline && shared.connections.load(Ordering::SeqCst) > 0 {
        if shared.requests.load(Ordering::SeqCst) > 0 {
            quiet_since = Instant::now();
        } else if quiet_since.elapsed() >= QUIET {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn converse(stream: &TcpStream, client: SocketAddr, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut reader)? {
        let _counted = Counted::new(&shared.requests);
        // Whoever asks again after this answer asks somebody else.
        request.keep_alive &= !signal::stopped();
        if !answer(stream, client, &request, shared)? {
            break;
        }
    }
    Ok(())
}

/// Answers one request; whether another may come.
fn answer(
    stream: &TcpStream,
    client: SocketAddr,
    request: &Request,
    shared: &Shared,
) -> io::Result<bool> {
    let mut writer = stream;
    let server = stream.local_addr().ok();
    let host = request.host.as_deref();
    let keep = request.keep_alive;
    match (request.path.as_str(), request.query.as_str()) {
        ("/", _) => {
            let called = shared.calls.call(request.depth);
            let is_whole = called.as_ref().is_none_or(|called| called.is_whole);
            let status = if is_whole { "200 OK" } else { "502 Bad Gateway" };
            let body = shared.identity.answer(client, server, host, called.as_ref());
            respond(&mut writer, status, &(body + "\n"), keep)?;
        }
        ("/healthz", _) => {
            let (status, body) = match shared.ready.load(Ordering::Relaxed) {
                true => ("200 OK", "ready\n"),
                false => ("503 Service Unavailable", "not ready\n"),
            };
            respond(&mut writer, status, body, keep)?;
        }
        ("/livez", _) => respond(&mut writer, "200 OK", "alive\n", keep)?,
        ("/ready", state @ ("on" | "off")) => {
            shared.ready.store(state == "on", Ordering::Relaxed);
            respond(&mut writer, "200 OK", &format!("ready {state}\n"), keep)?;
        }
        ("/resolve", name) => {
            let found = shared.calls.resolver().lookup(name, Instant::now() + LOOKUP_TIMEOUT);
            let status = if found.is_ok() { "200 OK" } else { "404 Not Found" };
            respond(&mut writer, status, &(client::found_json(name, &found) + "\n"), keep)?;
        }
        ("/slow", wait) => {
            let json = shared.identity.answer(client, server, host, None);
            return trickle(&mut writer, wait, &(json + "\n")).map(|()| false);
        }
        ("/exit", code) => {
            respond(&mut writer, "200 OK", "bye\n", false)?;
            std::process::exit(code.parse().unwrap_or(0));
        }
        _ => respond(&mut writer, "404 Not Found", "not found\n", keep)?,
    }
    Ok(keep)
}

/// A long answer: whoever loses a packet or a connection in the meantime will see it.
fn trickle(writer: &mut impl Write, wait: &str, json: &str) -> io::Result<()> {
    let wait_ms = wait.parse().unwrap_or(SLOW_MS_DEFAULT).min(SLOW_MS_MAX);
    writer
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")?;
    for tick in 0..wait_ms / 100 {
        thread::sleep(Duration::from_millis(100));
        writer.write_all(format!("{tick}\n").as_bytes())?;
    }
    writer.write_all(json.as_bytes())
}

fn answer_datagrams(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, client)) => {
                let asked = String::from_utf8_lossy(&buffer[..length]);
                let answer = shared.identity.answer(client, None, Some(asked.trim_end()), None);
                if let Err(error) = socket.send_to(answer.as_bytes(), client) {
                    eprintln!("udp to {client}: {error}");
                }
            }
            // An ICMP error of an earlier answer surfaces here.
            Err(error) => eprintln!("udp: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
