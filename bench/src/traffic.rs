//! The ends of a measured connection. They run as processes of their own inside namespaces, and
//! print numbers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

const CHUNK: usize = 128 << 10;

/// Accepts, reads until the other end has said all, and answers how many bytes that was.
pub(crate) fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listen on {listen}"))?;
    println!("ready");
    loop {
        let (mut stream, _) = listener.accept()?;
        thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            let mut count = 0_u64;
            // A client that resets its connection was here for the connect alone.
            while let Ok(read) = stream.read(&mut buffer) {
                if read == 0 {
                    let _ = stream.write_all(&count.to_be_bytes());
                    return;
                }
                count += read as u64;
            }
        });
    }
}

/// Prints the median of `count` connects, in nanoseconds.
pub(crate) fn connects(count: usize, target: SocketAddr) -> Result<()> {
    let mut nanos = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        let stream = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
        nanos.push(begun.elapsed().as_nanos() as f64);
        // Reset at close: ports that wait would run out.
        let reset = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&stream.as_fd(), sockopt::Linger, &reset)?;
    }
    println!("{}", crate::statistics::median(&nanos));
    Ok(())
}

/// Prints how many bytes a second reached the other end.
pub(crate) fn stream(millis: u64, target: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
    let chunk = vec![0x55; CHUNK];
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(millis) {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count).context("the other end's count")?;
    println!("{}", u64::from_be_bytes(count) as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}
