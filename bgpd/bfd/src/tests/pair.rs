//! Two machines and a bad network between them.

use std::time::Duration;

use proptest::prelude::*;

use super::harness::{Fate, Pair, millis, profile};
use crate::{Change, DownReason, Interval, Profile, rng::Rng};

const AT_ONCE: Fate = Fate::After(Duration::from_micros(200));

#[test]
fn two_come_up_within_a_round_trip_and_agree_on_their_times() {
    let mut pair = Pair::new([profile(50, 60, 3), profile(80, 50, 5)], 1);
    pair.run(millis(1), |_| AT_ONCE);
    assert!(pair.is_up(0) && pair.is_up(1));
    pair.run(millis(1000), |_| AT_ONCE);
    let (a, b) = (pair.status(0), pair.status(1));
    assert_eq!(a.transmit_interval, Some(millis(50)));
    assert_eq!(b.transmit_interval, Some(millis(80)));
    assert_eq!(a.detection_time, Some(millis(5 * 80)));
    assert_eq!(b.detection_time, Some(millis(3 * 50)));
    assert!(!a.remote_control_plane_independent && b.remote_control_plane_independent);
    assert_eq!(pair.changes.each_ref().map(Vec::len), [1, 1]);
}

#[test]
fn a_way_that_works_in_one_direction_only_is_no_way() {
    let mut pair = Pair::new([profile(50, 50, 3), profile(50, 50, 3)], 2);
    pair.run(millis(1000), |_| AT_ONCE);
    let cut = pair.now;
    pair.run(millis(400), |from| if from == 0 { Fate::Lost } else { AT_ONCE });
    assert!(!pair.is_up(0) && !pair.is_up(1));
    let reason = |end: usize| match pair.changes[end].last() {
        Some(&(at, Change::Down { reason, .. })) if at - cut <= millis(151) => Some(reason),
        _ => None,
    };
    assert_eq!(reason(1), Some(DownReason::DetectionTimeExpired));
    assert_eq!(reason(0), Some(DownReason::NeighborDown));
}

fn is_down(change: Change) -> bool {
    matches!(change, Change::Down { .. })
}

fn profiles() -> impl Strategy<Value = Profile> {
    (50u16..400, 50u16..400, 2u16..6).prop_map(|(tx, rx, multiplier)| profile(tx, rx, multiplier))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However packets are lost, delayed and overtaken: the two come up, and once nothing passes any
    /// more each knows it within its Detection Time of the last packet that came.
    #[test]
    fn they_come_up_and_detect_in_time(
        profiles in [profiles(), profiles()],
        seed in any::<u64>(),
        loss_percent in 0u64..30,
        delay in 0u64..40,
    ) {
        let mut pair = Pair::new(profiles, seed);
        let mut rng = Rng::new(seed);
        let mut fate = |_| {
            if rng.next() % 100 < loss_percent {
                Fate::Lost
            } else {
                Fate::After(Duration::from_micros(rng.next() % (delay * 1000 + 1)))
            }
        };
        let mut rounds = 0;
        while !(pair.is_up(0) && pair.is_up(1)) {
            pair.run(millis(500), &mut fate);
            rounds += 1;
            prop_assert!(rounds < 120, "not up within a minute");
        }
        pair.run(millis(3000), &mut fate);
        let cut = pair.now;
        let detection = [0, 1].map(|end| pair.status(end).detection_time);
        let was_up = [pair.is_up(0), pair.is_up(1)];
        pair.run(millis(20_000), |_| Fate::Lost);
        for end in 0..2 {
            prop_assert!(!pair.is_up(end));
            let Some(detection) = detection[end].filter(|_| was_up[end]) else { continue };
            let &(at, change) = pair.changes[end].last().unwrap();
            prop_assert!(is_down(change));
            // What was in flight still counts, and where the session has come Up only just now it
            // may speak of the slow interval.
            let (ours, theirs) = (profiles[end], profiles[1 - end]);
            let slowest = ours.min_rx().max(theirs.min_tx()).max(Interval::SLOW).duration();
            let latest = cut + millis(delay) + slowest * theirs.multiplier().get().into();
            prop_assert!(at <= latest);
            if loss_percent == 0 {
                prop_assert!(at <= cut + millis(delay) + detection, "{:?}", at - cut);
            }
        }
    }

    /// On a good network nothing ever goes down, and sessions settle on the times of the slower.
    #[test]
    fn nothing_is_lost_where_nothing_is_lost(
        profiles in [profiles(), profiles()],
        seed in any::<u64>(),
        delay in 0u64..30,
    ) {
        let mut pair = Pair::new(profiles, seed);
        // In order: what is overtaken while a session comes up may take it down again.
        pair.run(millis(30_000), |_| Fate::After(millis(delay)));
        for (end, (ours, theirs)) in
            [(profiles[0], profiles[1]), (profiles[1], profiles[0])].into_iter().enumerate()
        {
            prop_assert_eq!(pair.changes[end].len(), 1);
            let status = pair.status(end);
            prop_assert_eq!(
                status.transmit_interval,
                Some(ours.min_tx().max(theirs.min_rx()).duration())
            );
            let interval = ours.min_rx().max(theirs.min_tx()).duration();
            prop_assert_eq!(
                status.detection_time,
                Some(interval * theirs.multiplier().get().into())
            );
        }
    }
}
