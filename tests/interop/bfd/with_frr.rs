use std::time::Duration;

use bgp_bfd::Path;
use tokio::time::sleep;

use super::{FASTEST, WATCHING_FRR, watched};
use crate::lab::{node::v4, setup::with_frr};

#[test]
fn a_session_comes_up_both_ways_with_the_times_that_were_asked_for() {
    let ours = watched(v4(2), [50, 60, 3], Path::SingleHop);
    with_frr("bfd 5 70 80", "", ours, async |frr, node| {
        let session = node.bfd_up(v4(2)).await;
        assert_eq!(session.transmit_micros, Some(70_000));
        assert_eq!(session.detection_micros, Some(5 * 80_000));
        assert!(!session.remote_control_plane_independent);
        node.wait("frr has settled, too", async |_| {
            let theirs = frr.ask("show bfd peers json");
            [
                r#""status":"up""#,
                r#""remote-detect-multiplier":3"#,
                r#""remote-receive-interval":60"#,
                r#""remote-transmit-interval":50"#,
            ]
            .iter()
            .all(|part| theirs.contains(part))
        })
        .await;
        println!("{}", frr.ask("show bfd peers"));
        assert!(node.is_watched_and_up().await);
    });
}

#[test]
fn a_peer_that_its_operator_holds_down_is_not_lost() {
    // Not the fastest: nothing but the operator's word is to end it, also on a machine where FRR gets
    // no time for a second.
    let ours = watched(v4(2), [50, 200, 10], Path::SingleHop);
    with_frr("bfd 10 50 50", "", ours, async |frr, node| {
        node.bfd_up(v4(2)).await;
        frr.ask("configure terminal\nbfd\npeer 192.0.2.1\nshutdown");
        node.wait("BFD down", async |node| node.bfd(v4(2)).await.state == "Down").await;
        let session = node.bfd(v4(2)).await;
        assert_eq!(session.remote_state.as_deref(), Some("AdminDown"));
        // Nothing happens, for four times as long as a loss takes to be seen.
        let detection = session.detection_micros.unwrap();
        assert_eq!(detection, 10 * 200_000);
        sleep(Duration::from_micros(4 * detection)).await;
        let peer = node.peer(v4(2)).await;
        assert_eq!((peer.state.as_str(), peer.flaps), ("Established", 0));
        assert_eq!(peer.prefixes_accepted, 2);
        frr.ask("configure terminal\nbfd\npeer 192.0.2.1\nno shutdown");
        node.bfd_up(v4(2)).await;
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

#[test]
fn a_peer_that_is_independent_of_its_control_plane_says_so() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    let options = "bfd 3 50 50\nbfd check-control-plane-failure";
    with_frr(options, "", ours, async |_frr, node| {
        assert!(node.bfd_up(v4(2)).await.remote_control_plane_independent);
    });
}

/// BIRD 2.0 and FRR 8.4 take the AdminDown of a neighbour for a loss all the same: BFD is to be taken
/// from their side first. That it is one they do see.
#[test]
fn a_session_that_is_not_wanted_any_more_is_said_to_be_held_down() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    let mut after = ours.clone();
    after.peers.values_mut().for_each(|peer| peer.bfd = None);
    with_frr(WATCHING_FRR, "", ours, async move |frr, node| {
        node.bfd_up(v4(2)).await;
        node.config.send_replace(after.into());
        node.wait("frr's session is down", async |_| {
            let theirs = frr.ask("show bfd peers json");
            theirs.contains(r#""status":"down""#)
                && theirs.contains(r#""remote-diagnostic":"administratively down""#)
        })
        .await;
        assert_eq!(node.peer(v4(2)).await.bfd, None);
    });
}
