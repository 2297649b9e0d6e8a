use std::{net::IpAddr, sync::Arc};

use bgp_speaker::{Config, Password, RangeAsns, RangeConfig, Transport};

use crate::lab::{
    node::{config, prefix, v4},
    setup::{BIRDS, with_bird_and},
};

/// A node without a peer, which takes whoever comes from 192.0.2.0/24 and knows the word.
pub(crate) fn open(word: Option<&str>) -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    let mut peer = config.peers.remove(&v4(2)).unwrap();
    peer.passive = true;
    peer.transport = Transport {
        md5: word.map(|word| Password::try_from(word.as_bytes()).unwrap()),
        ..Transport::default()
    };
    let range = RangeConfig { peer, asns: RangeAsns::External, limit: 1 };
    config.ranges.insert(prefix("192.0.2.0/24"), range);
    config
}

#[test]
fn bird_is_a_peer_while_its_session_lasts() {
    with_bird_and("", 65001, open(None), async |bird, node| {
        let peer = node.peer(v4(2)).await;
        assert_eq!((peer.asn, peer.range), (65001, Some(prefix("192.0.2.0/24"))));
        bird.ask("disable viaduct");
        node.wait("gone", async |node| node.handle.peers().await.unwrap().is_empty()).await;
        assert_eq!(node.hops(BIRDS[0]), [] as [IpAddr; 0]);
        bird.ask("enable viaduct");
        node.wait("back", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
    });
}

/// The listener knows the password by the prefix.
#[test]
fn a_range_has_a_password() {
    with_bird_and("password \"s3cret\";", 65001, open(Some("s3cret")), async |bird, node| {
        node.config.send_replace(Arc::new(open(Some("other"))));
        node.wait("gone", async |node| node.handle.peers().await.unwrap().is_empty()).await;
        node.config.send_replace(Arc::new(open(Some("s3cret"))));
        node.wait("back", async |node| node.hops(BIRDS[0]) == [v4(2)]).await;
        drop(bird);
    });
}
