use super::*;

fn start() -> (SocketAddr, Arc<Shared>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).unwrap();
    let shared = Arc::new(Shared {
        identity: Identity {
            service: None,
            pod: Some("web-1".into()),
            node: Some("node-1".into()),
            namespace: Some("default".into()),
        },
        ready: AtomicBool::new(true),
        connections: AtomicUsize::new(0),
    });
    let (of_tcp, of_udp) = (Arc::clone(&shared), Arc::clone(&shared));
    spawn(move || drop(accept(&listener, &of_tcp))).unwrap();
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
