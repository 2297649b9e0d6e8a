#![expect(unsafe_code, reason = "tokio trusts its callers with descriptors")]
//! Waiting for sockets that tokio has no type for.

use std::io;

use socket2::Socket;
use tokio::io::{Interest, unix::AsyncFd};

pub(super) fn readable(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the socket owns its descriptor, which never becomes another, and is closed when the
    // registration drops it.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}
