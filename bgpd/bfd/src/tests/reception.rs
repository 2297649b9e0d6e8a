//! RFC 5880 §6.8.6, rule by rule in its order, and RFC 5881 §5.

use super::harness::{KEY, One, PEER, profile};
use crate::{Change, Diagnostic, Discard, DownReason, Interval, PACKET_LEN, Path, Received, State};

fn one() -> One {
    One::new(profile(100, 100, 3))
}

/// A packet that would be taken, but for what is done to it; it must be discarded and change nothing.
fn discarded(spoil: impl FnOnce(&mut Vec<u8>)) -> Discard {
    let mut one = one();
    let mut octets = one.says.encode().to_vec();
    assert_eq!(one.hear_octets(255, &octets.clone()), Ok(()));
    let mut one = self::one();
    spoil(&mut octets);
    let discard = one.hear_octets(255, &octets).unwrap_err();
    assert_eq!(one.status().state, State::Down);
    assert_eq!(one.status().remote_discriminator, None);
    assert_eq!(one.status().counters.received, 0);
    assert_eq!((one.bfd.discards().of(discard), one.bfd.discards().total()), (1, 1));
    discard
}

#[test]
fn the_version_is_one() {
    for version in [0, 2, 7] {
        assert_eq!(discarded(|octets| octets[0] = version << 5), Discard::Version);
    }
}

#[test]
fn the_length_field_is_at_least_24_or_26_with_authentication() {
    for length in [0, 23] {
        assert_eq!(discarded(|octets| octets[3] = length), Discard::Length);
    }
    for length in [24, 25] {
        let discard = discarded(|octets| {
            octets.extend([0, 2]);
            octets[1] |= 1 << 2;
            octets[3] = length;
        });
        assert_eq!(discard, Discard::Length);
    }
}

#[test]
fn the_length_field_is_at_most_the_payload() {
    assert_eq!(discarded(|octets| octets[3] = 25), Discard::LengthBeyondPayload);
    for len in 0..PACKET_LEN {
        assert_eq!(discarded(|octets| octets.truncate(len)), Discard::Truncated);
    }
}

#[test]
fn a_payload_may_be_longer_than_the_packet() {
    let mut one = one();
    let mut octets = one.says.encode().to_vec();
    octets.extend([0xff; 40]);
    assert_eq!(one.hear_octets(255, &octets), Ok(()));
}

#[test]
fn the_multiplier_is_not_zero() {
    assert_eq!(discarded(|octets| octets[2] = 0), Discard::ZeroMultiplier);
}

#[test]
fn the_multipoint_bit_is_clear() {
    assert_eq!(discarded(|octets| octets[1] |= 1), Discard::Multipoint);
}

#[test]
fn my_discriminator_is_not_zero() {
    assert_eq!(discarded(|octets| octets[4..8].fill(0)), Discard::ZeroMyDiscriminator);
}

#[test]
fn your_discriminator_selects_the_session_and_an_unknown_one_selects_none() {
    assert_eq!(discarded(|octets| octets[8..12].fill(0xee)), Discard::UnknownDiscriminator);
    let mut one = one();
    assert_eq!(one.hear(State::Down), Ok(()));
}

#[test]
fn a_session_is_the_peers_alone() {
    let mut one = one();
    one.says.your_discriminator = Some(one.last().my_discriminator);
    let payload = one.says.encode();
    for (peer, path) in [([192, 0, 2, 9].into(), Path::SingleHop), (PEER, Path::Multihop)] {
        let received = Received { peer, path, ttl: 255, payload: &payload };
        assert_eq!(one.bfd.handle_packet(&received, one.now), Err(Discard::OtherPeer));
    }
}

#[test]
fn without_your_discriminator_only_down_and_admin_down_are_taken() {
    for (state, taken) in [
        (State::Init, Err(Discard::ZeroYourDiscriminator)),
        (State::Up, Err(Discard::ZeroYourDiscriminator)),
        (State::Down, Ok(())),
        (State::AdminDown, Ok(())),
    ] {
        let mut one = one();
        one.says.state = state;
        assert_eq!(one.hear_octets(255, &one.says.encode()), taken, "{state:?}");
    }
}

#[test]
fn without_your_discriminator_the_sender_must_be_one_of_ours() {
    let mut one = one();
    let payload = one.says.encode();
    for (peer, path) in [([192, 0, 2, 9].into(), Path::SingleHop), (PEER, Path::Multihop)] {
        let received = Received { peer, path, ttl: 255, payload: &payload };
        assert_eq!(one.bfd.handle_packet(&received, one.now), Err(Discard::NoSession));
    }
    assert_eq!(one.status().key, KEY);
}

