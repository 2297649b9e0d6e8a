//! Lookups at a steady pace, as a resolver makes them: one question again after a while without an
//! answer, and given up after some tries.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use domain::{
    base::{
        Message, MessageBuilder, Name, Rtype,
        iana::{Class, Rcode},
    },
    rdata::{A, Aaaa},
};
use nix::sched::{CloneFlags, setns};

/// After so long a question is asked again, as often as this; glibc waits five times as long.
const RETRY: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;
/// How long the client sleeps at most, so that it keeps its pace.
const TICK: Duration = Duration::from_millis(1);

/// A name, and whether its IPv6 addresses are asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    pub name: String,
    pub v6: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// In order of their numbers.
    Addresses(Vec<IpAddr>),
    NoData,
    NoName,
    Failure(String),
}

/// How fast, for how long, and whom.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub server: IpAddr,
    pub per_second: u32,
    pub duration: Duration,
}

/// What became of the lookups.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    /// How often each question was answered in each way.
    pub said: BTreeMap<(Question, Said), usize>,
    /// Questions that were asked again before there was an answer, and those never answered.
    pub retried: usize,
    pub lost: Vec<Question>,
    /// From the first time a question was asked to its answer, the shortest first.
    pub took: Vec<Duration>,
}

impl Lookups {
    /// The answer that so many of a hundred were not later than.
    pub fn percentile(&self, percent: usize) -> Duration {
        let index = (self.took.len() * percent / 100).min(self.took.len().saturating_sub(1));
        self.took.get(index).copied().unwrap_or_default()
    }
}

struct Pending {
    question: Question,
    first: Instant,
    last: Instant,
    tries: u32,
}

/// Asks the questions in turn from within a network namespace, until all are answered or given up.
pub fn look_up(netns: &Path, pace: Pace, questions: &[Question]) -> Result<Lookups> {
    let namespace = File::open(netns).with_context(|| netns.display().to_string())?;
    std::thread::scope(|scope| {
        // A thread that ends here: a namespace is entered for good.
        let client = scope.spawn(|| -> Result<Lookups> {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            run(pace, questions)
        });
        match client.join() {
            Ok(result) => result,
            Err(_panic) => bail!("the client panicked"),
        }
    })
}

fn run(pace: Pace, questions: &[Question]) -> Result<Lookups> {
    let any: SocketAddr = if pace.server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse()?;
    let socket = UdpSocket::bind(any)?;
    socket.connect((pace.server, 53))?;
    socket.set_read_timeout(Some(TICK))?;
    let begun = Instant::now();
    let total = u64::from(pace.per_second) * pace.duration.as_millis() as u64 / 1000;
    let mut asked = 0_u64;
    let mut pending = BTreeMap::<u16, Pending>::new();
    let mut lookups = Lookups::default();
    let mut buffer = [0; 4096];
    while asked < total || !pending.is_empty() {
        let now = Instant::now();
        let due = now.duration_since(begun).as_micros() * u128::from(pace.per_second) / 1_000_000;
        while asked < total && u128::from(asked) < due {
            let question = questions[asked as usize % questions.len()].clone();
            let id = asked as u16;
            send(&socket, id, &question)?;
            let waiting = Pending { question, first: now, last: now, tries: 1 };
            if pending.insert(id, waiting).is_some() {
                bail!("more than 65536 questions are unanswered");
            }
            asked += 1;
        }
        retry(&socket, &mut pending, &mut lookups)?;
        match socket.recv(&mut buffer) {
            Ok(len) => {
                let now = Instant::now();
                let Some((id, said)) = read(&buffer[..len]) else { continue };
                // One that was asked twice may be answered twice.
                let Some(answered) = pending.remove(&id) else { continue };
                lookups.took.push(now.duration_since(answered.first));
                *lookups.said.entry((answered.question, said)).or_default() += 1;
            }
            Err(error) if is_nothing(&error) => {}
            Err(error) => return Err(error).context("receive an answer"),
        }
    }
    lookups.took.sort();
    Ok(lookups)
}

fn retry(
    socket: &UdpSocket,
    pending: &mut BTreeMap<u16, Pending>,
    lookups: &mut Lookups,
) -> Result<()> {
    let now = Instant::now();
    let late: Vec<u16> = pending
        .iter()
        .filter(|(_, one)| now.duration_since(one.last) >= RETRY)
        .map(|(id, _)| *id)
        .collect();
    for id in late {
        let Some(one) = pending.get_mut(&id) else { continue };
        if one.tries == TRIES {
            lookups.lost.extend(pending.remove(&id).map(|lost| lost.question));
            continue;
        }
        lookups.retried += usize::from(one.tries == 1);
        one.tries += 1;
        one.last = now;
        send(socket, id, &one.question)?;
    }
    Ok(())
}

/// Refused and unreachable are answers to an earlier datagram: it is asked again in its time.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, Interrupted, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        WouldBlock | TimedOut | Interrupted | ConnectionRefused | HostUnreachable
    )
}

fn send(socket: &UdpSocket, id: u16, question: &Question) -> Result<()> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    let rtype = if question.v6 { Rtype::AAAA } else { Rtype::A };
    builder.push((Name::vec_from_str(&question.name)?, rtype, Class::IN))?;
    match socket.send(&builder.finish()) {
        Ok(_) => Ok(()),
        Err(error) if is_nothing(&error) => Ok(()),
        Err(error) => Err(error).context("send a question"),
    }
}

fn read(bytes: &[u8]) -> Option<(u16, Said)> {
    let message = Message::from_octets(bytes).ok()?;
    let header = message.header();
    if !header.qr() {
        return None;
    }
    let said = match header.rcode() {
        Rcode::NOERROR => {
            let v4 = message.answer().ok()?.limit_to::<A>().flatten();
            let v6 = message.answer().ok()?.limit_to::<Aaaa>().flatten();
            let v4 = v4.map(|record| IpAddr::V4(record.data().addr()));
            let v6 = v6.map(|record| IpAddr::V6(record.data().addr()));
            let mut addresses: Vec<IpAddr> = v4.chain(v6).collect();
            addresses.sort();
            if addresses.is_empty() { Said::NoData } else { Said::Addresses(addresses) }
        }
        Rcode::NXDOMAIN => Said::NoName,
        other => Said::Failure(other.to_string()),
    };
    Some((header.id(), said))
}
