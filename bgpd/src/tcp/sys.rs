#![expect(unsafe_code, reason = "options whose values libc and socket2 do not declare")]
//! Socket options of Linux, as `linux/tcp.h`, `linux/in.h` and `linux/in6.h` have them.

use std::{
    ffi::c_int,
    io,
    net::IpAddr,
    os::fd::{AsRawFd, RawFd},
};

use bgp_speaker::Password;
use socket2::SockRef;
use viaduct_net::{Family, Prefix};

/// The value is a prefix, not one address (since Linux 4.13).
const TCP_MD5SIG_EXT: c_int = 32;
/// `tcpm_prefixlen` counts.
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;

/// `struct sockaddr_storage`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct SocketAddress {
    family: u16,
    /// Port, and for IPv6 the flow label, come before the address; behind it zeros.
    rest: [u8; 126],
}
const _: () = assert!(size_of::<SocketAddress>() == size_of::<libc::sockaddr_storage>());

impl SocketAddress {
    pub(super) const NONE: Self = Self { family: 0, rest: [0; 126] };

    /// Of any port.
    pub(super) fn of(address: IpAddr) -> Self {
        let mut rest = [0; 126];
        let family = match address {
            IpAddr::V4(address) => {
                rest[2..6].copy_from_slice(&address.octets());
                libc::AF_INET
            }
            IpAddr::V6(address) => {
                rest[6..22].copy_from_slice(&address.octets());
                libc::AF_INET6
            }
        };
        Self { family: family as u16, rest }
    }
}

/// `struct tcp_md5sig`.
#[repr(C)]
struct Md5Signature {
    address: SocketAddress,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    interface: i32,
    key: [u8; Password::MAX_LEN],
}
const _: () = assert!(size_of::<Md5Signature>() == 216);

/// The password of all whose address is within `peer`; `None` forgets it.
pub(super) fn set_md5(
    socket: &SockRef<'_>,
    peer: Prefix,
    password: Option<&Password>,
) -> io::Result<()> {
    let octets = password.map_or(&[][..], Password::octets);
    let mut key = [0; Password::MAX_LEN];
    key[..octets.len()].copy_from_slice(octets);
    let value = Md5Signature {
        address: SocketAddress::of(peer.address()),
        flags: TCP_MD5SIG_FLAG_PREFIX,
        prefix_len: peer.len(),
        key_len: octets.len() as u16,
        interface: 0,
        key,
    };
    set(socket.as_raw_fd(), libc::IPPROTO_TCP, TCP_MD5SIG_EXT, &value)
}

/// With what packets leave; `None` is the kernel's default.
pub(super) fn set_ttl(socket: &SockRef<'_>, family: Family, ttl: Option<u8>) -> io::Result<()> {
    let (level, option) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_TTL),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    };
    set(socket.as_raw_fd(), level, option, &ttl.map_or(-1, c_int::from))
}

/// The least with which packets are taken; 0 is any.
pub(super) fn set_least_ttl(socket: &SockRef<'_>, family: Family, ttl: u8) -> io::Result<()> {
    let (level, option) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_MINTTL),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    set(socket.as_raw_fd(), level, option, &c_int::from(ttl))
}

/// `T` is what the kernel expects of the option: integers and arrays of them, without padding.
pub(crate) fn set<T>(socket: RawFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` octets of a value that outlives the call.
    match unsafe { libc::setsockopt(socket, level, option, (&raw const *value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same of what the kernel fills in, all of it or the beginning; what `value` holds is the question.
pub(super) fn get<T>(socket: RawFd, level: c_int, option: c_int, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    let value = (&raw mut *value).cast();
    // SAFETY: the kernel writes at most `len` octets to a value that outlives the call, and of which
    // any octets are one.
    match unsafe { libc::getsockopt(socket, level, option, value, &raw mut len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the kernel would read of a value.
#[cfg(test)]
pub(super) fn octets<T>(value: &T) -> &[u8] {
    // SAFETY: values of the kernel's are without padding, so that every octet is written.
    unsafe { std::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
}
