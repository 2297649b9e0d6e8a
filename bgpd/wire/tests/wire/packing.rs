//! As few messages as fit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_wire::{
    AttributeSet, AttributeType, BgpNextHop, EncodeError, Nlri, PathAttributes, PeerKind,
    SessionParameters, UnknownAttribute, encode_announcements, encode_withdrawals,
};
use bytes::BytesMut;
use viaduct_net::Prefix;

use crate::{decode_updates, session};

fn many(count: u32, v6: bool) -> Vec<Nlri> {
    let one = |i: u32| -> Nlri {
        let (address, len): (IpAddr, _) = if v6 {
            (Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(i) << 64).into(), 64)
        } else {
            (Ipv4Addr::from(0x0a00_0000 | i << 4).into(), 28)
        };
        Nlri { prefix: Prefix::new(address, len).unwrap(), path_id: 0 }
    };
    (0..count).map(one).collect()
}

fn next_hop(v6: bool) -> BgpNextHop {
    let address = if v6 { "2001:db8::1" } else { "192.0.2.1" };
    BgpNextHop::from(address.parse::<IpAddr>().unwrap())
}

fn lengths(mut octets: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while !octets.is_empty() {
        let len = usize::from(u16::from_be_bytes([octets[16], octets[17]]));
        lengths.push(len);
        octets = &octets[len..];
    }
    lengths
}

#[test]
fn messages_are_as_full_as_they_can_be() {
    for v6 in [false, true] {
        for extended in [false, true] {
            let session = SessionParameters {
                send_extended: extended,
                receive_extended: extended,
                ..session(PeerKind::Internal)
            };
            let prefixes = many(20_000, v6);
            let attributes = PathAttributes { med: Some(1), ..PathAttributes::default() };
            let mut out = BytesMut::new();
            let count = encode_announcements(
                &session,
                &(&attributes).into(),
                next_hop(v6),
                &prefixes,
                &mut out,
            )
            .unwrap();
            let lengths = lengths(&out);
            assert_eq!(lengths.len(), count);
            let (last, full) = lengths.split_last().unwrap();
            let limit = session.send_limit();
            let prefix_len = if v6 { 9 } else { 5 };
            for len in full {
                assert!((limit - prefix_len + 1..=limit).contains(len), "{len} of {limit}");
            }
            assert!(*last <= limit);
            let announced = decode_updates(&out, &session).into_iter().flat_map(|update| {
                assert_eq!(update.attributes, attributes);
                update.announced.into_iter().flat_map(|announcement| announcement.prefixes)
            });
            assert!(announced.eq(prefixes.iter().copied()));

            let mut out = BytesMut::new();
            encode_withdrawals(&session, &prefixes, &mut out);
            let withdrawn =
                decode_updates(&out, &session).into_iter().flat_map(|update| update.withdrawn);
            assert!(withdrawn.eq(prefixes));
        }
    }
}

#[test]
fn attributes_that_leave_no_room_are_an_error_and_write_nothing() {
    for v6 in [false, true] {
        let session = session(PeerKind::Internal);
        let prefixes = many(2, v6);
        let attributes = |len| PathAttributes {
            unknown: vec![UnknownAttribute {
                kind: AttributeType(200),
                value: vec![7; len].into(),
            }],
            ..PathAttributes::default()
        };
        let mut fits = 0;
        for len in 4000..4096 {
            let mut out = BytesMut::new();
            let written = encode_announcements(
                &session,
                &attributes(len).into(),
                next_hop(v6),
                &prefixes,
                &mut out,
            );
            let set = attributes(len).into();
            let has_room = bgp_wire::fits(&session, &set, next_hop(v6), prefixes[0]);
            assert_eq!(has_room, written.is_ok());
            match written {
                Ok(count) => {
                    fits += 1;
                    assert_eq!(decode_updates(&out, &session).len(), count);
                    assert!(lengths(&out).iter().all(|len| *len <= 4096));
                }
                Err(error) => {
                    assert!(matches!(error, EncodeError::AttributesTooLong { .. }));
                    assert!(out.is_empty());
                }
            }
        }
        assert!((1..96).contains(&fits), "{fits}");
    }
}

#[test]
fn families_do_not_mix() {
    let session = session(PeerKind::Internal);
    let attributes = AttributeSet::default();
    let mut out = BytesMut::new();
    let written =
        encode_announcements(&session, &attributes, next_hop(true), &many(1, false), &mut out);
    assert!(matches!(written, Err(EncodeError::NextHopFamily { .. })));
    assert_eq!(encode_announcements(&session, &attributes, next_hop(true), &[], &mut out), Ok(0));
    assert!(out.is_empty());
}
