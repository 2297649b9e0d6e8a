//! How soon a loss is seen.

use std::time::Duration;

use bgp_bfd::Path;

use super::{FASTEST, TEN_TIMES, WATCHING_FRR, cut, nft, watched, watching_bird};
use crate::lab::{
    netns::ip,
    node::v4,
    setup::{BIRDS, OTHERS, with_bird_of, with_frr},
};

fn drop_bfd() {
    for rule in [
        "add table inet cut",
        "add chain inet cut in { type filter hook input priority 0; }",
        "add rule inet cut in udp dport 3784 drop",
    ] {
        nft(rule);
    }
}

#[test]
fn the_link_to_bird_is_cut() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    with_bird_of(watching_bird(FASTEST), ours, async |bird, node| {
        node.bfd_up(v4(2)).await;
        let cut_there = || bird.netns().run(cut);
        let lost = node.lost_after("bird, link cut", BIRDS[0], cut_there).await;
        assert!(lost < TEN_TIMES, "{lost:?}");
        assert!(node.hops(BIRDS[1]).is_empty());
        let peer = node.peer(v4(2)).await;
        assert_eq!((peer.prefixes_stale, peer.flaps), (0, 1));
        assert_eq!(peer.bfd.as_deref(), Some("Down"));
        let error = peer.last_error.unwrap();
        assert!(error.starts_with("BFD down: "), "{error}");
        bird.netns().run(|| ip("link set viaduct1 up"));
        node.wait("back again", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
        node.bfd_up(v4(2)).await;
    });
}

/// TCP stands all the while, and carries the reason.
#[test]
fn packets_of_bird_no_longer_arrive() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    with_bird_of(watching_bird(FASTEST), ours, async |bird, node| {
        node.bfd_up(v4(2)).await;
        let lost = node.lost_after("bird, packets dropped here", BIRDS[0], drop_bfd).await;
        assert!(lost < TEN_TIMES, "{lost:?}");
        node.wait("bird has heard of it", async |_| !bird.has_ours()).await;
    });
}

#[test]
fn our_packets_no_longer_arrive_at_bird() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    with_bird_of(watching_bird(FASTEST), ours, async |bird, node| {
        node.bfd_up(v4(2)).await;
        let drop_there = || bird.netns().run(drop_bfd);
        let lost = node.lost_after("bird, packets dropped there", BIRDS[0], drop_there).await;
        assert!(lost < TEN_TIMES, "{lost:?}");
    });
}

#[test]
fn the_link_to_frr_is_cut() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    with_frr(WATCHING_FRR, "", ours, async |frr, node| {
        node.bfd_up(v4(2)).await;
        let cut_there = || frr.netns().run(cut);
        let lost = node.lost_after("frr, link cut", OTHERS[0], cut_there).await;
        assert!(lost < TEN_TIMES, "{lost:?}");
        frr.netns().run(|| ip("link set viaduct1 up"));
        node.wait("back again", async |node| node.hops(OTHERS[0]) == [v4(2)]).await;
    });
}

/// FRR's own loss of us, seen in its table.
#[test]
fn frr_loses_us() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    with_frr(WATCHING_FRR, "", ours, async |frr, node| {
        node.bfd_up(v4(2)).await;
        frr.netns().run(drop_bfd);
        let start = std::time::Instant::now();
        node.wait("frr has lost ours", async |_| !frr.has_ours()).await;
        println!("frr, packets dropped there: it has withdrawn after {:?}", start.elapsed());
        let log = frr.ask("show bgp neighbors 192.0.2.1");
        assert!(log.contains("BFD"), "{log}");
    });
}

/// The speaker and all of its runtime stand still; BFD does not.
#[test]
fn a_busy_speaker_keeps_no_packet_waiting() {
    let ours = watched(v4(2), FASTEST, Path::SingleHop);
    with_bird_of(watching_bird(FASTEST), ours, async |bird, node| {
        let before = node.bfd_up(v4(2)).await;
        std::thread::sleep(Duration::from_secs(3));
        let after = node.bfd(v4(2)).await;
        assert_eq!((after.ups, after.downs), (1, 0));
        let (sent, received) = (
            after.packets_sent - before.packets_sent,
            after.packets_received - before.packets_received,
        );
        println!("in 3 s without a runtime: {sent} packets sent, {received} received");
        // Every 37.5 to 50 ms, of each side.
        assert!(sent >= 50 && received >= 50);
        assert!(bird.ask("show bfd sessions").contains(" Up "));
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}
