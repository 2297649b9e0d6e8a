use std::sync::Arc;

use super::with_bird::with_shutdown;
use crate::lab::{node::v4, setup::with_frr};

#[test]
fn words_pass_both_ways() {
    with_frr("", "", with_shutdown(None), async |frr, node| {
        node.config.send_replace(Arc::new(with_shutdown(Some("new cables until five"))));
        let shown =
            async |_: &_| frr.ask("show bgp neighbors 192.0.2.1").contains("new cables until five");
        node.wait("frr shows the words", shown).await;
        node.config.send_replace(Arc::new(with_shutdown(None)));
        node.wait("back", async |node| node.established(v4(2)).await).await;
        let frrs = "configure\nrouter bgp 65001\nneighbor 192.0.2.1 shutdown message night shift";
        frr.ask(frrs);
        node.wait("ended", async |node| !node.established(v4(2)).await).await;
        let error = node.peer(v4(2)).await.last_error.unwrap();
        assert!(error.contains("administrative shutdown (6/2)"), "{error}");
        assert!(error.contains("night shift"), "{error}");
    });
}
