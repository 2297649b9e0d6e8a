use std::sync::Arc;

use super::with_bird::with_password;
use crate::lab::{gobgp::with_gobgp_and, node::v4};

#[test]
fn a_password_makes_a_session_and_another_ends_it() {
    let options = "auth-password = \"s3cret\"|";
    let ours = with_password(Some("s3cret"));
    with_gobgp_and(options, 65001, ours, async |_, node| {
        node.config.send_replace(Arc::new(with_password(Some("other"))));
        node.wait("ended", async |node| !node.established(v4(2)).await).await;
        node.config.send_replace(Arc::new(with_password(Some("s3cret"))));
        node.wait("back", async |node| node.established(v4(2)).await).await;
    });
}
