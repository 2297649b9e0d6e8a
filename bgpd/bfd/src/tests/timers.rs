//! RFC 5880 §6.8.2 to §6.8.4, §6.8.7 and §6.5.

use std::time::{Duration, Instant};

use super::harness::{One, millis, profile};
use crate::{Change, Diagnostic, DownReason, Interval, State};

fn gaps(sent: &[(Instant, crate::ControlPacket)]) -> Vec<Duration> {
    sent.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
}

/// Up, and every Poll Sequence answered.
fn settled(profile: crate::Profile) -> One {
    let mut one = One::up(profile);
    one.says.is_final = true;
    for _ in 0..3 {
        one.pass(millis(60));
        one.hear(State::Up).unwrap();
    }
    one.says.is_final = false;
    one.hear(State::Up).unwrap();
    one
}

#[test]
fn a_session_that_is_not_up_speaks_once_a_second() {
    let mut one = One::new(profile(50, 50, 3));
    assert_eq!(one.last().desired_min_tx, Interval::SLOW);
    one.pass(millis(60_000));
    let gaps = gaps(&one.sent);
    assert!((60..=80).contains(&gaps.len()), "{}", gaps.len());
    assert!(gaps.iter().all(|gap| (millis(750)..=millis(1000)).contains(gap)), "{gaps:?}");
    assert_eq!(one.status().detection_time, None);
}

#[test]
fn up_it_speaks_as_fast_as_the_slower_of_both_wants() {
    for (ours, theirs, agreed) in [(50, 100, 100), (200, 100, 200), (300, 300, 300)] {
        let mut one = One::new(profile(ours, 50, 3));
        one.says.required_min_rx = Interval::from_millis(theirs);
        one.hear(State::Down).unwrap();
        one.hear(State::Up).unwrap();
        let from = one.sent.len();
        one.pass_hearing(millis(30_000), millis(100), State::Up);
        let agreed = millis(agreed);
        assert_eq!(one.status().transmit_interval, Some(agreed));
        let gaps = gaps(&one.sent[from..]);
        assert!(gaps.iter().all(|gap| (agreed * 3 / 4..=agreed).contains(gap)), "{gaps:?}");
    }
}

#[test]
fn with_multiplier_one_a_packet_is_never_later_than_nine_tenths() {
    let mut one = One::up(profile(100, 100, 1));
    let from = one.sent.len();
    one.pass_hearing(millis(20_000), millis(100), State::Up);
    let gaps = gaps(&one.sent[from..]);
    assert!(gaps.iter().all(|gap| (millis(75)..=millis(90)).contains(gap)), "{gaps:?}");
}

#[test]
fn the_detection_time_is_their_multiplier_by_the_slower_of_their_sending_and_our_taking() {
    for (rx, tx, multiplier, detection) in
        [(50, 50, 3, 150), (100, 50, 3, 300), (50, 200, 5, 1000), (300, 300, 1, 300)]
    {
        let mut one = One::new(profile(50, rx, 7));
        one.says.desired_min_tx = Interval::from_millis(tx);
        one.says.multiplier = multiplier.try_into().unwrap();
        one.hear(State::Down).unwrap();
        one.hear(State::Up).unwrap();
        assert_eq!(one.status().detection_time, Some(millis(detection)));
        one.pass(millis(detection) - Duration::from_micros(1));
        assert_eq!(one.changes, [Change::Up]);
        one.pass(Duration::from_micros(1));
        let reason = DownReason::DetectionTimeExpired;
        assert_eq!(one.changes[1..], [Change::Down { reason, control_plane_independent: false }]);
        let last = one.last();
        assert_eq!(one.sent.last().unwrap().0, one.now, "it is told at once");
        assert_eq!(
            (last.state, last.diagnostic),
            (State::Down, Diagnostic::ControlDetectionTimeExpired)
        );
        // What was known of the neighbour is known no more.
        assert_eq!(last.your_discriminator, None);
        assert_eq!(last.desired_min_tx, Interval::SLOW);
        assert_eq!(one.status().transmit_interval, Some(millis(1000)));
    }
}

#[test]
fn a_session_in_init_that_hears_no_more_goes_down_without_a_word_to_clients() {
    let mut one = One::new(profile(100, 100, 3));
    one.hear(State::Down).unwrap();
    one.pass(millis(300));
    assert_eq!(one.status().state, State::Down);
    assert_eq!(one.changes, []);
}

