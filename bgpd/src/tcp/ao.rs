//! TCP-AO (RFC 5925) as Linux has it since 6.7, where it was built with CONFIG_TCP_AO
//! (`linux/tcp.h`, Documentation/networking/tcp_ao.rst).

use std::{
    fmt, fs, io,
    os::fd::{AsRawFd, RawFd},
};

use bgp_speaker::{AoAlgorithm, AoKey, Password};
use libc::c_int;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use viaduct_net::Prefix;

use super::sys::{self, SocketAddress};

const TCP_AO_ADD_KEY: c_int = 38;
const TCP_AO_DEL_KEY: c_int = 39;
const TCP_AO_INFO: c_int = 40;
const TCP_AO_GET_KEYS: c_int = 41;
/// "Options other than TCP-AO" are not signed.
const TCP_AO_KEYF_EXCLUDE_OPT: u8 = 2;

/// Both algorithms that have to be there cut their MAC to 96 bits (RFC 5926 §3.2).
const MAC_LEN: u8 = 12;

/// A C bit-field of one bit, counted from the first that is declared.
const fn bit(number: u32) -> u32 {
    if cfg!(target_endian = "little") { 1 << number } else { 1 << (31 - number) }
}

/// `struct tcp_ao_add`.
#[repr(C, align(8))]
struct AddKey {
    address: SocketAddress,
    algorithm: [u8; 64],
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_len: u8,
    send_id: u8,
    receive_id: u8,
    mac_len: u8,
    key_flags: u8,
    key_len: u8,
    key: [u8; Password::MAX_LEN],
}
const _: () = assert!(size_of::<AddKey>() == 288);

impl AddKey {
    /// Sign with it what is sent, and ask the peer to do so with its own of the same (RFC 5925 §3.3).
    const SET_CURRENT: u32 = bit(0);
    const SET_RNEXT: u32 = bit(1);

    fn new(peer: Prefix, key: &AoKey, flags: u32) -> Self {
        let octets = key.secret.octets();
        let mut value = Self {
            address: SocketAddress::of(peer.address()),
            algorithm: [0; 64],
            interface: 0,
            flags,
            reserved: 0,
            prefix_len: peer.len(),
            send_id: key.send_id,
            receive_id: key.receive_id,
            mac_len: MAC_LEN,
            key_flags: if key.excludes_options { TCP_AO_KEYF_EXCLUDE_OPT } else { 0 },
            key_len: octets.len() as u8,
            key: [0; Password::MAX_LEN],
        };
        let name = algorithm_name(key.algorithm).as_bytes();
        value.algorithm[..name.len()].copy_from_slice(name);
        value.key[..octets.len()].copy_from_slice(octets);
        value
    }
}
const _: () = assert!(Password::MAX_LEN <= u8::MAX as usize);

/// `struct tcp_ao_del`.
#[repr(C, align(8))]
struct DeleteKey {
    address: SocketAddress,
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_len: u8,
    send_id: u8,
    receive_id: u8,
    current_key: u8,
    rnext: u8,
    key_flags: u8,
}
const _: () = assert!(size_of::<DeleteKey>() == 144);

impl DeleteKey {
    /// Do not wait until no processor looks at it any more; listeners only.
    const ASYNCHRONOUS: u32 = bit(2);

    fn of_listener(address: SocketAddress, prefix_len: u8, send_id: u8, receive_id: u8) -> Self {
        Self {
            address,
            interface: 0,
            flags: Self::ASYNCHRONOUS,
            reserved: 0,
            prefix_len,
            send_id,
            receive_id,
            current_key: 0,
            rnext: 0,
            key_flags: 0,
        }
    }
}

/// `struct tcp_ao_getsockopt`.
#[repr(C, align(8))]
struct KnownKey {
    address: SocketAddress,
    algorithm: [u8; 64],
    key: [u8; Password::MAX_LEN],
    /// For how many there is room, and how many there are.
    count: u32,
    flags: u16,
    send_id: u8,
    receive_id: u8,
    prefix_len: u8,
    mac_len: u8,
    key_flags: u8,
    key_len: u8,
    interface: i32,
    packets_good: u64,
    packets_bad: u64,
}
const _: () = assert!(size_of::<KnownKey>() == 304);

impl KnownKey {
    /// Whichever it is.
    const ANY: u16 = if cfg!(target_endian = "little") { 1 << 2 } else { 1 << 13 };

    fn asked_for() -> Self {
        Self {
            address: SocketAddress::NONE,
            algorithm: [0; 64],
            key: [0; Password::MAX_LEN],
            count: 1,
            flags: Self::ANY,
            send_id: 0,
            receive_id: 0,
            prefix_len: 0,
            mac_len: 0,
            key_flags: 0,
            key_len: 0,
            interface: 0,
            packets_good: 0,
            packets_bad: 0,
        }
    }
}

/// `struct tcp_ao_info_opt`.
#[repr(C, align(8))]
#[derive(Default)]
struct Info {
    flags: u32,
    reserved: u16,
    current_key: u8,
    rnext: u8,
    packets_good: u64,
    packets_bad: u64,
    packets_key_not_found: u64,
    packets_unsigned: u64,
    icmp_ignored: u64,
}
const _: () = assert!(size_of::<Info>() == 48);

