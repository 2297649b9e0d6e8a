use std::{num::NonZeroU8, sync::Arc};

use bgp_speaker::{Config, Transport, Ttl};

use crate::lab::{
    node::{config, v4},
    setup::with_bird_and,
};

pub(super) fn with_ttl(ttl: Ttl, passive: bool) -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    let peer = config.peers.get_mut(&v4(2)).unwrap();
    peer.transport = Transport { ttl, ..Transport::default() };
    peer.passive = passive;
    config
}

pub(super) const NEIGHBOUR: Ttl = Ttl::Security { hops: NonZeroU8::MIN };

#[test]
fn both_sides_check_whoever_connects() {
    for (passive, bird) in [(true, ""), (false, "passive yes;")] {
        let options = format!("ttl security on; direct; {bird}");
        with_bird_and(&options, 65001, with_ttl(NEIGHBOUR, passive), async |_, node| {
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}

/// A BIRD without the option sends with a TTL of 1 to a neighbour: that is from too far away.
#[test]
fn packets_from_too_far_away_are_not_heard() {
    for passive in [true, false] {
        let open = with_ttl(Ttl::Kernel, passive);
        with_bird_and("", 65001, open, async move |bird, node| {
            node.config.send_replace(Arc::new(with_ttl(NEIGHBOUR, passive)));
            node.wait("ended", async |node| !node.established(v4(2)).await).await;
            let far = async |_: &_| !bird.ask("show protocols viaduct").contains("Established");
            node.wait("bird knows", far).await;
            bird.ask("restart viaduct");
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            assert!(!node.established(v4(2)).await);
            node.config.send_replace(Arc::new(with_ttl(Ttl::Kernel, passive)));
            node.wait("back", async |node| node.established(v4(2)).await).await;
        });
    }
}
