use std::sync::Arc;

use bgp_speaker::LimitAction;

use super::with_bird::with_limit;
use crate::lab::{gobgp::with_gobgp_and, node::v4};

#[test]
fn a_session_over_its_limit_ends_with_a_cease() {
    let ours = with_limit(9, LimitAction::Close);
    with_gobgp_and("", 65001, ours, async |gobgp, node| {
        node.config.send_replace(Arc::new(with_limit(0, LimitAction::Close)));
        node.wait("ended", async |node| !node.established(v4(2)).await).await;
        // The log has code, subcode and data of the NOTIFICATION: AFI 1, SAFI 1, none.
        node.wait("told", async |_| gobgp.log().to_lowercase().contains("maximum")).await;
    });
}
