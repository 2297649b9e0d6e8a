use std::sync::Arc;

use super::with_bird::with_shutdown;
use crate::lab::{
    node::{Node, v4},
    setup::with_frr,
};

const STATE: &str = "show bgp neighbors 192.0.2.1";

#[test]
fn words_pass_both_ways() {
    with_frr("graceful-restart-disable", "", with_shutdown(None), async |frr, node| {
        node.config.send_replace(Arc::new(with_shutdown(Some("new cables until five"))));
        let words = "\"lastShutdownDescription\":\"new cables until five\"";
        let shown = async |_: &Node| frr.ask(&format!("{STATE} json")).contains(words);
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

/// Where both keep routes over a NOTIFICATION the end is a hard reset (RFC 8538 §3), of which FRR
/// shows the code and not the words.
#[test]
fn a_hard_reset_is_read() {
    with_frr("", "", with_shutdown(None), async |frr, node| {
        node.config.send_replace(Arc::new(with_shutdown(Some("new cables until five"))));
        let ended = "Notification received (Cease/Administrative Shutdown/Hard Reset)";
        node.wait("frr has read it", async |_| frr.ask(STATE).contains(ended)).await;
    });
}
