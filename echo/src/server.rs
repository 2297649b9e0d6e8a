//! The server: HTTP/1.1 and UDP on one port, both families on one socket.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{json::Object, signal};

/// Connections served at once; one more is answered with 503.
const CONNECTIONS_MAX: usize = 256;
const STACK_BYTES: usize = 128 * 1024;
/// Request line and fields together.
const REQUEST_BYTES_MAX: u64 = 16 * 1024;
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const SLOW_MS_DEFAULT: u64 = 5_000;
const SLOW_MS_MAX: u64 = 600_000;

struct Shared {
    identity: Identity,
    ready: AtomicBool,
    connections: AtomicUsize,
}

/// Who answers, from the environment that the downward API fills.
struct Identity {
    service: Option<String>,
    pod: Option<String>,
    node: Option<String>,
    namespace: Option<String>,
}

impl Identity {
    fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|v: &String| !v.is_empty());
        Self {
            service: variable("SERVICE"),
            pod: variable("POD_NAME").or_else(|| variable("HOSTNAME")),
            node: variable("NODE_NAME"),
            namespace: variable("POD_NAMESPACE"),
        }
    }

    fn answer(&self, client: SocketAddr, server: Option<SocketAddr>, host: Option<&str>) -> String {
        let server = server.map(|s| SocketAddr::new(s.ip().to_canonical(), s.port()).to_string());
        Object::new()
            .optional("service", self.service.as_deref())
            .string("pod", self.pod.as_deref().unwrap_or(""))
            .string("node", self.node.as_deref().unwrap_or(""))
            .string("namespace", self.namespace.as_deref().unwrap_or(""))
            .string("client", &client.ip().to_canonical().to_string())
            .raw("clientPort", &client.port().to_string())
            .optional("server", server.as_deref())
            .string("host", host.unwrap_or(""))
            .finish()
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
    signal::exit_on_stop();
    let listener = on_any(port, TcpListener::bind).map_err(|e| format!("tcp {port}: {e}"))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let datagrams =
        on_any(address.port(), UdpSocket::bind).map_err(|e| format!("udp {port}: {e}"))?;
    println!("{}", Object::new().string("listening", &address.to_string()).finish());
    let shared = Arc::new(Shared {
        identity: Identity::from_env(),
        ready: AtomicBool::new(true),
        connections: AtomicUsize::new(0),
    });
    let udp_shared = Arc::clone(&shared);
    spawn(move || answer_datagrams(&datagrams, &udp_shared)).map_err(|e| e.to_string())?;
    accept(&listener, &shared)
}

/// The IPv6 wildcard takes both families; a host without IPv6 has only the other.
fn on_any<T>(port: u16, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
        .or_else(|_| bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)))
}

fn spawn(body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(STACK_BYTES).spawn(body).map(drop)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) -> Result<ExitCode, String> {
    loop {
        let (stream, client) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a client that left: neither ends the server.
                eprintln!("accept: {error}");
                thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            refuse(stream);
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let of_thread = Arc::clone(shared);
        let spawned = spawn(move || {
            // A client that goes away is its own business.
            let _ = converse(&stream, client, &of_thread);
            of_thread.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            eprintln!("thread: {error}");
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn refuse(mut stream: TcpStream) {
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let _ = respond(&mut stream, "503 Service Unavailable", "too many connections\n", false);
}

struct Request {
    path: String,
    query: String,
    host: Option<String>,
    keep_alive: bool,
}

fn converse(stream: &TcpStream, client: SocketAddr, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader)? {
        let server = stream.local_addr().ok();
        let json = || {
            let mut line = shared.identity.answer(client, server, request.host.as_deref());
            line.push('\n');
            line
        };
        let keep = request.keep_alive;
        match (request.path.as_str(), request.query.as_str()) {
            ("/", _) => respond(&mut writer, "200 OK", &json(), keep)?,
            ("/healthz", _) => {
                let (status, body) = match shared.ready.load(Ordering::Relaxed) {
                    true => ("200 OK", "ready\n"),
                    false => ("503 Service Unavailable", "not ready\n"),
                };
                respond(&mut writer, status, body, keep)?;
            }
            ("/ready", state @ ("on" | "off")) => {
                shared.ready.store(state == "on", Ordering::Relaxed);
                respond(&mut writer, "200 OK", &format!("ready {state}\n"), keep)?;
            }
            ("/slow", wait) => return trickle(&mut writer, wait, &json()),
            ("/exit", code) => {
                respond(&mut writer, "200 OK", "bye\n", false)?;
                std::process::exit(code.parse().unwrap_or(0));
            }
            _ => respond(&mut writer, "404 Not Found", "not found\n", keep)?,
        }
        if !keep {
            break;
        }
    }
    Ok(())
}

/// `None` where the client closed instead of asking again, or did not speak HTTP.
fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
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
        if name.eq_ignore_ascii_case("host") {
            request.host = Some(value.trim().to_owned());
        } else if name.eq_ignore_ascii_case("connection") {
            request.keep_alive &= !value.trim().eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("content-length") && value.trim() != "0" {
            // Bodies are not read, so nothing after one could be understood.
            request.keep_alive = false;
        }
    }
}

fn respond(writer: &mut impl Write, status: &str, body: &str, keep_alive: bool) -> io::Result<()> {
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    // One write, so that an answer is one segment.
    let message = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
        body.len()
    );
    writer.write_all(message.as_bytes())
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
                let answer = shared.identity.answer(client, None, Some(asked.trim_end()));
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