/// This machine's kernel has no TCP-AO.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel of this machine, {kernel}, has no TCP-AO: the session stays down until there is one of \
     Linux 6.7 or later that is built with CONFIG_TCP_AO, or both sides use a password in its place"
)]
pub struct NoTcpAo {
    kernel: String,
}

impl NoTcpAo {
    /// Of a kernel by its name.
    pub fn of(kernel: impl Into<String>) -> Self {
        Self { kernel: kernel.into() }
    }
}

/// Asks the kernel whether it has TCP-AO.
pub fn probe_tcp_ao() -> Result<(), NoTcpAo> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
    // A machine that has no socket left says so wherever one is to be used.
    let Ok(socket) = socket else { return Ok(()) };
    match info(socket.as_raw_fd()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            Err(NoTcpAo::of(format!("Linux {}", release.trim())))
        }
        // That the socket has no keys is the other answer.
        _ => Ok(()),
    }
}

/// Has a socket that is to connect to a peer sign with its keys, at first with the first.
pub(super) fn prepare(socket: &SockRef<'_>, peer: Prefix, keys: &[AoKey]) -> io::Result<()> {
    for (index, key) in keys.iter().enumerate() {
        let flags = if index == 0 { AddKey::SET_CURRENT | AddKey::SET_RNEXT } else { 0 };
        add(socket.as_raw_fd(), AddKey::new(peer, key, flags)).map_err(|error| name(key, error))?;
    }
    Ok(())
}

/// A listener takes connections that are signed with the key from all whose address is within
/// `peer`, and no others from them. Which key they begin with is theirs to say.
pub(super) fn admit(socket: &SockRef<'_>, peer: Prefix, key: &AoKey) -> io::Result<()> {
    add(socket.as_raw_fd(), AddKey::new(peer, key, 0)).map_err(|error| name(key, error))
}

/// A listener forgets a key; connections that it has let in keep it.
pub(super) fn forget(socket: &SockRef<'_>, peer: Prefix, key: &AoKey) -> io::Result<()> {
    let address = SocketAddress::of(peer.address());
    let value = DeleteKey::of_listener(address, peer.len(), key.send_id, key.receive_id);
    sys::set(socket.as_raw_fd(), libc::IPPROTO_TCP, TCP_AO_DEL_KEY, &value)
}

/// A listener forgets every key: one that another process has opened knows that one's.
pub(super) fn forget_all(socket: &SockRef<'_>) -> io::Result<()> {
    loop {
        let mut known = KnownKey::asked_for();
        match sys::get(socket.as_raw_fd(), libc::IPPROTO_TCP, TCP_AO_GET_KEYS, &mut known) {
            Ok(()) if known.count == 0 => return Ok(()),
            Ok(()) => {}
            // No TCP-AO in the kernel, or none on the socket.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOPROTOOPT | libc::ENOENT)) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let KnownKey { address, prefix_len, send_id, receive_id, .. } = known;
        let value = DeleteKey::of_listener(address, prefix_len, send_id, receive_id);
        sys::set(socket.as_raw_fd(), libc::IPPROTO_TCP, TCP_AO_DEL_KEY, &value)?;
    }
}

/// Fails where a connection is not signed: its peer came before the listener knew of its keys.
pub(super) fn require(socket: &SockRef<'_>) -> io::Result<()> {
    info(socket.as_raw_fd())
        .map(drop)
        .map_err(|error| io::Error::new(error.kind(), format!("TCP-AO: not signed: {error}")))
}

fn add(socket: RawFd, value: AddKey) -> io::Result<()> {
    sys::set(socket, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &value)
}

fn info(socket: RawFd) -> io::Result<Info> {
    let mut info = Info::default();
    sys::get(socket, libc::IPPROTO_TCP, TCP_AO_INFO, &mut info)?;
    Ok(info)
}

/// By which the kernel knows it.
const fn algorithm_name(algorithm: AoAlgorithm) -> &'static str {
    match algorithm {
        AoAlgorithm::HmacSha1 => "hmac(sha1)",
        AoAlgorithm::Aes128Cmac => "cmac(aes128)",
    }
}

/// What the kernel means with a key that it refuses.
fn name(key: &AoKey, error: io::Error) -> io::Error {
    let AoKey { send_id, receive_id, algorithm, .. } = key;
    let why: &dyn fmt::Display = match error.raw_os_error() {
        Some(libc::ENOENT) => &"the kernel lacks its algorithm",
        Some(libc::EEXIST) => &"one of its ids is taken by another key for the same addresses",
        Some(libc::EKEYREJECTED) => &"there is an MD5 password for the same addresses",
        Some(libc::ENOMEM) => &"no room for more: sysctl net.core.optmem_max",
        _ => &error,
    };
    let algorithm = algorithm_name(*algorithm);
    let key = format!("TCP-AO key {send_id}/{receive_id}, {algorithm}");
    io::Error::new(error.kind(), format!("{key}: {why}"))
}

#[cfg(test)]
mod tests;