#[test]
fn authenticated_packets_are_not_taken() {
    let discard = discarded(|octets| {
        octets.extend([1, 4, 1, b'x']);
        octets[1] |= 1 << 2;
        octets[3] = 28;
    });
    assert_eq!(discard, Discard::Authenticated);
}

#[test]
fn what_has_passed_a_router_is_not_taken_over_a_link() {
    let mut one = one();
    let octets = one.says.encode();
    for ttl in [0, 1, 64, 254] {
        assert_eq!(one.hear_octets(ttl, &octets), Err(Discard::Ttl));
    }
    assert_eq!(one.status().remote_discriminator, None);
    assert_eq!(one.bfd.discards().of(Discard::Ttl), 4);
}

#[test]
fn what_a_packet_says_of_its_sender_is_kept() {
    let mut one = one();
    one.says.control_plane_independent = true;
    one.says.diagnostic = Diagnostic::PathDown;
    one.says.required_min_rx = Interval::from_millis(70);
    one.hear(State::Down).unwrap();
    let status = one.status();
    assert_eq!(status.remote_discriminator, Some(one.says.my_discriminator));
    assert_eq!(status.remote_state, Some(State::Down));
    assert_eq!(status.remote_diagnostic, Some(Diagnostic::PathDown));
    assert_eq!(status.remote_min_rx, Some(Interval::from_millis(70)));
    assert_eq!(status.remote_min_tx, Some(Interval::from_millis(100)));
    assert_eq!(status.remote_multiplier, Some(3));
    assert!(status.remote_control_plane_independent);
}

#[test]
fn the_way_up_and_what_is_told_on_it() {
    let mut one = one();
    assert_eq!((one.last().state, one.last().your_discriminator), (State::Down, None));
    one.hear(State::Down).unwrap();
    assert_eq!(one.last().state, State::Init);
    assert_eq!(one.last().your_discriminator, Some(one.says.my_discriminator));
    one.hear(State::Init).unwrap();
    assert_eq!(one.last().state, State::Up);
    assert_eq!(one.changes, [Change::Up]);
    assert_eq!(one.status().counters.ups, 1);
}

#[test]
fn the_neighbours_down_ends_a_session_and_its_admin_down_is_no_failure() {
    for (state, reason) in
        [(State::Down, DownReason::NeighborDown), (State::AdminDown, DownReason::NeighborAdminDown)]
    {
        let mut one = One::up(profile(100, 100, 3));
        one.says.control_plane_independent = true;
        one.hear(state).unwrap();
        let down = Change::Down { reason, control_plane_independent: true };
        assert_eq!(one.changes[1..], [down]);
        assert_eq!(one.last().state, State::Down);
        assert_eq!(one.last().diagnostic, Diagnostic::NeighborSignaledSessionDown);
        // While it is held down nothing brings it up; what it says then does.
        one.hear(State::AdminDown).unwrap();
        assert_eq!(one.status().state, State::Down);
        one.hear(State::Down).unwrap();
        one.hear(State::Init).unwrap();
        assert_eq!(one.changes.last(), Some(&Change::Up));
        assert_eq!(one.status().diagnostic, Diagnostic::NoDiagnostic);
    }
}

#[test]
fn a_poll_is_answered_at_once_and_once_and_an_answer_polls_nothing() {
    let mut one = One::up(profile(100, 100, 3));
    one.says.is_final = true;
    one.hear(State::Up).unwrap();
    one.says.is_final = false;
    one.says.poll = true;
    let sent = one.sent.len();
    one.hear(State::Up).unwrap();
    assert_eq!(one.sent.len(), sent + 1);
    assert!(one.last().is_final && !one.last().poll);
    assert_eq!(one.sent.last().unwrap().0, one.now);
}

#[test]
fn a_session_that_is_held_down_takes_nothing() {
    let mut one = One::up(profile(100, 100, 3));
    one.remove();
    assert_eq!(one.last().state, State::AdminDown);
    assert_eq!(one.last().diagnostic, Diagnostic::AdministrativelyDown);
    one.says.poll = true;
    let sent = one.sent.len();
    assert_eq!(one.hear(State::Up), Err(Discard::AdminDown));
    assert_eq!(one.sent.len(), sent);
    assert_eq!(one.changes, [Change::Up]);
}
