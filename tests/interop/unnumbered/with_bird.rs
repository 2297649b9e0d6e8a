use std::{sync::Arc, time::Duration};

use bgp_speaker::Config;
use tokio::time::sleep;

use super::{
    FAR, NEAR, bring_up, link_local, ours, runtime, wait_for_kernel, wait_for_theirs, wire,
};
use crate::lab::{
    bird::Bird,
    netns::{Netns, ip, isolated},
    node::{Node, PORT},
    setup::{BIRDS, OWN},
};
use crate::planned_restart::{bird_session, replace};

/// BIRD finds nobody by advertisements, and sends its own by another of its protocols.
pub(crate) fn bird_config(neighbor: &str) -> String {
    let [v4_route, v6_route] = BIRDS;
    format!(
        "router id 192.0.2.2;
         log stderr all;
         protocol device {{ scan time 1; }}
         protocol kernel kernel4 {{ ipv4 {{ export where source = RTS_BGP; }}; }}
         protocol kernel kernel6 {{ ipv6 {{ export where source = RTS_BGP; }}; }}
         protocol static static4 {{ ipv4; route {v4_route} blackhole; }}
         protocol static static6 {{ ipv6; route {v6_route} blackhole; }}
         protocol radv {{
             interface \"{FAR}\" {{ min ra interval 3; max ra interval 4; default lifetime 0; }};
         }}
         protocol bgp viaduct {{
             local port {PORT} as 65001;
             {neighbor}
             hold time 9;
             connect retry time 1;
             connect delay time 1;
             error wait time 1, 2;
             ipv4 {{ import all; export where source = RTS_STATIC; extended next hop on; }};
             ipv6 {{ import all; export where source = RTS_STATIC; }};
         }}"
    )
}

fn with_bird(neighbor: &str, test: impl AsyncFnOnce(Arc<Netns>, Bird, Node) + Send + 'static) {
    with_bird_of(bird_config(neighbor), ours(1, 64512, &[NEAR], 65001), test);
}

/// The same with all of BIRD's configuration and of ours.
pub(crate) fn with_bird_of(
    theirs: String,
    ours: Config,
    test: impl AsyncFnOnce(Arc<Netns>, Bird, Node) + Send + 'static,
) {
    isolated(move || {
        let netns = Arc::new(Netns::new());
        wire(&netns);
        runtime().block_on(async {
            let bird = Bird::start(netns.clone(), &theirs);
            let node = Node::start(ours, &OWN);
            wait_for_theirs(&node, "bird's routes", &[link_local(2)]).await;
            bird.wait_for_ours(&node).await;
            wait_for_kernel(&node, &netns).await;
            test(netns, bird, node).await;
        });
    });
}

#[test]
fn both_families_both_ways_and_over_a_loss_of_the_link() {
    let neighbor = format!("neighbor fe80::1%'{FAR}' port {PORT} as 64512;");
    with_bird(&neighbor, async |netns, _bird, node| {
        netns.run(|| ip(&format!("link set {FAR} down")));
        wait_for_theirs(&node, "nothing over a dead link", &[]).await;
        netns.run(|| bring_up(FAR, 2));
        wait_for_theirs(&node, "bird's routes again", &[link_local(2)]).await;
        wait_for_kernel(&node, &netns).await;
    });
}

#[test]
fn a_bird_that_waits_for_anybody_on_the_link() {
    let neighbor = format!("neighbor range fe80::/10 as 64512; interface \"{FAR}\";");
    with_bird(&neighbor, async |_, bird, _| {
        let protocols = bird.ask("show protocols");
        assert!(protocols.contains("Established"), "{protocols}");
    });
}

/// The next one knows whom the other has heard, and does not wait to hear them itself.
#[test]
fn a_planned_restart_is_not_seen() {
    let neighbor = format!("neighbor fe80::1%'{FAR}' port {PORT} as 64512;");
    with_bird(&neighbor, async |netns, bird, mut node| {
        // BIRD shows seconds.
        sleep(Duration::from_millis(2100)).await;
        let before = bird_session(&bird);
        for _ in 0..2 {
            node = replace(node, ours(1, 64512, &[NEAR], 65001), &OWN).await;
            assert_eq!(node.peer(link_local(2)).await.name(), "fe80::2%viaduct0");
            wait_for_theirs(&node, "the same routes", &[link_local(2)]).await;
        }
        // Longer than the hold time, and than a neighbour is asked for that is not heard.
        sleep(Duration::from_secs(11)).await;
        assert_eq!(bird_session(&bird), before);
        assert_eq!(node.peer(link_local(2)).await.flaps, 0);
        wait_for_theirs(&node, "the same routes", &[link_local(2)]).await;
        // It listens on the link, and looks for whoever is there.
        netns.run(|| ip(&format!("link set {FAR} down")));
        wait_for_theirs(&node, "nothing over a dead link", &[]).await;
        netns.run(|| bring_up(FAR, 2));
        wait_for_theirs(&node, "bird's routes again", &[link_local(2)]).await;
    });
}