#[test]
fn coming_up_polls_until_it_is_answered() {
    let mut one = One::up(profile(50, 50, 3));
    one.pass_hearing(millis(500), millis(50), State::Up);
    let polls = one.sent.iter().filter(|(_, packet)| packet.poll).count();
    assert!(polls >= 4, "{polls}");
    assert_eq!(one.last().desired_min_tx, Interval::from_millis(50));
    one.says.is_final = true;
    one.hear(State::Up).unwrap();
    one.says.is_final = false;
    let from = one.sent.len();
    one.pass_hearing(millis(500), millis(50), State::Up);
    // One more sequence where times have changed while the first was under way.
    let more = one.sent[from..].iter().filter(|(_, packet)| packet.poll).count();
    assert!(!one.sent[from].1.poll, "a packet without P stands between two sequences");
    if more > 0 {
        one.says.is_final = true;
        one.hear(State::Up).unwrap();
        one.says.is_final = false;
    }
    let from = one.sent.len();
    one.pass_hearing(millis(500), millis(50), State::Up);
    assert!(one.sent[from..].iter().all(|(_, packet)| !packet.poll));
}

#[test]
fn a_slower_sender_waits_for_the_answer_and_a_faster_one_does_not() {
    let mut one = settled(profile(100, 50, 3));
    one.set_profile(profile(400, 50, 3));
    assert_eq!(one.last().desired_min_tx, Interval::from_millis(400), "it is told at once");
    assert!(one.last().poll);
    assert_eq!(one.status().transmit_interval, Some(millis(100)));
    one.pass_hearing(millis(1000), millis(100), State::Up);
    assert_eq!(one.status().transmit_interval, Some(millis(100)));
    one.says.is_final = true;
    one.hear(State::Up).unwrap();
    assert_eq!(one.status().transmit_interval, Some(millis(400)));
    one.says.is_final = false;

    one.set_profile(profile(100, 50, 3));
    assert_eq!(one.status().transmit_interval, Some(millis(100)));
    assert!(one.last().poll);
}

#[test]
fn a_shorter_detection_time_of_our_asking_waits_for_the_answer() {
    let mut one = settled(profile(50, 400, 3));
    assert_eq!(one.status().detection_time, Some(millis(1200)));
    one.set_profile(profile(50, 100, 3));
    assert_eq!(one.status().detection_time, Some(millis(1200)));
    one.says.is_final = true;
    one.hear(State::Up).unwrap();
    assert_eq!(one.status().detection_time, Some(millis(300)));
    one.says.is_final = false;
    // The longer one does not.
    one.set_profile(profile(50, 400, 3));
    assert_eq!(one.status().detection_time, Some(millis(1200)));
}

#[test]
fn a_neighbour_that_can_take_more_gets_it_counted_from_the_latest_packet() {
    let mut one = settled(profile(50, 50, 3));
    one.says.required_min_rx = Interval::from_millis(5000);
    one.says.desired_min_tx = Interval::from_millis(5000);
    one.hear(State::Up).unwrap();
    one.pass(millis(100));
    let from = one.sent.len();
    one.pass(millis(3000));
    assert_eq!(one.sent.len(), from);
    one.says.required_min_rx = Interval::from_millis(50);
    one.hear(State::Up).unwrap();
    one.pass(Duration::ZERO);
    assert_eq!(one.sent.len(), from + 1, "what is overdue goes at once");
}

#[test]
fn a_neighbour_that_takes_nothing_is_sent_nothing_but_answers() {
    let mut one = settled(profile(50, 50, 3));
    one.says.required_min_rx = Interval::ZERO;
    one.hear(State::Up).unwrap();
    let from = one.sent.len();
    one.pass_hearing(millis(5000), millis(100), State::Up);
    assert_eq!(one.sent.len(), from);
    one.says.poll = true;
    one.hear(State::Up).unwrap();
    assert!(one.last().is_final);
    one.says.poll = false;
    one.says.required_min_rx = Interval::from_millis(50);
    one.hear(State::Up).unwrap();
    one.pass(millis(50));
    assert!(one.sent.len() > from + 1);
}

#[test]
fn demand_mode_of_the_neighbour_is_honoured_while_both_are_up() {
    let mut one = settled(profile(50, 50, 3));
    one.says.demand = true;
    one.hear(State::Up).unwrap();
    let from = one.sent.len();
    one.pass_hearing(millis(2000), millis(100), State::Up);
    assert_eq!(one.sent.len(), from);
    // A Poll Sequence is sent for all that.
    one.set_profile(profile(60, 50, 3));
    one.pass_hearing(millis(500), millis(100), State::Up);
    assert!(one.sent.len() > from + 3 && one.last().poll);
}

#[test]
fn late_answers_do_not_end_the_sequence_that_follows() {
    let mut one = settled(profile(100, 50, 3));
    one.set_profile(profile(200, 50, 3));
    one.set_profile(profile(400, 50, 3));
    one.says.is_final = true;
    one.hear(State::Up).unwrap();
    one.hear(State::Up).unwrap();
    assert_eq!(one.status().transmit_interval, Some(millis(100)), "400 ms are not confirmed");
    one.says.is_final = false;
    one.pass_hearing(millis(300), millis(100), State::Up);
    assert!(one.last().poll);
    one.says.is_final = true;
    one.hear(State::Up).unwrap();
    assert_eq!(one.status().transmit_interval, Some(millis(400)));
}
