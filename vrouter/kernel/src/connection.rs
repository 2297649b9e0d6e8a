//! A netlink socket for requests: dumps, and changes in batches with a result for each.

use std::{io, time::Duration};

use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::{
    socket::{setsockopt, sockopt},
    time::TimeVal,
};
use vrouter_plan::OperationError;

use crate::KernelError;

pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_REPLACE: u16 = 0x100;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
/// The table changed while it was listed: entries may be missing or double.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The error is followed by attributes that explain it.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;

const HEADER_LEN: usize = 16;
/// Octets of the kernel's header that an error repeats behind the errno (NETLINK_CAP_ACK).
const ERROR_LEN: usize = 4 + HEADER_LEN;

/// Changes sent at once. Their answers must fit into the receive buffer, of which an unprivileged
/// socket has 212,992 octets and an answer takes about 1,000.
const BATCH_LEN: usize = 64;
/// The kernel fills up to 32 KiB for a dump where the reader's buffer has the room.
const BUFFER_LEN: usize = 64 * 1024;
const DUMP_TRIES: u32 = 8;
/// Far beyond what the kernel takes: a socket that falls silent must not stop the daemon for good.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A request without its header.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kind: u16,
    /// Beside NLM_F_REQUEST.
    pub(crate) flags: u16,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        socket.set_netlink_get_strict_chk(true)?;
        let timeout = TimeVal::new(ANSWER_TIMEOUT.as_secs() as i64, 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &timeout)?;
        Ok(Self { socket, port, sequence: 0, buffer: Vec::with_capacity(BUFFER_LEN) })
    }

    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Lists a table: `each` gets the payload of every entry, and has to start afresh with `begin`
    /// when the table changed while it was read.
    pub(crate) fn dump<T>(
        &mut self,
        what: &'static str,
        request: &Request,
        begin: impl Fn() -> T,
        mut each: impl FnMut(&mut T, &[u8]),
    ) -> Result<T, KernelError> {
        for _ in 0..DUMP_TRIES {
            let mut list = begin();
            let steady = self
                .dump_once(request, |payload| each(&mut list, payload))?
                .map_err(|source| KernelError::Dump { what, source })?;
            if steady {
                return Ok(list);
            }
        }
        Err(KernelError::Unsteady { what, tries: DUMP_TRIES })
    }

    /// Whether the list is consistent, or why the kernel gave none.
    fn dump_once(
        &mut self,
        request: &Request,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<Result<bool, OperationError>> {
        let sequence = self.send(std::slice::from_ref(request), NLM_F_DUMP)?;
        let mut steady = true;
        loop {
            self.receive()?;
            for message in messages(&self.buffer) {
                if message.sequence_number() != sequence {
                    continue;
                }
                steady &= message.flags() & NLM_F_DUMP_INTR == 0;
                match message.message_type() {
                    NLMSG_DONE => return Ok(done(&message).map(|()| steady)),
                    NLMSG_ERROR => return Ok(error_of(&message).map(|()| steady)),
                    _ => each(message.payload()),
                }
            }
        }
    }

    /// Tries every request in order, also after one has failed.
    pub(crate) fn change(&mut self, requests: &[Request]) -> Vec<Result<(), OperationError>> {
        let mut results = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH_LEN) {
            let end = results.len() + batch.len();
            if let Err(error) = self.change_batch(batch, &mut results) {
                // What was not answered may have been done: the caller has to look again.
                results.resize(end, Err(unanswered(&error)));
            }
        }
        results
    }

    fn change_batch(
        &mut self,
        batch: &[Request],
        results: &mut Vec<Result<(), OperationError>>,
    ) -> io::Result<()> {
        let first = self.send(batch, NLM_F_ACK)?;
        let mut answered = 0;
        while answered < batch.len() {
            self.receive()?;
            for message in messages(&self.buffer) {
                let number = message.sequence_number().wrapping_sub(first) as usize;
                if message.message_type() == NLMSG_ERROR && number == answered {
                    results.push(error_of(&message));
                    answered += 1;
                }
            }
        }
        Ok(())
    }

    /// Sends the requests in one datagram; the number of the first, the others count on from it.
    fn send(&mut self, requests: &[Request], flags: u16) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let len = HEADER_LEN + request.payload.len();
            datagram.extend((len as u32).to_ne_bytes());
            datagram.extend(request.kind.to_ne_bytes());
            datagram.extend((request.flags | flags | NLM_F_REQUEST).to_ne_bytes());
            datagram.extend(self.sequence.to_ne_bytes());
            datagram.extend(self.port.to_ne_bytes());
            datagram.extend(&request.payload);
            datagram.resize(datagram.len().next_multiple_of(4), 0);
        }
        self.socket.send(&datagram, 0)?;
        Ok(first)
    }

    fn receive(&mut self) -> io::Result<()> {
        self.buffer.clear();
        loop {
            match self.socket.recv(&mut self.buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(drop),
            }
        }
    }
}

/// The messages of one datagram, up to the first that is not whole.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let len = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(len..).unwrap_or_default();
        Some(message)
    })
}

fn error_of(message: &NetlinkBuffer<&[u8]>) -> Result<(), OperationError> {
    refusal(message, ERROR_LEN)
}

/// The end of a dump carries an errno too, without a header behind it.
fn done(message: &NetlinkBuffer<&[u8]>) -> Result<(), OperationError> {
    refusal(message, 4)
}

fn refusal(message: &NetlinkBuffer<&[u8]>, fixed: usize) -> Result<(), OperationError> {
    let payload = message.payload();
    let Some(code) = payload.first_chunk() else { return Ok(()) };
    let code = i32::from_ne_bytes(*code);
    if code == 0 {
        return Ok(());
    }
    let errno = code.saturating_neg();
    let attributes = match message.flags() & NLM_F_ACK_TLVS {
        0 => None,
        _ => payload.get(fixed..),
    };
    let said = NlasIterator::new(attributes.unwrap_or_default())
        .filter_map(Result::ok)
        .find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)
        .map(|nla| String::from_utf8_lossy(nla.value()).trim_end_matches('\0').to_owned());
    let name = || nix::errno::Errno::from_raw(errno).desc().to_owned();
    Err(OperationError { errno, message: said.unwrap_or_else(name) })
}

fn unanswered(error: &io::Error) -> OperationError {
    OperationError { errno: error.raw_os_error().unwrap_or(0), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_datagram_gives_what_is_whole() {
        let mut datagram = Vec::new();
        for len in [18_u32, 40] {
            datagram.extend(len.to_ne_bytes());
            datagram.resize(datagram.len().next_multiple_of(4) + 16, 0);
        }
        let lens: Vec<u32> = messages(&datagram).map(|message| message.length()).collect();
        assert_eq!(lens, [18]);
        assert_eq!(messages(&[0; 16]).count(), 0);
    }
}
