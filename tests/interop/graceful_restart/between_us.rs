use bgpd::Stop;

use crate::lab::{
    node::{Node, config, v4},
    setup::{PAIR, pair, with_addresses},
};

#[test]
fn a_restart_is_not_noticed_by_the_fib_of_the_peer() {
    with_addresses(&[1, 2], async || {
        let (a, mut b) = pair(v4).await;
        for _ in 0..3 {
            b.handle.shutdown(Stop::Restart).await;
            drop(b);
            a.wait("stale", async |a| a.peer(v4(2)).await.prefixes_stale == 2).await;
            let mut again = config(2, 64512, &[(v4(1), 64512)]);
            again.restarting = true;
            b = Node::start(again, PAIR[1]);
            b.wait("in sync", async |b| b.synced()).await;
            a.wait("fresh", async |a| a.peer(v4(2)).await.prefixes_stale == 0).await;
            assert!(a.established(v4(2)).await);
        }
        assert!(a.fib.lock().unwrap().withdrawn.is_empty());
    });
}
