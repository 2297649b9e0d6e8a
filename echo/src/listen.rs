//! A listening socket that can be waited for with an end to the wait, and that has room for a
//! burst of clients: the standard library makes it room for 128.
#![expect(unsafe_code, reason = "the standard library has neither listen(2) nor poll(2)")]

use std::{
    ffi::{c_int, c_short, c_ulong},
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

/// The kernel takes no more than net.core.somaxconn, which is 4096 nearly everywhere.
const BACKLOG: c_int = 4096;
const POLLIN: c_short = 1;

/// `struct pollfd` of poll(2).
#[repr(C)]
struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

unsafe extern "C" {
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
}

pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // SAFETY: the descriptor is open; listening once more only changes the backlog.
    match unsafe { listen(listener.as_raw_fd(), BACKLOG) } {
        0 => Ok(listener),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The next connection, or none within `timeout`, or before a signal comes.
pub(crate) fn accept(
    listener: &TcpListener,
    timeout: Duration,
) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    match listener.accept() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        accepted => return accepted.map(Some),
    }
    let mut waited = PollFd { fd: listener.as_raw_fd(), events: POLLIN, revents: 0 };
    let timeout = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: it points to one structure, which outlives the call. That nothing came of it, a
    // signal or an error of the socket: the next accept tells.
    unsafe { poll(&raw mut waited, 1, timeout) };
    Ok(None)
}
