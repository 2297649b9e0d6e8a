//! A router between us and BIRD (RFC 5883).

use std::{process::Command, sync::Arc};

use bgp_bfd::Path;
use bgp_speaker::Config;

use super::{FASTEST, TEN_TIMES, watched};
use crate::lab::{
    bird::Bird,
    netns::{Netns, ip, isolated, output},
    node::{Node, v4},
    setup::{BIRDS, OWN, bird_config},
};

/// The addresses of the speakers stand at their loopbacks; each reaches the other's by a router.
fn with_far_bird(ours: Config, test: impl AsyncFnOnce(Bird, Node) + Send + 'static) {
    const TIMES: &str = "min tx interval 50 ms; min rx interval 50 ms; multiplier 3;";
    let globals = format!("protocol bfd watch {{ multihop {{ {TIMES} }}; }}");
    let theirs = bird_config(65001, 64512, "multihop; bfd on;", &globals);
    isolated(move || {
        let (router, far) = (Netns::new(), Arc::new(Netns::new()));
        router.wire("near0", "near1");
        ip("addr add 10.99.1.1/24 dev near0");
        ip("link set near0 up");
        ip("addr add 192.0.2.1/32 dev lo");
        ip("addr add 2001:db8::1/128 dev lo nodad");
        ip("route add 192.0.2.2/32 via 10.99.1.254 src 192.0.2.1");
        let there = far.clone();
        router.run(move || {
            there.wire("far0", "far1");
            ip("addr add 10.99.1.254/24 dev near1");
            ip("addr add 10.99.2.254/24 dev far0");
            ip("link set near1 up");
            ip("link set far0 up");
            ip("route add 192.0.2.1/32 via 10.99.1.1");
            ip("route add 192.0.2.2/32 via 10.99.2.2");
            output(Command::new("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]));
        });
        far.run(|| {
            ip("addr add 10.99.2.2/24 dev far1");
            ip("link set far1 up");
            ip("addr add 192.0.2.2/32 dev lo");
            ip("addr add 2001:db8::2/128 dev lo nodad");
            ip("route add 192.0.2.1/32 via 10.99.2.254 src 192.0.2.2");
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bird = Bird::start(far, &theirs);
            let node = Node::start(ours, &OWN);
            node.wait("bird's route", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
            test(bird, node).await;
        });
    });
}

#[test]
fn a_session_over_a_router_comes_up_and_sees_a_loss() {
    with_far_bird(watched(v4(2), FASTEST, Path::Multihop), async |bird, node| {
        let session = node.bfd_up(v4(2)).await;
        assert!(session.multihop);
        assert_eq!(
            (session.transmit_micros, session.detection_micros),
            (Some(50_000), Some(150_000))
        );
        println!("{}", bird.ask("show bfd sessions"));
        let cut_there = || bird.netns().run(|| ip("link set far1 down"));
        let lost = node.lost_after("bird over a router, link cut", BIRDS[0], cut_there).await;
        assert!(lost < TEN_TIMES, "{lost:?}");
    });
}

/// BIRD watches over several hops, we over one: neither takes the other's packets, and the sessions of
/// BGP are there without.
#[test]
fn one_hop_and_several_do_not_mix() {
    with_far_bird(watched(v4(2), FASTEST, Path::SingleHop), async |bird, node| {
        node.wait("packets sent", async |node| node.bfd(v4(2)).await.packets_sent > 3).await;
        let session = node.bfd(v4(2)).await;
        assert_eq!((session.state.as_str(), session.packets_received), ("Down", 0));
        assert!(!bird.ask("show bfd sessions").contains(" Up "));
        assert!(node.established(v4(2)).await);
    });
}
