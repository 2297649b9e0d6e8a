//! Octets as a C program makes them that is compiled with `linux/tcp.h` of Linux 6.12.

use std::{mem::offset_of, net::IpAddr};

use super::*;

fn key(send_id: u8, receive_id: u8, algorithm: AoAlgorithm, secret: &[u8]) -> AoKey {
    let secret = Password::try_from(secret).unwrap();
    AoKey { send_id, receive_id, algorithm, excludes_options: false, secret }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// What the kernel would read of a value, as (first octet, octets) of what is not zero.
fn octets<T>(value: &T) -> Vec<(usize, String)> {
    let all = sys::octets(value);
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut next = usize::MAX;
    for (at, octet) in all.iter().enumerate().filter(|(_, octet)| **octet != 0) {
        match found.last_mut().filter(|_| next == at) {
            Some((_, run)) => run.push_str(&format!("{octet:02x}")),
            None => found.push((at, format!("{octet:02x}"))),
        }
        next = at + 1;
    }
    found
}

fn expected(runs: &[(usize, &str)]) -> Vec<(usize, String)> {
    runs.iter().map(|(at, run)| (*at, (*run).to_owned())).collect()
}

#[test]
fn fields_are_where_c_has_them() {
    assert_eq!(
        [
            offset_of!(AddKey, algorithm),
            offset_of!(AddKey, interface),
            offset_of!(AddKey, reserved),
            offset_of!(AddKey, prefix_len),
            offset_of!(AddKey, send_id),
            offset_of!(AddKey, receive_id),
            offset_of!(AddKey, mac_len),
            offset_of!(AddKey, key_flags),
            offset_of!(AddKey, key_len),
            offset_of!(AddKey, key),
        ],
        [128, 192, 200, 202, 203, 204, 205, 206, 207, 208]
    );
    assert_eq!(
        [
            offset_of!(DeleteKey, interface),
            offset_of!(DeleteKey, reserved),
            offset_of!(DeleteKey, prefix_len),
            offset_of!(DeleteKey, send_id),
            offset_of!(DeleteKey, receive_id),
            offset_of!(DeleteKey, current_key),
            offset_of!(DeleteKey, rnext),
            offset_of!(DeleteKey, key_flags),
        ],
        [128, 136, 138, 139, 140, 141, 142, 143]
    );
    assert_eq!(
        [
            offset_of!(KnownKey, key),
            offset_of!(KnownKey, count),
            offset_of!(KnownKey, send_id),
            offset_of!(KnownKey, receive_id),
            offset_of!(KnownKey, prefix_len),
            offset_of!(KnownKey, key_flags),
            offset_of!(KnownKey, interface),
            offset_of!(KnownKey, packets_good),
        ],
        [192, 272, 278, 279, 280, 282, 284, 288]
    );
    assert_eq!(
        [offset_of!(Info, current_key), offset_of!(Info, rnext), offset_of!(Info, packets_good)],
        [6, 7, 8]
    );
}

#[test]
fn a_key_is_added_as_c_would() {
    let mut sha = key(1, 2, AoAlgorithm::HmacSha1, b"s3cret");
    sha.excludes_options = true;
    let both = AddKey::SET_CURRENT | AddKey::SET_RNEXT;
    assert_eq!(
        octets(&AddKey::new(prefix("192.0.2.0/24"), &sha, both)),
        expected(&[
            (0, "02"),
            (4, "c0"),
            (6, "02"),
            (128, "686d6163287368613129"),
            (196, "03"),
            (202, "1801020c0206733363726574"),
        ])
    );
    let cmac = key(255, 0, AoAlgorithm::Aes128Cmac, &[b'x'; Password::MAX_LEN]);
    assert_eq!(
        octets(&AddKey::new(prefix("2001:db8::1/128"), &cmac, 0)),
        expected(&[
            (0, "0a"),
            (8, "20010db8"),
            (23, "01"),
            (128, "636d61632861657331323829"),
            (202, "80ff"),
            (205, "0c"),
            (207, &format!("50{}", "78".repeat(Password::MAX_LEN))),
        ])
    );
}

#[test]
fn a_key_is_deleted_and_asked_for_as_c_would() {
    let address = SocketAddress::of("192.0.2.0".parse::<IpAddr>().unwrap());
    assert_eq!(
        octets(&DeleteKey::of_listener(address, 24, 1, 2)),
        expected(&[(0, "02"), (4, "c0"), (6, "02"), (132, "04"), (138, "180102")])
    );
    assert_eq!(octets(&KnownKey::asked_for()), expected(&[(272, "01"), (276, "04")]));
}

#[test]
fn a_refused_key_is_named_with_the_reason_and_without_the_secret() {
    let key = key(1, 2, AoAlgorithm::Aes128Cmac, b"s3cret");
    let refused = |code| name(&key, io::Error::from_raw_os_error(code)).to_string();
    assert_eq!(refused(libc::ENOENT), {
        "TCP-AO key 1/2, cmac(aes128): the kernel lacks its algorithm"
    });
    assert!(refused(libc::ENOPROTOOPT).ends_with("(os error 92)"));
    assert!(!format!("{key:?}").contains("s3cret"));
}

/// The one answer or the other, by the machine: where the kernel says no it says so of everything.
#[test]
fn the_probe_says_what_a_socket_would() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    let (socket, peer) = (SockRef::from(&socket), prefix("192.0.2.1/32"));
    let keys = [key(1, 1, AoAlgorithm::HmacSha1, b"a"), key(2, 2, AoAlgorithm::HmacSha1, b"b")];
    let set = prepare(&socket, peer, &keys);
    match probe_tcp_ao() {
        Ok(()) => {
            set.unwrap();
            require(&socket).unwrap();
        }
        Err(missing) => {
            let text = missing.to_string();
            assert!(text.contains("CONFIG_TCP_AO") && text.contains("Linux 6.7"), "{text}");
            assert_eq!(set.unwrap_err().to_string(), {
                let refused = io::Error::from_raw_os_error(libc::ENOPROTOOPT);
                format!("TCP-AO key 1/1, hmac(sha1): {refused}")
            });
            require(&socket).unwrap_err();
        }
    }
}

/// What one process has told a listener its successor takes back.
#[test]
fn a_listener_forgets_what_it_was_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (socket, peer) = (SockRef::from(&listener), prefix("192.0.2.0/24"));
    let keys = [key(1, 1, AoAlgorithm::HmacSha1, b"a"), key(2, 3, AoAlgorithm::Aes128Cmac, b"b")];
    forget_all(&socket).unwrap();
    for one in &keys {
        assert_eq!(admit(&socket, peer, one).is_ok(), probe_tcp_ao().is_ok());
    }
    if probe_tcp_ao().is_ok() {
        let taken = admit(&socket, prefix("192.0.2.1/32"), &keys[0]).unwrap_err().to_string();
        assert!(taken.ends_with("one of its ids is taken by another key for the same addresses"));
        forget(&socket, peer, &keys[0]).unwrap();
        admit(&socket, prefix("192.0.2.1/32"), &keys[0]).unwrap();
    }
    forget_all(&socket).unwrap();
    for one in &keys {
        assert_eq!(admit(&socket, peer, one).is_ok(), probe_tcp_ao().is_ok());
    }
}
