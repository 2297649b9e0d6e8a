use std::{sync::Arc, time::Duration};

use bgp_wire::{Families, NotificationCode};

use super::harness::{Network, v4, with_peers};
use crate::{Happening, MAX_WAITING_EVENTS, Speaker, SpeakerEvent};

fn events(speaker: &mut Speaker) -> Vec<SpeakerEvent> {
    std::iter::from_fn(|| speaker.poll_event()).collect()
}

fn names(events: &[SpeakerEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.what.name()).collect()
}

fn pair() -> Network {
    let mut network = Network::default();
    network.start(1, with_peers(1, 64512, &[(2, 64512)]));
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    network.wait_established(1, 2);
    network.run(Duration::from_secs(1));
    network
}

#[test]
fn a_session_is_told_from_its_beginning_to_its_end() {
    let mut network = pair();
    let told = events(network.speaker(1));
    assert!(names(&told).contains(&"session-up") && names(&told).contains(&"end-of-rib"));
    let numbers: Vec<_> = told.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=told.len() as u64).collect::<Vec<_>>());

    network.configure(2, with_peers(2, 64512, &[]));
    network.run(Duration::from_secs(1));
    let told = events(network.speaker(1));
    let [received, down] = &told[..2] else { unreachable!() };
    assert_eq!((received.peer, down.peer), (Some(v4(2)), Some(v4(2))));
    let Happening::NotificationReceived(notification) = &received.what else {
        panic!("{received:?}")
    };
    let inside = notification.inside_hard_reset().unwrap_or_else(|| notification.clone());
    assert_eq!(inside.code, NotificationCode::PeerDeconfigured);
    let Happening::SessionDown { reason, kept, .. } = &down.what else { panic!("{down:?}") };
    assert!(reason.as_ref().unwrap().contains("de-configured") && *kept == Families::NONE);
}

#[test]
fn a_change_of_configuration_says_what_has_changed() {
    let mut network = pair();
    events(network.speaker(1));
    let mut config = with_peers(1, 64512, &[(2, 64512), (3, 64512)]);
    let peer = config.peers.get_mut(&v4(2)).unwrap();
    peer.import = crate::Policy::reject_all();
    peer.max_prefixes = 5;
    config.deferral = Duration::from_secs(31);
    network.configure(1, config);
    let told = events(network.speaker(1));
    assert_eq!(names(&told), ["configuration", "configuration", "peer-added"]);
    assert_eq!(told[0].what.to_string(), "changed: deferral time");
    assert_eq!(told[1].what.to_string(), "changed: import policy, prefix limits");
}

#[test]
fn what_nobody_takes_is_bounded_and_what_is_lost_shows() {
    let mut network = pair();
    let config = with_peers(1, 64512, &[(2, 64512)]);
    let now = network.now();
    let speaker = network.speaker(1);
    for round in 0..MAX_WAITING_EVENTS as u64 + 10 {
        let mut config = config.clone();
        config.deferral = Duration::from_secs(100 + round);
        speaker.handle_config(Arc::new(config), now);
    }
    let told = events(speaker);
    assert_eq!(told.len(), MAX_WAITING_EVENTS);
    assert!(told[0].number > 10 && told.windows(2).all(|two| two[0].number + 1 == two[1].number));
}

#[test]
fn an_attempt_that_fails_again_and_again_is_told_once() {
    let mut network = Network::default();
    network.start(1, with_peers(1, 64512, &[(2, 64512)]));
    network.run(Duration::from_secs(60));
    let told = events(network.speaker(1));
    let failed = told.iter().filter(|event| event.what.name() == "attempt-failed");
    assert_eq!(failed.count(), 1, "{told:?}");
}
