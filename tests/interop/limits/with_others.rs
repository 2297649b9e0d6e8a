use std::sync::Arc;

use bgp_speaker::LimitAction;

use super::with_bird::with_limit;
use crate::lab::{
    node::{Node, config, v4},
    other::{Maker, Theirs, with_other},
    setup::OWN,
};

#[test]
fn a_session_over_our_limit_ends_with_a_cease() {
    for (maker, said) in [
        (Maker::OpenBgpd, "cease, received max-prefix exceeded"),
        (Maker::ExaBgp, r#""code": 6, "subcode": 1"#),
    ] {
        let ours = with_limit(9, LimitAction::Close);
        with_other(Theirs::new(maker, ""), ours, async move |other, node| {
            node.config.send_replace(Arc::new(with_limit(0, LimitAction::Close)));
            node.wait("ended", async |node| !node.established(v4(2)).await).await;
            node.wait("told", async |_| other.log().to_lowercase().contains(said)).await;
        });
    }
}

/// They have the limit, and our side shows their word.
#[test]
fn a_limit_of_theirs_is_shown() {
    for (maker, neighbour, globals) in [
        (Maker::GoBgp, "", "[neighbors.afi-safis.prefix-limit.config]\nmax-prefixes = 1"),
        (Maker::OpenBgpd, "max-prefix 2", ""),
    ] {
        let ours = config(1, 64512, &[(v4(2), 65001)]);
        let theirs = Theirs { globals, ..Theirs::new(maker, neighbour) };
        with_other(theirs, ours, async |_other, node| {
            node.originate(&[OWN[0], OWN[1], "10.1.1.0/24", "fd00:1:1::/64"]);
            let said = async |node: &Node| {
                let error = node.peer(v4(2)).await.last_error.unwrap_or_default();
                error.contains("maximum number of prefixes reached (6/1)")
            };
            node.wait("shown", said).await;
        });
    }
}
