//! Two nodes of ours in one namespace.

use std::net::IpAddr;

use bgp_bfd::{Path, Profile};
use bgp_speaker::{BfdConfig, Config};
use bgpd::Stop;

use crate::lab::{
    node::{Node, config, v4, v6},
    setup::{PAIR, with_addresses},
};

fn watched(number: u8, peer: IpAddr, is_watched: bool) -> Config {
    let mut config = config(number, 64512, &[(peer, 64512)]);
    let profile = Profile::new(50, 50, 3).unwrap();
    let bfd = BfdConfig { path: Path::SingleHop, profile };
    config.peers.get_mut(&peer).unwrap().bfd = is_watched.then_some(bfd);
    config
}

async fn pair(address: fn(u8) -> IpAddr) -> (Node, Node) {
    let a = Node::start(watched(1, address(2), true), PAIR[0]);
    let b = Node::start(watched(2, address(1), true), PAIR[1]);
    a.wait("a knows b's", async |a| a.hops("10.2.0.0/24") == [v4(2)]).await;
    b.wait("b knows a's", async |b| b.hops("fd00:1::/64") == [v6(1)]).await;
    a.bfd_up(address(2)).await;
    b.bfd_up(address(1)).await;
    (a, b)
}

#[test]
fn a_session_over_ipv6_that_is_not_wanted_any_more_ends_without_a_loss() {
    with_addresses(&[1, 2], async || {
        let (a, b) = pair(v6).await;
        a.config.send_replace(watched(1, v6(2), false).into());
        b.wait("held down", async |b| {
            b.bfd(v6(1)).await.remote_state.as_deref() == Some("AdminDown")
        })
        .await;
        b.wait("its farewell over", async |b| b.bfd(v6(1)).await.remote_state.is_none()).await;
        for (node, peer) in [(&a, v6(2)), (&b, v6(1))] {
            assert_eq!(node.peer(peer).await.flaps, 0);
            assert!(node.established(peer).await);
        }
        a.config.send_replace(watched(1, v6(2), true).into());
        a.bfd_up(v6(2)).await;
        assert_eq!(b.peer(v6(1)).await.flaps, 0);
    });
}

/// By intent and by a crash: the other's BFD sees it each time, and its routes stay.
#[test]
fn a_restart_is_not_noticed_by_the_fib_of_the_peer() {
    with_addresses(&[1, 2], async || {
        let (a, mut b) = pair(v4).await;
        for by_intent in [true, false, true, false] {
            if by_intent {
                b.handle.shutdown(Stop::Restart).await;
            }
            drop(b);
            a.wait("stale", async |a| a.peer(v4(2)).await.prefixes_stale == 2).await;
            a.wait("BFD down", async |a| a.bfd(v4(2)).await.state == "Down").await;
            assert!(a.handle.lost().borrow().is_empty());
            let mut again = watched(2, v4(1), true);
            again.restarting = true;
            b = Node::start(again, PAIR[1]);
            b.wait("in sync", async |b| b.synced()).await;
            a.wait("fresh", async |a| a.peer(v4(2)).await.prefixes_stale == 0).await;
            a.bfd_up(v4(2)).await;
            b.bfd_up(v4(1)).await;
        }
        assert!(a.fib.lock().unwrap().withdrawn.is_empty());
    });
}

/// The port is someone else's for a while: it is said, and tried again.
#[test]
fn a_port_that_is_taken_is_named_and_had_later() {
    with_addresses(&[1, 2], async || {
        let other = std::net::UdpSocket::bind((v4(1), 3784)).unwrap();
        let a = Node::start(watched(1, v4(2), true), PAIR[0]);
        let b = Node::start(watched(2, v4(1), true), PAIR[1]);
        a.wait("a problem", async |a| !a.handle.bfd().await.unwrap().problems.is_empty()).await;
        let problem = a.handle.bfd().await.unwrap().problems.concat();
        assert!(problem.starts_with("cannot listen for BFD at 192.0.2.1:3784: "), "{problem}");
        drop(other);
        a.wait("none", async |a| a.handle.bfd().await.unwrap().problems.is_empty()).await;
        a.bfd_up(v4(2)).await;
        b.bfd_up(v4(1)).await;
    });
}
