use std::io::{BufRead, Read};

use super::*;
use crate::resolve::Resolver;

fn start() -> (SocketAddr, Arc<Shared>) {
    start_with("web-1", "")
}

/// A pod of that name that calls these.
fn start_with(pod: &str, calls: &str) -> (SocketAddr, Arc<Shared>) {
    let listener = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).unwrap();
    let identity = Identity {
        service: None,
        version: None,
        pod: Some(pod.to_owned()),
        node: Some("node-1".into()),
        namespace: Some("default".into()),
    };
    let calls =
        Calls::new(calls, Duration::from_secs(5), Resolver::from_files("/dev/null")).unwrap();
    let shared = Arc::new(Shared::new(identity, calls));
    let (of_tcp, of_udp) = (Arc::clone(&shared), Arc::clone(&shared));
    spawn(move || accept(&listener, &of_tcp, || false)).unwrap();
    spawn(move || answer_datagrams(&datagrams, &of_udp)).unwrap();
    (address, shared)
}

fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_answer_names_pod_and_client() {
    let (address, _shared) = start();
    let answer = ask(address, "/");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""pod":"web-1","node":"node-1","namespace":"default""#), "{answer}");
    assert!(answer.contains(r#""client":"127.0.0.1""#), "{answer}");
    assert!(answer.contains(r#""host":"x""#), "{answer}");
}

#[test]
fn readiness_is_switched() {
    let (address, _shared) = start();
    assert!(ask(address, "/healthz").starts_with("HTTP/1.1 200"));
    ask(address, "/ready?off");
    assert!(ask(address, "/healthz").starts_with("HTTP/1.1 503"));
    ask(address, "/ready?on");
    assert!(ask(address, "/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_connection_carries_several_requests() {
    let (address, _shared) = start();
    let stream = TcpStream::connect(address).unwrap();
    let mut reader = BufReader::new(&stream);
    for _ in 0..3 {
        (&stream).write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        while !answer.ends_with("ready\n") {
            assert_ne!(reader.read_line(&mut answer).unwrap(), 0, "{answer}");
        }
    }
}

#[test]
fn what_is_no_http_is_dropped() {
    let (address, _shared) = start();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"\x16\x03\x01\n").unwrap();
    let mut answer = Vec::new();
    // Closed or reset, but not answered.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
}

#[test]
fn a_datagram_is_answered() {
    let (address, _shared) = start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(b"7", address).unwrap();
    let mut buffer = [0; 1024];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from, address);
    let answer = String::from_utf8_lossy(&buffer[..length]);
    assert!(answer.contains(r#""pod":"web-1""#), "{answer}");
}

#[test]
fn the_answers_of_the_called_are_in_the_answer() {
    let (leaf, _shared) = start_with("leaf-1", "");
    let (middle, _shared) = start_with("middle-1", &format!("http://{leaf}/"));
    let localhost = format!("http://localhost:{}/", leaf.port());
    let (entry, _shared) = start_with("entry-1", &format!("http://{middle}/ {localhost}"));
    let answer = ask(entry, "/");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    assert!(crate::json::is_object(body.trim_end()), "{body}");
    let pods: Vec<&str> =
        body.split("\"pod\":\"").skip(1).map(|p| &p[..p.find('"').unwrap()]).collect();
    assert_eq!(pods, ["entry-1", "middle-1", "leaf-1", "leaf-1"], "{body}");
    assert!(body.contains(&format!("\"host\":\"localhost:{}\"", leaf.port())), "{body}");
}

#[test]
fn a_failure_behind_is_a_failure_of_the_whole() {
    let (middle, _shared) =
        start_with("middle-1", "http://127.0.0.1:1/ http://127.0.0.1:1/healthz");
    let (entry, _shared) = start_with("entry-1", &format!("http://{middle}/"));
    let answer = ask(entry, "/");
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(answer.contains("\"pod\":\"middle-1\""), "what there is is shown: {answer}");
    assert_eq!(answer.matches("\"error\":\"refused\"").count(), 2, "{answer}");
}

#[test]
fn calls_in_a_circle_end() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let calls = Calls::new(
        &format!("http://{port}/"),
        Duration::from_secs(5),
        Resolver::from_files("/dev/null"),
    );
    let identity =
        Identity { service: None, version: None, pod: None, node: None, namespace: None };
    let shared = Arc::new(Shared::new(identity, calls.unwrap()));
    let listener = listen::bind(port).unwrap();
    spawn(move || accept(&listener, &shared, || false)).unwrap();
    let answer = ask(port, "/");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("\"error\":\"too-deep\""), "{answer}");
}

#[test]
fn names_are_looked_up() {
    let (address, _shared) = start();
    let answer = ask(address, "/resolve?localhost");
    assert!(answer.contains(r#"{"name":"localhost","addresses":["#), "{answer}");
    assert!(ask(address, "/resolve?").starts_with("HTTP/1.1 404"));
}

#[test]
fn many_clients_come_at_once() {
    let (address, shared) = start();
    let streams: Vec<TcpStream> = (0..500).map(|_| TcpStream::connect(address).unwrap()).collect();
    for mut stream in &streams {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    for stream in &streams {
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert_eq!(answer, "HTTP/1.1 200 OK\r\n");
    }
    assert!(shared.connections.load(Ordering::SeqCst) >= 500);
}

#[test]
fn what_is_under_way_is_answered_before_the_end() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let listener = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Calls::new("", Duration::from_secs(1), Resolver::from_files("/dev/null"));
    let identity =
        Identity { service: None, version: None, pod: None, node: None, namespace: None };
    let shared = Arc::new(Shared::new(identity, calls.unwrap()));
    let slow = thread::spawn(move || ask(address, "/slow?500"));
    // An idle connection is none that is waited for.
    let _idle = TcpStream::connect(address).unwrap();
    let of_server = Arc::clone(&shared);
    let server = thread::spawn(move || {
        accept(&listener, &of_server, || STOP.load(Ordering::SeqCst));
        drain(&of_server);
    });
    let begun = Instant::now();
    while shared.requests.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        thread::yield_now();
    }
    STOP.store(true, Ordering::SeqCst);
    server.join().unwrap();
    assert_eq!(shared.requests.load(Ordering::SeqCst), 0);
    assert!(slow.join().unwrap().contains("\"pod\""));
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
