use bgp_speaker::{Config, LocalAs};
use viaduct_net::Asn;

use crate::lab::{
    node::{config, prefix, v4},
    setup::{BIRDS, with_bird_as},
};

/// Node 1 of AS 64512, which is AS 64777 to its peer.
pub(super) fn with_local_as(prepend_received: bool, replace_sent: bool) -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    let asn = Asn::new(64777);
    config.peers.get_mut(&v4(2)).unwrap().local_as =
        Some(LocalAs { asn, prepend_received, replace_sent });
    config
}

#[test]
fn bird_sees_the_other_as_before_ours_or_in_its_place() {
    for (prepends, replaces, here, there) in
        [(true, false, "64777 65001", "64777 64512"), (false, true, "65001", "64777")]
    {
        let ours = with_local_as(prepends, replaces);
        with_bird_as((65001, 64777), ours, async move |bird, node| {
            let routes = bird.ask("show route 10.1.0.0/24 all");
            assert!(routes.contains(&format!("BGP.as_path: {there}\n")), "{routes}");
            let paths = node.handle.routes().await.unwrap();
            let path = paths.iter().find(|path| path.prefix == prefix(BIRDS[0])).unwrap();
            assert_eq!(path.as_path, here);
        });
    }
}
