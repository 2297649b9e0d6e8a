//! RFC 6793: peers that know AS numbers of two octets alone.

use crate::lab::{
    node::{Node, config, prefix, v4},
    other::{Maker, Theirs, also_at, beside, in_sync},
    setup::OWN,
};

const LARGE: [u32; 2] = [4_200_000_001, 4_200_000_003];
const TRANS: u32 = 23456;
const THIRDS: [&str; 2] = ["10.3.0.0/24", "fd00:3::/64"];

/// OpenBGPD stands between two of us: it sees AS_TRANS, and hands on who it was (AS4_PATH).
#[test]
fn large_numbers_pass_through_a_small_speaker() {
    let theirs = Theirs {
        also: &[(3, LARGE[1], "announce as-4byte no")],
        ..Theirs::new(Maker::OpenBgpd, "announce as-4byte no")
    };
    beside(theirs, config(1, LARGE[0], &[(v4(2), 65001)]), async |other, node| {
        also_at(&[3]);
        let _third = Node::start(config(3, LARGE[1], &[(v4(2), 65001)]), &THIRDS);
        in_sync(&other, &node).await;
        let here = other.seen(OWN[0])[0].as_path.clone();
        assert!(["23456", "4200000001"].contains(&here.as_str()), "{here}");
        let through = async |node: &Node| {
            let paths = node.handle.routes().await.unwrap();
            let path = paths.iter().find(|path| path.prefix == prefix(THIRDS[0]));
            path.is_some_and(|path| path.as_path == "65001 4200000003")
        };
        node.wait("through it", through).await;
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

/// ExaBGP makes up a path of large numbers, and tells it over a session of small ones.
#[test]
fn exabgp_without_large_numbers() {
    let theirs = Theirs {
        peer_asn: Some(TRANS),
        globals: "route 198.51.100.0/24 { next-hop 192.0.2.2; as-path [ 65001 4200000009 65100 ]; }
                  route 2001:db8:ff00::/40 next-hop 2001:db8::2;",
        ..Theirs::new(Maker::ExaBgp, "capability { asn4 disable; }")
    };
    beside(theirs, config(1, LARGE[0], &[(v4(2), 65001)]), async |other, node| {
        in_sync(&other, &node).await;
        let paths = node.handle.routes().await.unwrap();
        let path = paths.iter().find(|path| path.prefix == prefix(other.own()[0])).unwrap();
        assert_eq!(path.as_path, "65001 4200000009 65100");
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}
