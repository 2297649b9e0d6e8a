use std::net::UdpSocket;

use bgp_bfd::Path;

use super::{FASTEST, watched, watching_bird};
use crate::lab::{node::v4, setup::with_bird_of};

#[test]
fn a_session_comes_up_both_ways_with_the_times_that_were_asked_for() {
    let ours = watched(v4(2), [50, 60, 3], Path::SingleHop);
    with_bird_of(watching_bird([80, 70, 5]), ours, async |bird, node| {
        let session = node.bfd_up(v4(2)).await;
        // As fast as BIRD can take; and five times what BIRD sends.
        assert_eq!(session.transmit_micros, Some(70_000));
        assert_eq!(session.detection_micros, Some(5 * 80_000));
        assert_eq!(
            (session.remote_state.as_deref(), session.remote_multiplier),
            (Some("Up"), Some(5))
        );
        let theirs = bird.ask("show bfd sessions");
        node.wait("bird has settled, too", async |_| {
            let theirs = bird.ask("show bfd sessions");
            let line = theirs.lines().find(|line| line.contains("192.0.2.1")).unwrap_or_default();
            let words: Vec<_> = line.split_whitespace().collect();
            // Interval and timeout, in seconds.
            words.contains(&"Up") && words.ends_with(&["0.080", "0.210"])
        })
        .await;
        println!("{theirs}");
        assert!(node.is_watched_and_up().await);
        let metrics = node.handle.metrics().await.unwrap();
        assert!(metrics.contains("viaduct_bfd_session_up{peer=\"192.0.2.2\"} 1\n"), "{metrics}");
        let status = node.handle.bfd().await.unwrap();
        assert!(status.discarded.values().all(|count| *count == 0), "{:?}", status.discarded);
        assert_eq!(status.send_errors, 0);
    });
}

#[test]
fn times_change_while_the_session_is_up() {
    let ours = watched(v4(2), [300, 300, 3], Path::SingleHop);
    with_bird_of(watching_bird(FASTEST), ours, async |bird, node| {
        let before = node.bfd_up(v4(2)).await;
        assert_eq!(before.transmit_micros, Some(300_000));
        node.config.send_replace(watched(v4(2), [60, 400, 4], Path::SingleHop).into());
        node.wait("our new times", async |node| {
            let session = node.bfd(v4(2)).await;
            session.transmit_micros == Some(60_000) && session.detection_micros == Some(1_200_000)
        })
        .await;
        node.wait("bird's new times", async |_| {
            let theirs = bird.ask("show bfd sessions");
            theirs.contains("0.400") && theirs.contains("0.240")
        })
        .await;
        let after = node.bfd(v4(2)).await;
        assert_eq!((after.ups, after.downs), (1, 0));
    });
}

/// GTSM (RFC 5881 §5): packets that have passed a router, however good they are otherwise.
#[test]
fn what_has_passed_a_router_is_discarded_and_counted() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    with_bird_of(watching_bird(FASTEST), ours, async |bird, node| {
        let session = node.bfd_up(v4(2)).await;
        bird.netns().run(move || {
            let mut packet = [0; 24];
            // Version 1, AdminDown, multiplier 3: it would take the session down.
            packet[..4].copy_from_slice(&[1 << 5, 0, 3, 24]);
            packet[4..8].copy_from_slice(&7u32.to_be_bytes());
            packet[8..12].copy_from_slice(&session.local_discriminator.to_be_bytes());
            let socket = UdpSocket::bind((v4(2), 50_000)).unwrap();
            socket.set_ttl(254).unwrap();
            for _ in 0..10 {
                socket.send_to(&packet, (v4(1), 3784)).unwrap();
            }
        });
        node.wait("discarded", async |node| {
            node.handle.bfd().await.unwrap().discarded["ttl"] == 10
        })
        .await;
        assert!(node.is_watched_and_up().await);
        assert_eq!(node.bfd(v4(2)).await.downs, 0);
    });
}
