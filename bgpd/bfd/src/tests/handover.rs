//! Sessions that go on in another process.

use std::{num::NonZeroU32, time::Instant};

use proptest::prelude::*;

use super::harness::{Fate, KEY, One, Pair, millis, profile};
use crate::{
    Bfd, Change, DownReason, Event, Handover, HandoverError, State, handover::MAX_FRAME_BYTES,
};

const AT_ONCE: Fate = Fate::After(std::time::Duration::from_micros(200));

fn read(frames: &[Vec<u8>]) -> Handover {
    let mut handover = Handover::default();
    frames.iter().for_each(|frame| handover.read(frame).unwrap());
    handover
}

/// Another process goes on with what this one had.
fn replace(bfd: &mut Bfd, independent: bool, now: Instant) {
    let frames = bfd.hand_over(now);
    assert!(frames.iter().all(|frame| frame.len() <= MAX_FRAME_BYTES));
    *bfd = Bfd::taken_over(read(&frames), independent, 99, now).unwrap();
}

#[test]
fn everything_is_as_it_was() {
    let mut one = One::up(profile(50, 60, 3));
    one.pass_hearing(millis(500), millis(100), State::Up);
    let before = one.status();
    replace(&mut one.bfd, false, one.now);
    assert_eq!(one.status(), before);
    one.changes.clear();
    one.pass_hearing(millis(500), millis(100), State::Up);
    assert_eq!(one.changes, []);
    let sent = one.sent.len();
    assert_eq!(one.last().my_discriminator, before.local_discriminator);
    assert_eq!(one.last().your_discriminator, NonZeroU32::new(77));
    // What is silent from then on is lost, as late as ever.
    one.pass(millis(301));
    let lost =
        Change::Down { reason: DownReason::DetectionTimeExpired, control_plane_independent: false };
    assert_eq!(one.changes, [lost]);
    assert!(one.sent.len() > sent);
}

#[test]
fn who_hands_over_repeats_what_it_has_said_and_misses_nobody() {
    let mut one = One::up(profile(50, 50, 3));
    one.pass_hearing(millis(500), millis(100), State::Up);
    one.changes.clear();
    let (said, sent) = (one.last(), one.sent.len());
    one.bfd.hand_over(one.now);
    one.pass(millis(2000));
    assert_eq!(one.changes, []);
    let repeated = &one.sent[sent..];
    assert!(repeated.len() >= 20, "{}", repeated.len());
    assert!(repeated.iter().all(|(_, packet)| *packet == said));

    // Nobody has taken it. What waits is heard before time counts.
    one.bfd.resume();
    one.hear(State::Up).unwrap();
    one.pass_hearing(millis(500), millis(100), State::Up);
    assert_eq!((one.changes.len(), one.status().state), (0, State::Up));
    one.bfd.hand_over(one.now);
    one.pass(millis(2000));
    one.bfd.resume();
    one.pass(millis(0));
    assert_eq!(one.status().state, State::Down);
}

#[test]
fn farewells_are_not_handed_over() {
    let mut one = One::up(profile(50, 50, 3));
    one.remove();
    assert_eq!(one.last().state, State::AdminDown);
    assert_eq!(one.bfd.hand_over(one.now), Vec::<Vec<u8>>::new());
}

#[test]
fn what_was_not_told_yet_goes_along() {
    let reason = DownReason::NeighborAdminDown;
    let down = Change::Down { reason, control_plane_independent: true };
    let events = [down, Change::Up].map(|change| Event { session: KEY, change });
    let mut handover = read(&events.map(|event| Handover::write_event(&event)));
    assert_eq!(handover.take_events(), events);
    assert_eq!(handover.take_events(), []);
}

/// Where this fails there is another version.
#[test]
fn the_octets_of_this_version() {
    let mut one = One::up(profile(50, 60, 3));
    one.pass_hearing(millis(200), millis(100), State::Up);
    let [frame] = &one.bfd.hand_over(one.now)[..] else { panic!("one session") };
    let hex = |octets: &[u8]| -> String { octets.iter().map(|one| format!("{one:02x}")).collect() };
    let event = Event { session: KEY, change: Change::Up };
    assert_eq!(hex(&Handover::write_event(&event)), "0100c00002020000");
    assert_eq!(hex(frame), KNOWN);
}

const KNOWN: &str = "0000c000020200323c03d79bc8c9050300008084af5f0120c003180000004d59320dd7000186a0000186a00000\
     00000120c0031859320dd70000004d0000c3500000ea6000000000010000010080db880f0100a0adc81e01d086\
     03d08603e0d403e0d40304050100";

#[test]
fn what_cannot_be_is_refused() {
    let mut one = One::up(profile(50, 60, 3));
    one.pass_hearing(millis(200), millis(100), State::Up);
    let frame = one.bfd.hand_over(one.now).remove(0);
    let mut handover = Handover::default();
    for octets in [&[][..], &[9], &frame[..frame.len() - 1], &[&frame[..], &[0]].concat()] {
        assert_eq!(handover.read(octets), Err(HandoverError), "{octets:?}");
    }
    assert!(handover.read(&frame).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whenever it is: in the middle of a handshake, or of a change of times.
    #[test]
    fn the_peer_sees_nothing(
        seed in any::<u64>(),
        steps in proptest::collection::vec((0u64..700, 0usize..2, any::<bool>()), 1..12),
    ) {
        let fast = [profile(50, 60, 3), profile(80, 50, 4)];
        let slow = [profile(200, 150, 3), profile(90, 300, 5)];
        let mut pair = Pair::new(fast, seed);
        let mut profiles = fast;
        for (time, end, is_slow) in steps {
            pair.run(millis(time), |_| AT_ONCE);
            profiles[end] = if is_slow { slow[end] } else { fast[end] };
            let now = pair.now;
            pair.ends[end].set_sessions(&[(KEY, profiles[end])].into(), now).unwrap();
            let local = pair.status(end).local_discriminator;
            replace(&mut pair.ends[end], end == 0, now);
            prop_assert_eq!(pair.status(end).local_discriminator, local);
        }
        pair.run(millis(5000), |_| AT_ONCE);
        let mut again = Pair::new(profiles, seed);
        again.run(millis(5000), |_| AT_ONCE);
        for end in 0..2 {
            let is_up = |change: &(Instant, Change)| change.1 == Change::Up;
            prop_assert!(pair.changes[end].iter().all(is_up), "{:?}", pair.changes);
            let (one, other) = (pair.status(end), again.status(end));
            prop_assert_eq!(one.transmit_interval, other.transmit_interval);
            prop_assert_eq!(one.detection_time, other.detection_time);
            prop_assert_eq!(one.remote_control_plane_independent, end == 1);
        }
    }

    #[test]
    fn nothing_that_is_handed_over_panics(
        frame in proptest::collection::vec(any::<u8>(), 0..120),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut one = One::up(profile(50, 60, 3));
        one.pass_hearing(millis(200), millis(100), State::Up);
        let mut near = one.bfd.hand_over(one.now).remove(0);
        for (at, octet) in changes {
            let at = at.index(near.len());
            near[at] = octet;
        }
        for octets in [frame, near] {
            let mut handover = Handover::default();
            if handover.read(&octets).is_err() {
                continue;
            }
            if let Ok(mut bfd) = Bfd::taken_over(handover, false, 1, one.now) {
                bfd.handle_timeout(one.now);
                while bfd.poll_transmit().is_some() {}
            }
        }
    }
}
