#![expect(unsafe_code, reason = "descriptors are adopted by their number")]
//! Messages between two processes, some with a descriptor.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::IpAddr,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use bgp_bfd::{Path, SessionKey};
use bgp_speaker::MAX_FRAME_BYTES;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, getsockopt, recvmsg, sendmsg, sockopt,
};

/// The longest that either side waits for the other. Sessions stand still meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// The longest that the other may take nothing at all of what it is sent.
const STALLED: Duration = Duration::from_secs(5);

const HELLO: &[u8] = b"viaduct bgp handover";

#[derive(Debug)]
pub(super) enum Message {
    Hello,
    /// Not now: ask again.
    Later,
    Listener(OwnedFd),
    Connection(IpAddr, OwnedFd),
    /// Octets that go to the connection before anything else.
    Unwritten(Vec<u8>),
    Speaker(Vec<u8>),
    End,
    Ready,
    Go,
    /// Of what was unwritten to a peer so many octets are written, and these are left of a KEEPALIVE
    /// behind it.
    Said(IpAddr, usize, Vec<u8>),
    /// Who was heard on an interface.
    Neighbour(String, IpAddr),
    Yield(String),
    /// Not at all.
    Refused(String),
    /// Sessions of BFD will follow, of this version.
    Bfd(u16),
    /// By which packets of a session are sent, or, without one, those of any arrive.
    BfdSocket(Option<SessionKey>, OwnedFd),
    /// A session, or what has happened to one.
    BfdFrame(Vec<u8>),
    /// A socket that is no business of the speaker's, by its name.
    Beside(String, OwnedFd),
}

/// One end. It blocks.
#[derive(Debug)]
pub(crate) struct Channel(UnixStream);

