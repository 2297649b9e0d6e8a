use std::sync::Arc;

use bgp_speaker::LimitAction;

use super::with_bird::with_limit;
use crate::lab::{node::v4, setup::with_frr};

#[test]
fn a_session_over_its_limit_ends_with_a_cease_that_frr_shows() {
    with_frr("", "", with_limit(9, LimitAction::Close), async |frr, node| {
        node.config.send_replace(Arc::new(with_limit(0, LimitAction::Close)));
        node.wait("ended", async |node| !node.established(v4(2)).await).await;
        let shown = async |_: &_| {
            frr.ask("show bgp neighbors 192.0.2.1").contains("Maximum Number of Prefixes Reached")
        };
        node.wait("frr shows why", shown).await;
    });
}
