use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    FAR, NEAR, bring_up, link_local, ours, runtime, wait_for_kernel, wait_for_theirs, wire,
};
use crate::lab::{
    frr::{Frr, FrrConfig},
    netns::{Netns, ip, isolated},
    node::{Node, PORT},
    setup::{OTHERS, OWN},
};
use crate::planned_restart::{frr_session, replace};

/// Whoever is at these interfaces is a neighbour, with `options` beside what each of them has.
pub(crate) fn frr_config(interfaces: &[&str], options: &str) -> String {
    let lines = format!(
        "interface remote-as external
         port {PORT}
         timers 3 9
         timers connect 1
         {options}"
    );
    let lines = || lines.lines().map(str::trim).filter(|line| !line.is_empty());
    let of = |name| lines().map(move |line| format!(" neighbor {name} {line}\n"));
    let neighbors: String = interfaces.iter().flat_map(of).collect();
    let activated = interfaces.iter().map(|name| format!("  neighbor {name} activate\n"));
    let activated: String = activated.collect();
    let [v4_route, v6_route] = OTHERS;
    format!(
        "router bgp 65001
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
{neighbors} address-family ipv4 unicast
  network {v4_route}
 exit-address-family
 address-family ipv6 unicast
  network {v6_route}
{activated} exit-address-family
"
    )
}

#[test]
fn both_families_both_ways_and_over_a_loss_of_the_link() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        wire(&netns);
        runtime().block_on(async {
            let frr =
                Frr::start(netns.clone(), FrrConfig { bgpd: &frr_config(&[FAR], ""), bfdd: "" });
            let node = Node::start(ours(1, 64512, &[NEAR], 65001), &OWN);
            wait_for_theirs(&node, "frr's routes", &[link_local(2)]).await;
            node.wait("frr has ours", async |_| frr.has_ours()).await;
            wait_for_kernel(&node, &netns).await;
            let neighbor = frr.ask(&format!("show bgp neighbors {FAR}"));
            assert!(neighbor.contains("Extended nexthop: advertised and received"), "{neighbor}");

            netns.run(|| ip(&format!("link set {FAR} down")));
            wait_for_theirs(&node, "nothing over a dead link", &[]).await;
            netns.run(|| bring_up(FAR, 2));
            wait_for_theirs(&node, "frr's routes again", &[link_local(2)]).await;
            wait_for_kernel(&node, &netns).await;
        });
    });
}

#[test]
fn a_planned_restart_is_not_seen() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        wire(&netns);
        runtime().block_on(async {
            let frr =
                Frr::start(netns.clone(), FrrConfig { bgpd: &frr_config(&[FAR], ""), bfdd: "" });
            let ours = || ours(1, 64512, &[NEAR], 65001);
            let mut node = Node::start(ours(), &OWN);
            wait_for_theirs(&node, "frr's routes", &[link_local(2)]).await;
            node.wait("frr has ours", async |_| frr.has_ours()).await;
            let before = frr_session(&frr, FAR);
            assert!(before[1].contains("Connections established 1; dropped 0"), "{before:?}");
            for _ in 0..2 {
                node = replace(node, ours(), &OWN).await;
                wait_for_theirs(&node, "the same routes", &[link_local(2)]).await;
            }
            sleep(Duration::from_secs(11)).await;
            assert_eq!(frr_session(&frr, FAR), before);
            assert!(frr.has_ours());
            assert_eq!(node.peer(link_local(2)).await.flaps, 0);
        });
    });
}
