//! Asking the servers: both families at once over UDP, again where no answer comes, another server
//! where one fails, TCP where an answer does not fit a datagram.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use super::{
    config::Config,
    message::{self, Answer, Family, Name, Question},
};
use crate::failure::Failure;

/// A lost datagram must not cost a request that has a second or two. It doubles with every round,
/// up to what the configuration says.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Where every server refuses at once, one may be about to start.
const ROUND_MIN: Duration = Duration::from_millis(50);
/// Without EDNS a server sends no more than 512 bytes.
const DATAGRAM_MAX: usize = 4096;

pub(crate) enum Found {
    Addresses(Vec<IpAddr>),
    /// A server has said that there are none.
    Nothing,
}

/// Both questions about one name, and what became of them.
struct Lookup<'a> {
    name: &'a Name,
    deadline: Instant,
    random: fn() -> u16,
    /// What is not answered yet.
    open: Vec<Family>,
    addresses: Vec<IpAddr>,
    /// The last reason why a server gave no answer.
    failure: Failure,
}

/// Asks for the addresses of exactly this name, until `deadline`.
pub(crate) fn ask(
    config: &Config,
    name: &Name,
    deadline: Instant,
    random: fn() -> u16,
) -> Result<Found, Failure> {
    let mut lookup = Lookup {
        name,
        deadline,
        random,
        open: vec![Family::V4, Family::V6],
        addresses: Vec::new(),
        failure: Failure::new("dns-timeout", "no server was asked in time"),
    };
    let mut wait = FIRST_WAIT;
    let mut failed_rounds = 0;
    loop {
        let begun = Instant::now();
        let mut failures = 0;
        for server in &config.servers {
            failures += usize::from(lookup.ask(*server, wait.min(config.timeout)));
            if lookup.open.is_empty() {
                return Ok(lookup.found());
            }
        }
        // One family of a name is enough, where the servers have nothing to say of the other.
        if !lookup.addresses.is_empty() {
            return Ok(lookup.found());
        }
        failed_rounds += u32::from(failures == config.servers.len());
        if failed_rounds >= config.attempts || Instant::now() >= deadline {
            return Err(lookup.failure);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        thread::sleep(ROUND_MIN.saturating_sub(begun.elapsed()).min(left));
        wait *= 2;
    }
}

impl Lookup<'_> {
    fn found(self) -> Found {
        match self.addresses.is_empty() {
            true => Found::Nothing,
            false => Found::Addresses(self.addresses),
        }
    }

    /// Asks one server what is open. Whether it said that it cannot answer, which is another thing
    /// than to say nothing.
    fn ask(&mut self, server: SocketAddr, wait: Duration) -> bool {
        let until = self.deadline.min(Instant::now() + wait);
        match self.ask_datagrams(server, until) {
            Ok(failed) => failed,
            Err(error) => {
                // Nobody listens there now: a server that is started again will.
                self.failure = Failure::new("dns-unreachable", format!("{server}: {error}"));
                false
            }
        }
    }

    fn ask_datagrams(&mut self, server: SocketAddr, until: Instant) -> io::Result<bool> {
        let any = match server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // A socket of its own for each try: the kernel takes a source port at random (RFC 5452).
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(server)?;
        let mut asked: Vec<Question> =
            self.open.iter().map(|&family| self.question(family)).collect();
        if let [first, second] = &mut asked[..]
            && first.id == second.id
        {
            second.id = second.id.wrapping_add(1);
        }
        for question in &asked {
            socket.send(&question.encode())?;
        }
        let mut failed = false;
        let mut buffer = [0; DATAGRAM_MAX];
        while !asked.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.failure = Failure::new("dns-timeout", format!("{server}: no answer"));
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if is_timeout(&error) => continue,
                Err(error) => return Err(error),
            };
            // What answers nothing that was asked may be anybody's, and is not listened to.
            let answered = asked.iter().enumerate().find_map(|(index, question)| {
                Some((index, message::decode(&buffer[..length], question)?))
            });
            let Some((index, answer)) = answered else { continue };
            let question = asked.swap_remove(index);
            let answer = match answer {
                Answer::Truncated => ask_stream(server, &question, self.deadline)?,
                answer => answer,
            };
            failed |= self.settle(server, question.family, answer);
        }
        Ok(failed)
    }

    fn question(&self, family: Family) -> Question {
        Question { id: (self.random)(), name: self.name.clone(), family }
    }

    /// Notes an answer; whether it was a failure.
    fn settle(&mut self, server: SocketAddr, family: Family, answer: Answer) -> bool {
        match answer {
            Answer::Addresses(addresses) => {
                self.open.retain(|open| *open != family);
                self.addresses.extend(addresses);
                false
            }
            Answer::Failed(code) => {
                self.failure = Failure::new("dns-failed", format!("{server}: {}", word(code)));
                true
            }
            Answer::Truncated => {
                self.failure = Failure::new("dns-failed", format!("{server}: cut over TCP"));
                true
            }
        }
    }
}

/// The same question over TCP (RFC 1035 §4.2.2).
fn ask_stream(server: SocketAddr, question: &Question, deadline: Instant) -> io::Result<Answer> {
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&server, left()?)?;
    stream.set_read_timeout(Some(left()?))?;
    stream.set_write_timeout(Some(left()?))?;
    let message = question.encode();
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend(message);
    stream.write_all(&framed)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    message::decode(&answer, question)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer to what was asked"))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// The names that RFC 1035 §4.1.1 gives the codes.
fn word(code: u8) -> String {
    match code {
        1 => "format error".to_owned(),
        2 => "server failure".to_owned(),
        4 => "not implemented".to_owned(),
        5 => "refused".to_owned(),
        other => format!("code {other}"),
    }
}

#[cfg(test)]
mod tests;
