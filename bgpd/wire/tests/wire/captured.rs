//! What other speakers really say, recorded.

use bgp_wire::{
    AfiSafi, AsPath, BgpNextHop, Capability, Community, ExtendedCommunity, HoldTime,
    LargeCommunity, Message, Nlri, Open, Origin, PathAttributes, PeerKind, SessionParameters,
    Update, encode_announcements,
};
use bytes::BytesMut;
use viaduct_net::{Asn, Family};

use crate::{decode_all, hex};

const BIRD_AS: u32 = 4_200_000_001;
const EXTERNAL: &str = include_str!("../../../../tests/golden/bgp/bird-2.0.12-external.hex");
const INTERNAL: &str = include_str!("../../../../tests/golden/bgp/bird-2.0.12-internal.hex");
const TWO_OCTET: &str = include_str!("../../../../tests/golden/bgp/bird-2.0.12-two-octet.hex");

/// The OPEN that the recorded session was answered with.
fn our_open(asn: u32, four_octet: bool) -> Open {
    let asn = Asn::new(asn);
    let mut capabilities = vec![
        Capability::Multiprotocol(AfiSafi::IPV4_UNICAST),
        Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
    ];
    if four_octet {
        capabilities.push(Capability::FourOctetAs(asn));
    }
    Open {
        asn,
        hold_time: HoldTime::from_secs(90).unwrap(),
        router_id: "192.0.2.2".parse().unwrap(),
        capabilities,
    }
}

struct Session {
    octets: Vec<u8>,
    parameters: SessionParameters,
    theirs: Open,
    updates: Vec<Update>,
}

fn read(recorded: &str, ours: &Open) -> Session {
    let octets = hex(recorded);
    let before = SessionParameters::before_open(PeerKind::External);
    let open_len = usize::from(u16::from_be_bytes([octets[16], octets[17]]));
    let first = decode_all(&octets[..open_len], &before).unwrap();
    let [Message::Open(theirs)] = &first[..] else { panic!("{first:?}") };
    let parameters = SessionParameters::negotiate(ours, theirs);
    let mut rest = decode_all(&octets[open_len..], &parameters).unwrap().into_iter();
    assert_eq!(rest.next(), Some(Message::Keepalive));
    let updates = rest
        .map(|message| match message {
            Message::Update(update) => update,
            other => panic!("no UPDATE: {other:?}"),
        })
        .collect();
    Session { theirs: theirs.clone(), octets, parameters, updates }
}

fn with_everything(asns: &[u32], local_pref: Option<u32>) -> PathAttributes {
    PathAttributes {
        origin: Origin::Incomplete,
        as_path: AsPath::sequence(asns.iter().copied().map(Asn::new)),
        med: Some(50),
        local_pref,
        communities: vec![Community::new(65001, 100), Community::NO_EXPORT],
        extended_communities: vec![ExtendedCommunity(0x0002_fde9_0000_0007)],
        large_communities: vec![LargeCommunity {
            global_administrator: BIRD_AS,
            local_data_1: 1,
            local_data_2: 2,
        }],
        ..PathAttributes::default()
    }
}

fn texts(prefixes: &[Nlri]) -> Vec<String> {
    prefixes.iter().map(ToString::to_string).collect()
}

#[test]
fn bird_says_who_it_is() {
    let session = read(EXTERNAL, &our_open(65002, true));
    let open = &session.theirs;
    assert_eq!((open.asn, open.hold_time.to_secs()), (Asn::new(BIRD_AS), 90));
    assert!(open.has_route_refresh() && open.has_extended_message());
    let restart = open.graceful_restart().unwrap();
    assert_eq!((restart.restart_time_secs, restart.restart_state), (120, false));
    for family in Family::ALL {
        assert!(open.families().contains(family));
        assert!(!restart.family(family).unwrap().forwarding);
    }
    assert!(session.parameters.four_octet_as && session.parameters.send_extended);
    let mut again = BytesMut::new();
    open.encode(&mut again);
    assert_eq!(again[..], session.octets[..again.len()], "even their order is kept");
}

#[test]
fn bird_tells_routes_of_both_families() {
    let second = BIRD_AS + 1;
    for (recorded, ours, asns, local_pref) in [
        (EXTERNAL, our_open(65002, true), &[BIRD_AS, second][..], None),
        (TWO_OCTET, our_open(65003, false), &[BIRD_AS, second], None),
        (INTERNAL, our_open(BIRD_AS, true), &[second], Some(100)),
    ] {
        let session = read(recorded, &ours);
        let [first, plain, end_v4, v6, end_v6] = &session.updates[..] else {
            panic!("{:?}", session.updates);
        };
        assert!(session.updates.iter().all(|update| update.malformed.is_empty()));
        assert_eq!(first.attributes, with_everything(asns, local_pref));
        let announced = &first.announced[0];
        assert_eq!(announced.next_hop, BgpNextHop::V4("192.0.2.1".parse().unwrap()));
        let expected = ["0.0.0.0/0", "10.1.0.0/16", "10.2.3.0/24", "198.51.100.7/32"];
        assert_eq!(texts(&announced.prefixes), expected);

        assert_eq!(texts(&plain.announced[0].prefixes), ["203.0.113.128/25"]);
        assert_eq!(plain.attributes.open().as_path.route_len(), asns.len() - 1);
        assert_eq!(plain.attributes.open().local_pref, local_pref);

        let announced = &v6.announced[0];
        assert_eq!(announced.next_hop.address().to_string(), "2001:db8::1");
        assert_eq!(texts(&announced.prefixes), ["::/0", "2001:db8:1::/48", "2001:db8:2::3/128"]);
        assert_eq!(v6.attributes.open().communities, [Community::new(65001, 600)]);
        let ends = [end_v4.end_of_rib, end_v6.end_of_rib];
        assert_eq!(ends, [Some(Family::V4), Some(Family::V6)]);
    }
}

#[test]
fn we_say_the_same_in_the_same_octets() {
    for (recorded, ours) in [
        (EXTERNAL, our_open(65002, true)),
        (TWO_OCTET, our_open(65003, false)),
        (INTERNAL, our_open(BIRD_AS, true)),
    ] {
        let session = read(recorded, &ours);
        let mut said = BytesMut::new();
        for update in &session.updates[..2] {
            let announced = &update.announced[0];
            let written = encode_announcements(
                &session.parameters,
                &update.attributes,
                announced.next_hop,
                &announced.prefixes,
                &mut said,
            );
            assert_eq!(written, Ok(1));
        }
        assert!(session.octets.windows(said.len()).any(|window| window == &said[..]));
    }
}
