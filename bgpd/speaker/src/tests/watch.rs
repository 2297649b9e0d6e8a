use std::time::Duration;

use bgp_rib::Policy;
use bgp_wire::{Message, MessageType, Update, first_frame};
use viaduct_net::Asn;

use super::harness::{Network, prefix, v4, with_peers};
use crate::{Config, Observed, SessionEnd, SourceConfig, State, Watch};

const ALL: Watch = Watch { sessions: true, received: true, sent: true, changes: true };

/// A configuration with a peer that is believed and told everything.
fn open(node: u8, asn: u32, peer: (u8, u32)) -> Config {
    let mut config = with_peers(node, asn, &[peer]);
    for peer in config.peers.values_mut() {
        (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
    }
    config
}

fn observed(network: &mut Network, number: u8) -> Vec<Observed> {
    let speaker = network.speaker(number);
    std::iter::from_fn(|| speaker.poll_observed()).collect()
}

fn kinds(messages: &[u8]) -> Vec<MessageType> {
    let (mut rest, mut kinds) = (messages, Vec::new());
    while let Ok(Some(frame)) = first_frame(rest, 65535) {
        rest = &rest[frame.whole_len()..];
        kinds.push(frame.kind);
    }
    kinds
}

#[test]
fn a_session_is_told_from_its_beginning_to_its_end() {
    let mut network = Network::default();
    network.start(1, open(1, 64512, (2, 64513)));
    network.speaker(1).watch(ALL);
    network.start(2, open(2, 64513, (1, 64512)));
    network.wait_established(1, 2);
    network.run(Duration::from_secs(1));
    let events = observed(&mut network, 1);
    let peer = v4(2);
    let states: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Observed::State { new, .. } => Some(*new),
            _ => None,
        })
        .collect();
    assert!(states.ends_with(&[State::OpenSent, State::OpenConfirm, State::Established]));
    assert!(events.contains(&Observed::Up { peer }));
    let received: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Observed::Received { message, .. } => Some(kinds(message)),
            _ => None,
        })
        .collect();
    assert_eq!(received[0], [MessageType::Open]);
    assert!(received.contains(&vec![MessageType::Keepalive]));
    assert!(received.contains(&vec![MessageType::Update]));
    assert!(events.iter().any(|event| matches!(event, Observed::Sent { .. })));
    let Some(Observed::Changes(changes)) = events.last() else { panic!("no changes last") };
    assert!(!changes.paths.is_empty() && !changes.best.is_empty());

    let session = network.speaker(1).session(peer).unwrap();
    assert_eq!(
        (session.asn, kinds(&session.open_sent)),
        (Asn::new(64513), vec![MessageType::Open])
    );
    let frame = first_frame(&session.open_received, 4096).unwrap().unwrap();
    let open = Message::decode_body(frame.kind, frame.body, &session.parameters).unwrap();
    assert!(matches!(open, Message::Open(open) if open.asn == Asn::new(64513)));

    network.kill(2);
    network.wait("the session is lost", |network| network.state(1, 2) != State::Established);
    let events = observed(&mut network, 1);
    assert!(events.contains(&Observed::Down { peer, end: SessionEnd::Lost }), "{events:?}");
    network.speaker(1).watch(Watch::default());
    assert!(observed(&mut network, 1).is_empty());
}

#[test]
fn a_source_is_heard_like_a_peer_and_told_on() {
    let mut network = Network::default();
    network.start(1, with_peers(1, 64512, &[(2, 64512)]));
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    network.wait_established(1, 2);
    let now = network.now();
    let speaker = network.speaker(1);
    let source = speaker.add_source(SourceConfig {
        name: "mrt:rib".to_owned(),
        asn: Asn::new(64512),
        import: Policy::accept_all(),
    });
    let announced = bgp_wire::Announcement {
        next_hop: v4(1).into(),
        prefixes: vec![prefix("203.0.113.0/24").into()],
    };
    let foreign = bgp_wire::Announcement { next_hop: v4(2).into(), ..announced };
    let update = Update { announced: vec![foreign], ..Update::default() };
    speaker.handle_source(source, &update, now).unwrap();
    let paths = speaker.rib().paths_of(prefix("203.0.113.0/24"));
    let address = paths[0].peer.unwrap().address;
    assert_eq!(speaker.source_name(address), Some("mrt:rib"));
    network.wait("told on", |network| network.status(2, v4(1)).prefixes_received == 3);
    network.speaker(1).remove_source(source);
    network.wait("withdrawn", |network| network.status(2, v4(1)).prefixes_received == 2);
}
