//! KEEPALIVEs on connections that stand still: a large table takes longer to change hands than some hold
//! times are long.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    io::{self, Write},
    net::TcpStream,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bgp_speaker::ConnId;
use bgp_wire::Message;
use bytes::{Buf, Bytes, BytesMut};

use crate::outbox::advance;

/// A thread that speaks for the speaker until it is asked what it has said.
#[derive(Debug)]
pub(super) struct Beat {
    /// Gone when nothing more is to be said.
    stop: Sender<Infallible>,
    thread: JoinHandle<BTreeMap<ConnId, Said>>,
}

/// What has become of a connection's octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Of those that were unwritten, so many are written.
    pub(crate) written: usize,
    /// The rest of a KEEPALIVE of which a part is written; nothing else is left unwritten then.
    pub(crate) tail: Bytes,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Voice {
    stream: TcpStream,
    /// Ends with a whole message.
    unwritten: VecDeque<Bytes>,
    /// Between two KEEPALIVEs; without a hold time there are none.
    every: Option<Duration>,
    next: Option<Instant>,
    said: Said,
}

impl Voice {
    /// The first KEEPALIVE is due when a third of `hold` has passed (RFC 4271 §4.4).
    pub(super) fn new(
        stream: TcpStream,
        unwritten: VecDeque<Bytes>,
        hold: Option<Duration>,
        now: Instant,
    ) -> Self {
        let every = hold.map(|hold| hold / 3);
        let next = every.map(|every| now + every);
        Self { stream, unwritten, every, next, said: Said::default() }
    }

    fn speak(&mut self, now: Instant) {
        let Some(every) = self.every.filter(|_| self.next.is_some_and(|next| next <= now)) else {
            return;
        };
        self.next = Some(now + every);
        if let Err(error) = self.write() {
            // Whoever reads from it will see why.
            tracing::debug!(%error, "a connection that stands still");
            self.next = None;
        }
    }

    /// As much as TCP takes at once. Where it does not take what waits, nothing is added: the peer hears
    /// from us as it reads.
    fn write(&mut self) -> io::Result<()> {
        while let Some(first) = self.unwritten.front_mut() {
            let Some(count) = some(self.stream.write(first))? else { return Ok(()) };
            self.said.written += count;
            first.advance(count);
            if first.is_empty() {
                self.unwritten.pop_front();
            }
        }
        let begun = !self.said.tail.is_empty();
        let mut octets = if begun { self.said.tail.clone() } else { keepalive() };
        let count = some(self.stream.write(&octets))?.unwrap_or(0);
        octets.advance(count);
        if begun || count > 0 {
            self.said.tail = octets;
        }
        Ok(())
    }
}

impl Beat {
    pub(super) fn start(mut voices: BTreeMap<ConnId, Voice>) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let speak = move || {
            loop {
                let now = Instant::now();
                voices.values_mut().for_each(|voice| voice.speak(now));
                let next = voices.values().filter_map(|voice| voice.next).min();
                let wait = next.map(|next| next.saturating_duration_since(Instant::now()));
                match stopped.recv_timeout(wait.unwrap_or(Duration::from_secs(3600))) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                    Ok(never) => match never {},
                }
            }
            voices.into_iter().map(|(conn, voice)| (conn, voice.said)).collect()
        };
        let thread = thread::Builder::new().name("handover-beat".to_owned()).spawn(speak)?;
        Ok(Self { stop, thread })
    }

    /// Says nothing any more, and gives what was said.
    pub(super) fn stop(self) -> io::Result<BTreeMap<ConnId, Said>> {
        let Self { stop, thread } = self;
        drop(stop);
        thread.join().map_err(|_panic| io::Error::other("the thread that says KEEPALIVE"))
    }
}

impl Said {
    /// What is left of what was unwritten.
    pub(crate) fn leave(self, unwritten: &mut VecDeque<Bytes>) {
        advance(unwritten, self.written);
        if !self.tail.is_empty() {
            unwritten.push_back(self.tail);
        }
    }
}

fn keepalive() -> Bytes {
    let mut octets = BytesMut::new();
    Message::encode_keepalive(&mut octets);
    octets.freeze()
}

/// `None` where there is no room.
fn some(written: io::Result<usize>) -> io::Result<Option<usize>> {
    match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn what_waits_is_said_before_a_keepalive() {
        let (near, mut far) = pair();
        let unwritten = VecDeque::from([Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        let hold = Some(Duration::from_millis(30));
        let voice = Voice::new(near, unwritten, hold, Instant::now());
        let beat = Beat::start(BTreeMap::from([(ConnId(1), voice)])).unwrap();
        let mut heard = [0; 3 + 2 * 19];
        far.read_exact(&mut heard).unwrap();
        assert_eq!(heard[..], [b"abc", &keepalive()[..], &keepalive()].concat());
        let said = beat.stop().unwrap();
        assert_eq!(said[&ConnId(1)], Said { written: 3, tail: Bytes::new() });
    }

    /// The octets that the peer reads are messages, wherever TCP stops to take them.
    #[test]
    fn whoever_goes_on_writes_what_is_left() {
        let (near, mut far) = pair();
        let now = Instant::now();
        let all = Bytes::from(vec![7; 300_000]);
        let mut unwritten: VecDeque<_> = (0..40).map(|_| all.clone()).collect();
        let hold = Some(Duration::from_secs(3));
        let mut voice = Voice::new(near.try_clone().unwrap(), unwritten.clone(), hold, now);
        voice.speak(now + Duration::from_secs(1));
        let said = voice.said;
        assert!((1..40 * all.len()).contains(&said.written), "{}", said.written);
        let written = said.written;
        said.leave(&mut unwritten);
        let left: usize = unwritten.iter().map(Bytes::len).sum();
        assert_eq!(written + left, 40 * all.len());
        drop(near);
        drop(voice.stream);
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).unwrap();
        assert_eq!(heard.len(), written);
    }

    #[test]
    fn a_part_of_a_keepalive_is_finished() {
        let mut unwritten = VecDeque::from([Bytes::from_static(b"abc")]);
        Said { written: 3, tail: Bytes::from_static(b"xyz") }.leave(&mut unwritten);
        assert_eq!(unwritten, [Bytes::from_static(b"xyz")]);
    }
}
