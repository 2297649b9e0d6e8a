use std::sync::Arc;

use super::with_bird::with_shutdown;
use crate::lab::{
    node::{Node, v4},
    other::{Maker, Other, Theirs, with_other},
};

/// ExaBGP 4.2 stumbles over any words (under Python 3), so it gets none.
#[test]
fn words_pass_both_ways() {
    for (maker, words, shown) in [
        (Maker::OpenBgpd, "new cables", "new cables"),
        (Maker::ExaBgp, "", r#""code": 6, "subcode": 2"#),
    ] {
        with_other(Theirs::new(maker, ""), with_shutdown(None), async move |other, node| {
            node.config.send_replace(Arc::new(with_shutdown(Some(words))));
            node.wait("told", async |_| other.log().contains(shown)).await;
            node.config.send_replace(Arc::new(with_shutdown(None)));
            other.retry();
            // Established there as well: an order before that is forgotten.
            let back = async |node: &Node| node.handle.sessions().borrow().told == 1;
            node.wait("back", back).await;
            let words = match &other {
                Other::OpenBgpd(bgpd) => {
                    bgpd.ask("neighbor 192.0.2.1 down night-shift");
                    "night-shift"
                }
                // It has no words of its own to send.
                Other::ExaBgp(exabgp) => {
                    exabgp.order("neighbor 192.0.2.1 teardown 2");
                    ""
                }
                _ => unreachable!(),
            };
            let shown = async |node: &Node| {
                let error = node.peer(v4(2)).await.last_error.unwrap_or_default();
                error.contains("administrative shutdown (6/2)") && error.contains(words)
            };
            node.wait("shown", shown).await;
        });
    }
}
