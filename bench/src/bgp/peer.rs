//! One simulated peer: just enough BGP to be taken for one.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail, ensure};
use bgp_wire::{
    Frame, MAX_MESSAGE_LEN, Message, MessageType, PeerKind, SessionParameters, split_frame,
};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
    task::{JoinHandle, spawn_local, yield_now},
    time::{sleep, timeout_at},
};

use super::{
    board::Board,
    layout::{DAEMON, peer_address},
    walk::Broken,
};

pub(crate) const BGP_PORT: u16 = 179;
/// Read at once. A daemon's messages are of 4 KiB at most; the more of them in one call the better.
const READ_BYTES: usize = 128 << 10;
/// Reads in a row before others have their turn.
const READS: usize = 4;
/// Before the next try with a daemon that does not listen yet, or does not want us yet: a quarter
/// more each time, so that a try comes soon after a daemon is ready and costs it little before.
const FIRST_RETRY: Duration = Duration::from_millis(2);
const LAST_RETRY: Duration = Duration::from_millis(250);
/// CEASE, administrative reset (RFC 4486).
const CEASE_RESET: [u8; 21] = {
    let mut message = [0xff; 21];
    (message[16], message[17], message[18], message[19], message[20]) = (0, 21, 3, 6, 4);
    message
};

pub(crate) struct Peer {
    number: usize,
    open: Bytes,
    board: Rc<Board>,
    session: RefCell<Option<Session>>,
    /// Sessions may end without that being an error.
    may_end: Rc<Cell<bool>>,
}

struct Session {
    writer: Rc<Mutex<OwnedWriteHalf>>,
    reader: JoinHandle<()>,
}

impl Peer {
    pub(crate) fn new(number: usize, open: Bytes, board: Rc<Board>) -> Self {
        let (session, may_end) = Default::default();
        Self { number, open, board, session, may_end }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Connects, as often as it takes, until a session is established.
    pub(crate) async fn connect(&self, deadline: Instant) -> Result<()> {
        let mut last = anyhow!("no answer");
        let mut retry = FIRST_RETRY;
        loop {
            match timeout_at(deadline.into(), self.try_connect()).await {
                Ok(Ok((stream, rest))) => {
                    self.start(stream, rest);
                    return Ok(());
                }
                Ok(Err(error)) => last = error,
                Err(_) => {
                    let what = format!("peer {}: no session within the time limit", self.number);
                    return Err(last.context(what));
                }
            }
            sleep(retry).await;
            retry = LAST_RETRY.min(retry * 5 / 4);
        }
    }

    /// A session, and what has been read beyond its first KEEPALIVE.
    async fn try_connect(&self) -> Result<(TcpStream, BytesMut)> {
        let mut stream = dial(self.number).await?;
        stream.write_all(&self.open).await?;
        let mut buffer = BytesMut::new();
        loop {
            if stream.read_buf(&mut buffer).await? == 0 {
                bail!("the daemon has closed the connection");
            }
            while let Some(frame) = split_frame(&mut buffer, MAX_MESSAGE_LEN)
                .map_err(|wrong| anyhow!("what the daemon says is no BGP: {wrong}"))?
            {
                let parameters = SessionParameters::before_open(PeerKind::External);
                let message = Message::decode(&frame, &parameters)
                    .map_err(|wrong| anyhow!("what the daemon says is malformed: {wrong}"))?;
                match message {
                    Message::Open(open) => {
                        ensure!(open.has_four_octet_as(), "the daemon has two-octet AS numbers");
                        let mut keepalive = BytesMut::new();
                        Message::encode_keepalive(&mut keepalive);
                        stream.write_all(&keepalive).await?;
                    }
                    Message::Keepalive => return Ok((stream, buffer)),
                    Message::Notification(why) => bail!("the daemon has refused: {why}"),
                    other => bail!("the daemon has begun with {:?}", other.kind()),
                }
            }
        }
    }

    /// Takes over an established session.
    pub(crate) fn start(&self, stream: TcpStream, rest: BytesMut) {
        let (reader, writer) = stream.into_split();
        self.board.established(self.number);
        let (number, board, may_end) = (self.number, self.board.clone(), self.may_end.clone());
        let reader = spawn_local(async move {
            let end = read(number, &board, reader, rest).await;
            board.lost(number);
            if !may_end.get() {
                board.fail(format!("peer {number}: {end:#}"));
            }
        });
        let writer = Rc::new(Mutex::new(writer));
        *self.session.borrow_mut() = Some(Session { writer, reader });
    }

    /// Leaves octets to be written as fast as the socket takes them.
    pub(crate) fn send(&self, octets: Bytes) {
        let writer = self.session.borrow().as_ref().map(|session| session.writer.clone());
        spawn_local(async move {
            if let Some(writer) = writer {
                // Where it fails the reader has seen the same end, and tells.
                let _told_by_the_reader = writer.lock().await.write_all(&octets).await;
            }
        });
    }

    /// Lets the session end without that being an error, or not any more.
    pub(crate) fn may_end(&self, may: bool) {
        self.may_end.set(may);
    }

    /// Ends the session as a router does that is told to.
    pub(crate) async fn close(&self) {
        let session = self.session.borrow_mut().take();
        let Some(Session { writer, reader }) = session else { return };
        let mut writer = writer.lock().await;
        // A session that is broken already is closed, too.
        let _broken_already = writer.write_all(&CEASE_RESET).await;
        let _broken_already = writer.shutdown().await;
        reader.abort();
        self.board.lost(self.number);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(session) = self.session.get_mut() {
            session.reader.abort();
        }
    }
}

/// A connection from a peer's address.
pub(crate) async fn dial(number: usize) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((peer_address(number), 0)))?;
    socket.set_nodelay(true)?;
    socket.connect(SocketAddr::from((DAEMON, BGP_PORT))).await
}

/// Reads to the end of the session, which is what comes back.
pub(crate) async fn read(
    number: usize,
    board: &Board,
    socket: OwnedReadHalf,
    rest: BytesMut,
) -> anyhow::Error {
    let mut buffer = vec![0; READ_BYTES];
    let mut filled = rest.len();
    buffer[..filled].copy_from_slice(&rest);
    loop {
        for _ in 0..READS {
            match board.read(number, &buffer[..filled]) {
                Ok(taken) => {
                    buffer.copy_within(taken..filled, 0);
                    filled -= taken;
                }
                Err(Broken::Malformed(what)) => return anyhow!("the daemon has sent {what}"),
                Err(Broken::Notification(body)) => return notification(body),
            }
            match socket.try_read(&mut buffer[filled..]) {
                Ok(0) => return anyhow!("the daemon has closed the session"),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = socket.readable().await {
                        return error.into();
                    }
                }
                Err(error) => return error.into(),
            }
        }
        yield_now().await;
    }
}

fn notification(body: Vec<u8>) -> anyhow::Error {
    let frame = Frame { kind: MessageType::Notification, body: body.into() };
    match Message::decode(&frame, &SessionParameters::before_open(PeerKind::External)) {
        Ok(Message::Notification(why)) => anyhow!("the daemon has ended the session: {why}"),
        _ => anyhow!("the daemon has ended the session"),
    }
}
