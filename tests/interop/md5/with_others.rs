use std::sync::Arc;

use super::with_bird::with_password;
use crate::lab::{
    node::v4,
    other::{Maker, Theirs, with_other},
};

#[test]
fn a_password_makes_a_session_and_another_ends_it() {
    for (maker, neighbour) in
        [(Maker::OpenBgpd, "tcp md5sig password s3cret"), (Maker::ExaBgp, "md5-password s3cret;")]
    {
        let ours = with_password(Some("s3cret"));
        with_other(Theirs::new(maker, neighbour), ours, async |other, node| {
            node.config.send_replace(Arc::new(with_password(Some("other"))));
            node.wait("ended", async |node| !node.established(v4(2)).await).await;
            node.config.send_replace(Arc::new(with_password(Some("s3cret"))));
            other.retry();
            node.wait("back", async |node| node.established(v4(2)).await).await;
        });
    }
}
