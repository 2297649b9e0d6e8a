use std::time::Duration;

use tokio::time::sleep;

use super::{graceless, replace};
use crate::lab::{
    frr::Frr,
    node::v4,
    setup::{OTHERS, OWN, with_frr},
};

const OUR_ADDRESS: &str = "192.0.2.1";

/// How many UPDATEs FRR has sent and received, and how often it has had the session.
pub(crate) fn session(frr: &Frr, neighbor: &str) -> Vec<String> {
    let all = frr.ask(&format!("show bgp neighbors {neighbor}"));
    let of = ["Connections established", "Updates:"];
    let lines = all.lines().filter(|line| of.iter().any(|what| line.contains(what)));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn frr_without_graceful_restart_sees_nothing() {
    with_frr("", "", graceless(65001), async |frr, mut node| {
        let before = session(&frr, OUR_ADDRESS);
        assert!(before[1].contains("Connections established 1; dropped 0"), "{before:?}");
        for _ in 0..3 {
            node = replace(node, graceless(65001), &OWN).await;
        }
        sleep(Duration::from_secs(11)).await;
        assert_eq!(session(&frr, OUR_ADDRESS), before);
        assert!(frr.has_ours());
        assert_eq!(node.hops(OTHERS[0]), [v4(2)]);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}
