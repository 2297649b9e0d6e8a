use std::sync::Arc;

use super::with_bird::with_shutdown;
use crate::lab::{gobgp::with_gobgp_and, node::v4};

#[test]
fn words_pass_both_ways() {
    with_gobgp_and("", 65001, with_shutdown(None), async |gobgp, node| {
        node.config.send_replace(Arc::new(with_shutdown(Some("new cables"))));
        node.wait("told", async |_| gobgp.log().contains("new cables")).await;
        node.config.send_replace(Arc::new(with_shutdown(None)));
        node.wait("back", async |node| node.established(v4(2)).await).await;
        gobgp.ask("neighbor 192.0.2.1 shutdown night");
        node.wait("ended", async |node| !node.established(v4(2)).await).await;
        let error = node.peer(v4(2)).await.last_error.unwrap();
        assert!(error.contains("administrative shutdown (6/2)"), "{error}");
    });
}
