use std::net::TcpListener;

use super::{super::message::tests::answer, *};

/// A server on loopback that answers every datagram by what `reply` makes of it.
fn server(
    reply: impl Fn(usize, &[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> (SocketAddr, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let held = socket.try_clone().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        for count in 0.. {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
            if let Some(answer) = reply(count, &buffer[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    (address, held)
}

/// The question in a message, so that a server can answer it.
fn question_of(message: &[u8]) -> Question {
    let family = if message[message.len() - 3] == 28 { Family::V6 } else { Family::V4 };
    let name = Name::parse("web.example").unwrap();
    Question { id: u16::from_be_bytes([message[0], message[1]]), name, family }
}

fn right_answer(message: &[u8]) -> Vec<u8> {
    let question = question_of(message);
    let address: IpAddr = match question.family {
        Family::V4 => "10.0.0.1".parse().unwrap(),
        Family::V6 => "fd00::1".parse().unwrap(),
    };
    answer(&question, 0, &[address])
}

fn lookup(servers: &[SocketAddr]) -> Result<Vec<String>, Failure> {
    let config = Config { servers: servers.to_vec(), ..Config::default() };
    let deadline = Instant::now() + Duration::from_secs(5);
    // A generator that repeats itself is the worst there can be.
    match ask(&config, &Name::parse("web.example").unwrap(), deadline, || 7)? {
        Found::Addresses(mut addresses) => {
            addresses.sort();
            Ok(addresses.iter().map(IpAddr::to_string).collect())
        }
        Found::Nothing => Ok(Vec::new()),
    }
}

#[test]
fn both_families_are_found() {
    let (address, _held) = server(|_, message| Some(right_answer(message)));
    assert_eq!(lookup(&[address]).unwrap(), ["10.0.0.1", "fd00::1"]);
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let (address, _held) = server(|count, message| (count > 1).then(|| right_answer(message)));
    assert_eq!(lookup(&[address]).unwrap(), ["10.0.0.1", "fd00::1"]);
}

#[test]
fn a_server_that_fails_is_not_the_last() {
    let (bad, _held) = server(|_, message| Some(answer(&question_of(message), 2, &[])));
    let (good, _held) = server(|_, message| Some(right_answer(message)));
    assert_eq!(lookup(&[bad, good]).unwrap(), ["10.0.0.1", "fd00::1"]);
    let failure = lookup(&[bad]).unwrap_err();
    assert_eq!(failure.kind, "dns-failed");
    assert!(failure.message.contains("server failure"), "{failure:?}");
}

#[test]
fn a_server_that_is_not_there_is_not_the_last() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (good, _held) = server(|_, message| Some(right_answer(message)));
    assert_eq!(lookup(&[gone, good]).unwrap(), ["10.0.0.1", "fd00::1"]);
}

#[test]
fn a_name_that_is_none_is_an_answer() {
    let (address, _held) = server(|_, message| Some(answer(&question_of(message), 3, &[])));
    assert!(lookup(&[address]).unwrap().is_empty());
}

#[test]
fn an_answer_to_something_else_is_passed_over() {
    let (address, _held) = server(|count, message| {
        let mut answer = right_answer(message);
        if count < 2 {
            answer[0] ^= 0xff;
        }
        Some(answer)
    });
    assert_eq!(lookup(&[address]).unwrap(), ["10.0.0.1", "fd00::1"]);
}

#[test]
fn what_does_not_fit_a_datagram_comes_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut cut = answer(&question_of(&buffer[..length]), 0, &[]);
            cut[2] |= 0x02;
            socket.send_to(&cut, from).unwrap();
        }
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message).unwrap();
            let answer = right_answer(&message);
            let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
            framed.extend(answer);
            stream.write_all(&framed).unwrap();
        }
    });
    assert_eq!(lookup(&[address]).unwrap(), ["10.0.0.1", "fd00::1"]);
}

#[test]
fn silence_ends_at_the_deadline() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = Config { servers: vec![silent.local_addr().unwrap()], ..Config::default() };
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(300);
    let result = ask(&config, &Name::parse("a").unwrap(), deadline, || 1);
    assert_eq!(result.err().map(|failure| failure.kind), Some("dns-timeout"));
    assert!(begun.elapsed() >= Duration::from_millis(300));
}
