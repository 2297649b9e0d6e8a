use super::with_bird::open;
use crate::lab::{node::v4, setup::with_frr};

#[test]
fn frr_is_a_peer_while_its_session_lasts() {
    with_frr("password s3cret", "", open(Some("s3cret")), async |frr, node| {
        assert_eq!(node.peer(v4(2)).await.asn, 65001);
        frr.ask("configure\nrouter bgp 65001\nneighbor 192.0.2.1 shutdown");
        node.wait("gone", async |node| node.handle.peers().await.unwrap().is_empty()).await;
    });
}
