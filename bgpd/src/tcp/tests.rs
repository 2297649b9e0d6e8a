use std::{net::SocketAddr, num::NonZeroU8};

use bgp_speaker::{Password, Ttl};
use socket2::{Domain, Protocol, Socket, Type};

use super::*;

fn socket(address: &str) -> Socket {
    let address: SocketAddr = address.parse().unwrap();
    Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).unwrap()
}

#[test]
fn sockets_of_both_families_take_what_a_transport_asks_for() {
    let transport = Transport {
        ttl: Ttl::Security { hops: NonZeroU8::MIN },
        md5: Some(Password::try_from(&[b'x'; Password::MAX_LEN][..]).unwrap()),
        ao: Vec::new(),
    };
    let four = socket("127.0.0.1:0");
    prepare(&SockRef::from(&four), "192.0.2.1".parse().unwrap(), &transport).unwrap();
    assert_eq!(four.ttl_v4().unwrap(), 255);
    let six = socket("[::1]:0");
    prepare(&SockRef::from(&six), "2001:db8::1".parse().unwrap(), &transport).unwrap();
    assert_eq!(six.unicast_hops_v6().unwrap(), 255);
    adopt(&SockRef::from(&four), "192.0.2.1".parse().unwrap(), &Transport::default()).unwrap();
    assert_ne!(four.ttl_v4().unwrap(), 255, "the kernel's default again");
}

#[test]
fn what_the_kernel_refuses_is_named() {
    let four = socket("127.0.0.1:0");
    let transport =
        Transport { md5: Some(Password::try_from(&b"x"[..]).unwrap()), ..Transport::default() };
    let error = prepare(&SockRef::from(&four), "2001:db8::1".parse().unwrap(), &transport);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("TCP_MD5SIG: "), "{error}");
}
