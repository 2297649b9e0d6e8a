use std::sync::Arc;

use super::{FAR, NEAR, bring_up, far_node, link_local, ours, runtime, wire};
use crate::lab::{
    netns::{Netns, ip, isolated},
    node::Node,
    setup::PAIR,
};

/// Two nodes with a session over one link, both in sync.
pub(super) fn with_pair(test: impl AsyncFnOnce(&Netns, &Node, &Node) + Send + 'static) {
    with_pair_within(|| (), test);
}

/// The same, with what `begin` gives held from before the first of them starts.
pub(super) fn with_pair_within<T>(
    begin: impl FnOnce() -> T + Send + 'static,
    test: impl AsyncFnOnce(&Netns, &Node, &Node) + Send + 'static,
) {
    isolated(|| {
        let _held = begin();
        let netns = Arc::new(Netns::new());
        wire(&netns);
        let (far_runtime, far) = far_node(&netns, ours(2, 64513, &[FAR], 64512), PAIR[1]);
        runtime().block_on(async {
            let near = Node::start(ours(1, 64512, &[NEAR], 64513), PAIR[0]);
            wait_for_each_other(&near, &far, 2).await;
            test(&netns, &near, &far).await;
        });
        far_runtime.shutdown_background();
    });
}

async fn wait_for_each_other(near: &Node, far: &Node, far_number: u16) {
    let has = |node: &Node, prefixes: &[&str], number| {
        prefixes.iter().all(|prefix| node.hops(prefix) == [link_local(number)])
    };
    near.wait("far's routes", async |near| has(near, PAIR[1], far_number)).await;
    far.wait("near's routes", async |far| has(far, PAIR[0], 1)).await;
}

#[test]
fn both_families_pass_and_the_peer_has_a_readable_name() {
    with_pair(async |_, near, far| {
        let peer = near.peer(link_local(2)).await;
        assert_eq!(peer.name(), "fe80::2%viaduct0");
        assert_eq!((peer.state.as_str(), peer.last_error), ("Established", None));
        assert_eq!(far.peer(link_local(1)).await.name(), "fe80::1%viaduct1");
        let metrics = near.handle.metrics().await.unwrap();
        assert!(metrics.contains("established{peer=\"fe80::2%viaduct0\"} 1"), "{metrics}");
        let routes = near.handle.routes().await.unwrap();
        let theirs = routes.iter().find(|path| path.peer.is_some()).unwrap();
        assert_eq!(theirs.peer, Some(link_local(2)));
    });
}

#[test]
fn the_link_goes_and_comes_back() {
    with_pair(async |netns, near, far| {
        netns.run(|| ip(&format!("link set {FAR} down")));
        near.wait("no routes over a dead link", async |near| {
            near.hops(PAIR[1][0]).is_empty() && near.hops(PAIR[1][1]).is_empty()
        })
        .await;
        let peer = near.peer(link_local(2)).await;
        assert_eq!(peer.last_error.as_deref(), Some("the interface is down"));
        netns.run(|| bring_up(FAR, 2));
        wait_for_each_other(near, far, 2).await;
    });
}

#[test]
fn the_neighbour_changes_its_address() {
    with_pair(async |netns, near, far| {
        netns.run(|| {
            ip(&format!("addr add fe80::3/64 dev {FAR} nodad"));
            ip(&format!("addr del fe80::2/64 dev {FAR}"));
        });
        wait_for_each_other(near, far, 3).await;
        let peers = near.handle.peers().await.unwrap();
        let names: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
        assert_eq!(names, ["fe80::3%viaduct0"], "one neighbour, the new one");
    });
}

#[test]
fn the_interface_comes_late_and_again_with_another_number() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        runtime().block_on(async {
            let near = Node::start(ours(1, 64512, &[NEAR], 64513), PAIR[0]);
            near.wait("an interface that is missing", async |near| {
                let peers = near.handle.peers().await.unwrap();
                let error = peers[0].last_error.clone();
                peers[0].name() == NEAR && error.as_deref() == Some("there is no such interface")
            })
            .await;
            wire(&netns);
            let (far_runtime, far) = far_node(&netns, ours(2, 64513, &[FAR], 64512), PAIR[1]);
            wait_for_each_other(&near, &far, 2).await;
            ip(&format!("link del {NEAR}"));
            near.wait("nobody any more", async |near| {
                near.hops(PAIR[1][0]).is_empty()
                    && near.handle.peers().await.unwrap()[0].name() == NEAR
            })
            .await;
            wire(&netns);
            wait_for_each_other(&near, &far, 2).await;
            far_runtime.shutdown_background();
        });
    });
}

/// Both neighbours are fe80::2, and both see fe80::1.
#[test]
fn one_address_on_two_links_is_two_neighbours() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        wire(&netns);
        netns.wire("viaduct2", "viaduct3");
        bring_up("viaduct2", 1);
        netns.run(|| bring_up("viaduct3", 2));
        let config = ours(2, 64513, &[FAR, "viaduct3"], 64512);
        let (far_runtime, _far) = far_node(&netns, config, PAIR[1]);
        runtime().block_on(async {
            let near = Node::start(ours(1, 64512, &[NEAR, "viaduct2"], 64513), PAIR[0]);
            near.wait("two sessions", async |near| {
                let peers = near.handle.peers().await.unwrap();
                let established = peers.iter().filter(|peer| peer.state == "Established");
                let mut names: Vec<_> = established.map(|peer| peer.name()).collect();
                names.sort();
                names == ["fe80::2%viaduct0", "fe80::2%viaduct2"]
            })
            .await;
            near.wait("a path by each of them", async |near| {
                let routes = near.handle.routes().await.unwrap();
                let of = |prefix: &str| {
                    let paths = routes.iter().filter(|path| path.prefix.to_string() == prefix);
                    let hops = paths.flat_map(|path| path.resolved.clone());
                    hops.collect::<std::collections::BTreeSet<_>>().len()
                };
                PAIR[1].iter().all(|prefix| of(prefix) == 2)
            })
            .await;
        });
        far_runtime.shutdown_background();
    });
}
