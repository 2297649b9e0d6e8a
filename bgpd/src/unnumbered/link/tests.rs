use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const OWN: Ipv6Addr = address(1);
const NEIGHBOUR: Ipv6Addr = address(2);
const OTHER: Ipv6Addr = address(3);
const SECOND: Duration = Duration::from_secs(1);

const fn address(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number)
}

fn advertised(from: Ipv6Addr) -> Message {
    Message::Advertisement { from }
}

/// A link that is up from its beginning, and that beginning.
fn link() -> (Link, Instant) {
    let start = Instant::now();
    let mut link = Link::new(OWN, 1, start);
    assert_eq!(link.timeout(), None);
    link.set_up(OWN, true, start);
    (link, start)
}

/// All that is sent until then, with how long after `start` that is.
fn run(link: &mut Link, start: Instant, end: Duration) -> Vec<(Duration, Transmit)> {
    let mut sent = Vec::new();
    while let Some(at) = link.timeout().filter(|at| *at <= start + end) {
        while let Some(transmit) = link.poll(at) {
            sent.push((at - start, transmit));
        }
    }
    sent
}

fn times(sent: &[(Duration, Transmit)], what: Transmit) -> Vec<u64> {
    sent.iter().filter(|(_, sent)| *sent == what).map(|(at, _)| at.as_secs()).collect()
}

#[test]
fn a_few_at_short_intervals_and_then_slowly() {
    let (mut link, start) = link();
    let sent = run(&mut link, start, 60 * SECOND);
    let all = times(&sent, Transmit::Advertisement { to: ALL_NODES });
    assert_eq!(all[..3], [0, 3, 6]);
    let gaps: Vec<_> = all[2..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 4 && gaps.iter().all(|gap| (6..=10).contains(gap)), "{gaps:?}");
    assert_eq!(times(&sent, Transmit::Solicitation), [0, 4, 8]);
}

#[test]
fn who_is_heard_is_the_neighbour_and_hears_of_us_at_once() {
    let (mut link, start) = link();
    run(&mut link, start, SECOND);
    link.handle(advertised(OWN), start + SECOND);
    assert_eq!(link.neighbour(), None);
    link.handle(advertised(NEIGHBOUR), start + SECOND);
    assert_eq!(link.neighbour(), Some(NEIGHBOUR));
    let sent = run(&mut link, start, 60 * SECOND);
    assert_eq!(sent[0], (SECOND, Transmit::Advertisement { to: NEIGHBOUR }));
    // One was on its way already.
    assert_eq!(times(&sent, Transmit::Solicitation), [4]);
}

#[test]
fn whoever_asks_is_answered_soon_and_once() {
    let (mut link, start) = link();
    run(&mut link, start, 7 * SECOND);
    let now = start + 7 * SECOND;
    for _ in 0..100 {
        link.handle(Message::Solicitation { from: Some(OTHER) }, now);
    }
    let sent = run(&mut link, now, SECOND);
    let (at, transmit) = sent[0];
    assert!(at <= MAX_ANSWER_DELAY && transmit == Transmit::Advertisement { to: OTHER });
    assert_eq!(times(&sent, transmit).len(), 1);
    // Without an address all are told, and not too often.
    link.handle(Message::Solicitation { from: None }, now + SECOND);
    let sent = run(&mut link, start, 9 * SECOND);
    assert_eq!(times(&sent, Transmit::Advertisement { to: ALL_NODES }), [9]);
    assert_eq!(link.neighbour(), None, "asking makes no router");
}

#[test]
fn another_takes_the_place_of_one_that_is_silent() {
    let (mut link, start) = link();
    link.handle(advertised(NEIGHBOUR), start);
    run(&mut link, start, 20 * SECOND);
    let now = start + 20 * SECOND;
    link.handle(advertised(OTHER), now);
    let sent = run(&mut link, now, 3 * SECOND);
    assert_eq!(times(&sent, Transmit::Solicitation), [0]);
    assert_eq!(link.neighbour(), Some(NEIGHBOUR));
    let sent = run(&mut link, now, 5 * SECOND);
    assert_eq!(link.neighbour(), Some(OTHER));
    assert!(sent.contains(&(SILENCE, Transmit::Advertisement { to: OTHER })), "{sent:?}");
}

#[test]
fn one_that_answers_or_has_a_session_stays() {
    let (mut link, start) = link();
    link.handle(advertised(NEIGHBOUR), start);
    link.handle(advertised(OTHER), start + SECOND);
    link.handle(advertised(NEIGHBOUR), start + 2 * SECOND);
    run(&mut link, start, 20 * SECOND);
    assert_eq!(link.neighbour(), Some(NEIGHBOUR));

    link.handle(advertised(OTHER), start + 20 * SECOND);
    link.set_session(true, start + 21 * SECOND);
    for second in 22..60 {
        link.handle(advertised(OTHER), start + second * SECOND);
    }
    run(&mut link, start, 60 * SECOND);
    assert_eq!(link.neighbour(), Some(NEIGHBOUR));

    // Its session is lost: who is there is asked, and who answers is taken.
    link.set_session(false, start + 60 * SECOND);
    let sent = run(&mut link, start, 61 * SECOND);
    assert_eq!(times(&sent, Transmit::Solicitation), [60]);
    link.handle(advertised(OTHER), start + 61 * SECOND);
    run(&mut link, start, 66 * SECOND);
    assert_eq!(link.neighbour(), Some(OTHER));
}

#[test]
fn nothing_is_said_while_the_link_is_down_and_much_when_it_comes_back() {
    let (mut link, start) = link();
    link.handle(advertised(NEIGHBOUR), start);
    run(&mut link, start, 20 * SECOND);
    link.set_up(OWN, false, start + 20 * SECOND);
    assert_eq!((link.timeout(), link.poll(start + 30 * SECOND)), (None, None));
    link.set_up(OWN, true, start + 60 * SECOND);
    assert_eq!(link.neighbour(), Some(NEIGHBOUR));
    let sent = run(&mut link, start, 70 * SECOND);
    assert_eq!(times(&sent, Transmit::Advertisement { to: ALL_NODES })[..2], [60, 63]);
}

proptest! {
    /// Whatever is heard, what we send to all keeps its distance, and so does what we ask.
    #[test]
    fn noise_makes_no_noise(events in proptest::collection::vec((0_u16..6, 0_u64..2000), 1..200)) {
        let (mut link, start) = link();
        let (mut end, mut sent) = (Duration::ZERO, Vec::new());
        for (event, millis) in events {
            let now = start + end;
            match event {
                0 => link.handle(Message::Solicitation { from: None }, now),
                1 => link.handle(Message::Solicitation { from: Some(OTHER) }, now),
                2 => link.set_session(millis % 2 == 0, now),
                3 => link.set_up(OWN, millis % 4 != 0, now),
                number => link.handle(advertised(address(number)), now),
            }
            end += Duration::from_millis(millis);
            sent.extend(run(&mut link, start, end));
        }
        for (what, least) in [
            (Transmit::Advertisement { to: ALL_NODES }, SHORT_INTERVAL),
            (Transmit::Solicitation, MIN_SOLICITATION_INTERVAL),
        ] {
            let at: Vec<_> = sent.iter().filter(|one| one.1 == what).map(|one| one.0).collect();
            prop_assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= least), "{what:?} {at:?}");
        }
        let to: BTreeSet<_> = [ALL_NODES, OTHER, address(4), address(5)].into();
        for (_, transmit) in sent {
            if let Transmit::Advertisement { to: one } = transmit {
                prop_assert!(to.contains(&one));
            }
        }
    }
}