impl Channel {
    /// Whoever is another user is refused, root apart: with the sockets goes all that they are for.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(STALLED))?;
        let peer = getsockopt(&stream, sockopt::PeerCredentials)?;
        let own = nix::unistd::geteuid();
        if peer.uid() != own.as_raw() && peer.uid() != 0 {
            let error = format!("user {} wants to take over from {own}", peer.uid());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
        }
        Ok(Self(stream))
    }

    pub(super) fn hello(&mut self) -> io::Result<()> {
        self.send(0, HELLO)
    }

    pub(super) fn later(&mut self) -> io::Result<()> {
        self.send(1, &[])
    }

    pub(super) fn listener(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.send(2, &[])?;
        self.send_descriptor(socket)
    }

    pub(super) fn connection(&mut self, peer: IpAddr, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.send(3, peer.to_string().as_bytes())?;
        self.send_descriptor(socket)
    }

    pub(super) fn unwritten(&mut self, octets: &[u8]) -> io::Result<()> {
        octets.chunks(MAX_FRAME_BYTES).try_for_each(|octets| self.send(4, octets))
    }

    pub(super) fn speaker(&mut self, frame: &[u8]) -> io::Result<()> {
        self.send(5, frame)
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        self.send(6, &[])
    }

    pub(super) fn ready(&mut self) -> io::Result<()> {
        self.send(7, &[])
    }

    pub(super) fn go(&mut self) -> io::Result<()> {
        self.send(8, &[])
    }

    pub(super) fn give_way(&mut self, reason: &str) -> io::Result<()> {
        self.send(9, reason.as_bytes())
    }

    pub(super) fn refuse(&mut self, reason: &str) -> io::Result<()> {
        self.send(10, reason.as_bytes())
    }

    pub(super) fn said(&mut self, peer: IpAddr, written: usize, tail: &[u8]) -> io::Result<()> {
        let written = u32::try_from(written).unwrap_or(u32::MAX).to_be_bytes();
        let name = peer.to_string();
        self.send(11, &[&written[..], &[tail.len() as u8], tail, name.as_bytes()].concat())
    }

    pub(super) fn neighbour(&mut self, interface: &str, address: IpAddr) -> io::Result<()> {
        self.send(12, format!("{address} {interface}").as_bytes())
    }

    pub(super) fn bfd(&mut self, version: u16) -> io::Result<()> {
        self.send(13, &version.to_be_bytes())
    }

    pub(super) fn bfd_socket(
        &mut self,
        session: Option<SessionKey>,
        socket: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let name = session.map(|key| format!("{} {}", key.path.port(), key.peer));
        self.send(14, name.unwrap_or_default().as_bytes())?;
        self.send_descriptor(socket)
    }

    pub(super) fn bfd_frame(&mut self, frame: &[u8]) -> io::Result<()> {
        self.send(15, frame)
    }

    pub(super) fn beside(&mut self, name: &str, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.send(16, name.as_bytes())?;
        self.send_descriptor(socket)
    }

    /// Waits until the other has closed its end.
    pub(super) fn closed(mut self) -> io::Result<()> {
        match self.0.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(invalid("a word behind the last")),
            Err(error) => Err(error),
        }
    }

    pub(super) fn receive(&mut self) -> io::Result<Message> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head)?;
        let [kind, len @ ..] = head;
        let len = u32::from_be_bytes(len) as usize;
        if len > MAX_FRAME_BYTES {
            return Err(invalid("a message that is too long"));
        }
        let mut payload = vec![0; len];
        self.0.read_exact(&mut payload)?;
        Ok(match kind {
            0 if payload == HELLO => Message::Hello,
            1 => Message::Later,
            2 => Message::Listener(self.receive_descriptor()?),
            3 => {
                let peer = peer(&payload)?;
                Message::Connection(peer, self.receive_descriptor()?)
            }
            4 => Message::Unwritten(payload),
            5 => Message::Speaker(payload),
            6 => Message::End,
            7 => Message::Ready,
            8 => Message::Go,
            9 => Message::Yield(String::from_utf8_lossy(&payload).into_owned()),
            10 => Message::Refused(String::from_utf8_lossy(&payload).into_owned()),
            11 => said(&payload).ok_or_else(|| invalid("octets of nobody"))?,
            12 => neighbour(&payload).ok_or_else(|| invalid("a neighbour that is nobody"))?,
            13 => {
                let version = payload.try_into().map_err(|_long| invalid("a version of BFD"))?;
                Message::Bfd(u16::from_be_bytes(version))
            }
            14 => {
                let session = bfd_session(&payload)?;
                Message::BfdSocket(session, self.receive_descriptor()?)
            }
            15 => Message::BfdFrame(payload),
            16 => {
                let name = String::from_utf8_lossy(&payload).into_owned();
                Message::Beside(name, self.receive_descriptor()?)
            }
            _ => return Err(invalid("a message that nobody knows")),
        })
    }

    fn send(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.0.write_all(&[&[kind][..], &len].concat())?;
        self.0.write_all(payload)
    }

    /// With an octet of its own, so that whoever reads octets never reads past a descriptor.
    fn send_descriptor(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let descriptors = [socket.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&descriptors)];
        let octet = [IoSlice::new(&[0])];
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<UnixAddr>(self.0.as_raw_fd(), &octet, &control, flags, None)?;
        Ok(())
    }

    fn receive_descriptor(&mut self) -> io::Result<OwnedFd> {
        let mut octet = [0];
        let mut room = [IoSliceMut::new(&mut octet)];
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message =
            recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut room, Some(&mut control), flags)?;
        let mut received = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                for descriptor in descriptors {
                    // SAFETY: the kernel has just made it for us, and nobody else knows of it.
                    received = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
                }
            }
        }
        received.ok_or_else(|| invalid("a descriptor is missing"))
    }
}

fn peer(name: &[u8]) -> io::Result<IpAddr> {
    let peer = str::from_utf8(name).ok().and_then(|text| text.parse().ok());
    peer.ok_or_else(|| invalid("a connection of nobody"))
}

fn bfd_session(payload: &[u8]) -> io::Result<Option<SessionKey>> {
    if payload.is_empty() {
        return Ok(None);
    }
    let session = str::from_utf8(payload).ok().and_then(|text| {
        let (port, peer) = text.split_once(' ')?;
        Some(SessionKey { peer: peer.parse().ok()?, path: Path::of_port(port.parse().ok()?)? })
    });
    session.map(Some).ok_or_else(|| invalid("a socket of nobody"))
}

fn neighbour(payload: &[u8]) -> Option<Message> {
    let (address, interface) = str::from_utf8(payload).ok()?.split_once(' ')?;
    Some(Message::Neighbour(interface.to_owned(), address.parse().ok()?))
}

fn said(payload: &[u8]) -> Option<Message> {
    let (written, rest) = payload.split_first_chunk()?;
    let (&len, rest) = rest.split_first()?;
    let (tail, name) = rest.split_at_checked(usize::from(len))?;
    let written = u32::from_be_bytes(*written) as usize;
    Some(Message::Said(peer(name).ok()?, written, tail.to_vec()))
}

pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
