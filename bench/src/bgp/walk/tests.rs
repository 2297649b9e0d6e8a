use std::net::{IpAddr, Ipv4Addr};

use bgp_wire::{
    AsPath, BgpNextHop, Community, Families, PathAttributes, PeerKind, Segment, SegmentKind,
    SessionParameters, encode_announcements, encode_end_of_rib, encode_withdrawals,
};
use bytes::BytesMut;
use proptest::{collection::vec, prelude::*};
use viaduct_net::{Asn, Family, Prefix};

use super::*;

/// Everything that is said, in order.
#[derive(Debug, Default, PartialEq)]
struct All(Vec<(Prefix, Option<Ends>)>);

impl Sink for All {
    fn announced(&mut self, prefix: Nlri, path: Ends) {
        self.0.push((of(prefix), Some(path)));
    }

    fn withdrawn(&mut self, prefix: Nlri) {
        self.0.push((of(prefix), None));
    }
}

fn of(nlri: Nlri) -> Prefix {
    Prefix::new(IpAddr::V4(Ipv4Addr::from(nlri.bits)), nlri.len).unwrap()
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let len = prop_oneof![Just(24_u8), 0..=32_u8];
    (any::<u32>(), len)
        .prop_map(|(bits, len)| Prefix::new(IpAddr::V4(Ipv4Addr::from(bits)), len).unwrap())
}

/// The AS numbers of a path, by its segments.
type Segments = Vec<Vec<u32>>;

fn segments() -> impl Strategy<Value = Segments> {
    vec(vec(1..=u32::MAX, 1..300), 0..3)
}

/// Prefixes with the path they are announced with, or without one to be withdrawn.
fn updates() -> impl Strategy<Value = Vec<(Vec<Prefix>, Option<Segments>)>> {
    vec((vec(prefix(), 1..1500), prop::option::of(segments())), 0..4)
}

fn session(extended: bool) -> SessionParameters {
    SessionParameters {
        four_octet_as: true,
        receive_extended: extended,
        send_extended: extended,
        families: Families { v4: true, v6: false },
        ..SessionParameters::before_open(PeerKind::External)
    }
}

fn attributes(segments: &Segments) -> PathAttributes {
    let segments = segments.iter().map(|numbers| Segment {
        kind: SegmentKind::Sequence,
        asns: numbers.iter().copied().map(Asn::new).collect(),
    });
    PathAttributes {
        as_path: AsPath::new(segments),
        communities: vec![Community(1); 80],
        ..PathAttributes::default()
    }
}

fn expected_ends(segments: &Segments) -> Ends {
    // A segment of more than 255 is written as several, which changes nothing here.
    let all: Vec<u32> = segments.iter().flatten().copied().collect();
    let at = |index: usize| all.get(index).copied().unwrap_or_default();
    Ends { first: at(0), second: at(1), last: all.last().copied().unwrap_or_default() }
}

/// As a socket would give it: in pieces, of which the incomplete end is kept.
fn walk_in_pieces(octets: &[u8], piece: usize) -> All {
    let (mut all, mut buffer) = (All::default(), Vec::new());
    for piece in octets.chunks(piece) {
        buffer.extend_from_slice(piece);
        let taken = walk(&buffer, &mut all).unwrap();
        buffer.drain(..taken);
    }
    assert!(buffer.is_empty());
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reads_what_the_codec_writes(
        updates in updates(), extended: bool, piece in 1..70_000_usize,
    ) {
        let session = session(extended);
        let hop = BgpNextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        let (mut octets, mut expected) = (BytesMut::new(), Vec::new());
        for (prefixes, segments) in &updates {
            let nlris: Vec<_> = prefixes.iter().copied().map(bgp_wire::Nlri::from).collect();
            match segments {
                Some(segments) => {
                    let attributes = attributes(segments);
                    encode_announcements(&session, &(&attributes).into(), hop, &nlris, &mut octets).unwrap();
                    let path = expected_ends(segments);
                    expected.extend(prefixes.iter().map(|prefix| (*prefix, Some(path))));
                }
                None => {
                    encode_withdrawals(&session, &nlris, &mut octets);
                    expected.extend(prefixes.iter().map(|prefix| (*prefix, None)));
                }
            }
        }
        encode_end_of_rib(Family::V4, &mut octets);
        prop_assert_eq!(walk_in_pieces(&octets, piece), All(expected));
    }

    #[test]
    fn takes_no_harm_from_anything(body in vec(any::<u8>(), 0..200)) {
        let _either_way = walk(&framed(UPDATE, &body), &mut All::default());
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = vec![0xff; 16];
    octets.extend_from_slice(&((HEADER_LEN + body.len()) as u16).to_be_bytes());
    octets.push(kind);
    octets.extend_from_slice(body);
    octets
}

/// IPv4 in MP_REACH_NLRI and MP_UNREACH_NLRI, which our own codec does not write; and IPv6, which
/// is nobody's here.
#[test]
fn reads_the_extended_form() {
    let attributes: &[&[u8]] = &[
        &[0x80, 14, 13, 0, 1, 1, 4, 192, 0, 2, 1, 0, 24, 10, 1, 2],
        &[0x90, 15, 0, 6, 0, 1, 1, 16, 10, 9],
        &[0x80, 14, 23, 0, 2, 1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 32],
        &[0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0],
    ];
    // One MP_REACH_NLRI to a message (RFC 4760 §3).
    for (chosen, expected) in [(&[0_usize, 1, 3][..], 2), (&[2, 3], 0)] {
        let attributes: Vec<u8> =
            chosen.iter().flat_map(|index| attributes[*index]).copied().collect();
        let mut body = vec![0, 0];
        body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        body.extend_from_slice(&attributes);
        let mut all = All::default();
        walk(&framed(UPDATE, &body), &mut all).unwrap();
        assert_eq!(all.0.len(), expected, "{all:?}");
        if expected == 2 {
            let path = Ends { first: 64512, second: 0, last: 64512 };
            assert!(all.0.contains(&("10.1.2.0/24".parse().unwrap(), Some(path))), "{all:?}");
            assert!(all.0.contains(&("10.9.0.0/16".parse().unwrap(), None)), "{all:?}");
        }
    }
}

#[test]
fn an_end_is_told() {
    let mut octets = framed(4, &[]);
    octets.extend(framed(NOTIFICATION, &[6, 2]));
    let ended = walk(&octets, &mut All::default());
    assert_eq!(ended, Err(Broken::Notification(vec![6, 2])));
    assert!(walk(&[0; HEADER_LEN], &mut All::default()).is_err());
    assert!(walk(&framed(UPDATE, &[0, 9, 0]), &mut All::default()).is_err());
    assert!(walk(&framed(UPDATE, &[0, 0, 0, 0, 33, 1]), &mut All::default()).is_err());
}
