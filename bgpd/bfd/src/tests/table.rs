use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use super::harness::{KEY, One, millis, profile};
use crate::{Bfd, Change, MAX_SESSIONS, Path, Profile, SessionKey, State};

fn sessions(count: u32) -> BTreeMap<SessionKey, Profile> {
    let key = |number: u32| SessionKey {
        peer: IpAddr::from((0x0a00_0000 + number).to_be_bytes()),
        path: if number.is_multiple_of(2) { Path::SingleHop } else { Path::Multihop },
    };
    (0..count).map(|number| (key(number), Profile::default())).collect()
}

#[test]
fn the_table_is_bounded_and_its_discriminators_are_unique_and_random() {
    let now = Instant::now();
    let mut bfd = Bfd::new(false, 1);
    assert!(bfd.set_sessions(&sessions(MAX_SESSIONS as u32 + 1), now).is_err());
    assert_eq!(bfd.statuses(now).len(), 0);
    bfd.set_sessions(&sessions(MAX_SESSIONS as u32), now).unwrap();
    bfd.handle_timeout(now);
    assert_eq!(std::iter::from_fn(|| bfd.poll_transmit()).count(), MAX_SESSIONS);
    let mut locals: Vec<_> =
        bfd.statuses(now).into_iter().map(|status| status.local_discriminator).collect();
    let in_order = locals.is_sorted();
    locals.sort_unstable();
    locals.dedup();
    assert!(!in_order && locals.len() == MAX_SESSIONS);
    let mut other = Bfd::new(false, 2);
    other.set_sessions(&sessions(1), now).unwrap();
    let local = other.statuses(now)[0].local_discriminator;
    assert!(locals.binary_search(&local).is_err(), "another run has other discriminators");
}

#[test]
fn sessions_that_nobody_has_heard_of_go_without_a_word() {
    let now = Instant::now();
    let mut bfd = Bfd::new(false, 1);
    bfd.set_sessions(&sessions(10), now).unwrap();
    bfd.set_sessions(&sessions(3), now).unwrap();
    assert_eq!((bfd.statuses(now).len(), bfd.keys().count()), (3, 3));
    bfd.set_sessions(&BTreeMap::new(), now).unwrap();
    assert_eq!((bfd.keys().count(), bfd.poll_timeout()), (0, None));
}

#[test]
fn a_session_that_goes_says_so_for_a_while_and_can_come_back_meanwhile() {
    let mut one = One::up(profile(50, 50, 3));
    let from = one.sent.len();
    one.remove();
    assert_eq!(one.bfd.statuses(one.now), []);
    assert_eq!(one.bfd.keys().collect::<Vec<_>>(), [KEY]);
    one.pass(millis(2000));
    assert!(one.sent.len() - from >= 3);
    assert!(one.sent[from..].iter().all(|(_, packet)| packet.state == State::AdminDown));

    one.set_profile(profile(50, 50, 3));
    assert_eq!(one.last().state, State::Down);
    one.hear(State::Down).unwrap();
    one.hear(State::Up).unwrap();
    assert_eq!(one.changes, [Change::Up, Change::Up]);

    one.remove();
    one.pass(millis(3000));
    assert_eq!((one.bfd.keys().count(), one.bfd.poll_timeout()), (0, None));
}
