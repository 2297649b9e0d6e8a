//! However long it takes: a peer whose hold time is shorter hears from us meanwhile.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bgp_speaker::Config;
use bgp_wire::HoldTime;
use bgpd::Predecessor;
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    time::sleep,
};

use super::{graceless, with_bird::session};
use crate::lab::{
    bird::Bird,
    netns::{Netns, isolated},
    node::{Node, v4},
    setup::{OWN, bird_config},
};

/// The shortest hold time there is (RFC 4271 §4.2).
const HOLD_SECS: u16 = 3;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn ours() -> Config {
    let mut config = graceless(65001);
    for peer in config.peers.values_mut() {
        peer.hold_time = HoldTime::from_secs(HOLD_SECS).unwrap();
    }
    config
}

/// A BIRD that tells so many routes, with a session of [`HOLD_SECS`].
fn with_many(count: u32, test: impl AsyncFnOnce(Bird, Node) + Send + 'static) {
    let of = |number: u32| std::net::Ipv4Addr::from(0x1400_0000 + (number << 8));
    let routes: String =
        (0..count).map(|number| format!("route {}/24 blackhole;", of(number))).collect();
    let many = format!("protocol static many {{ ipv4; {routes} }}");
    let options = format!("graceful restart off; hold time {HOLD_SECS};");
    let theirs = bird_config(65001, 64512, &options, &many);
    isolated(move || {
        let netns = Arc::new(Netns::new());
        netns.link(1, 2);
        runtime().block_on(async {
            let bird = Bird::start(netns, &theirs);
            let node = Node::start(ours(), &OWN);
            node.wait("all of them", async |node| {
                node.fib.lock().unwrap().routes.len() >= count as usize
            })
            .await;
            bird.wait_for_ours(&node).await;
            // BIRD shows seconds.
            sleep(Duration::from_millis(1100)).await;
            test(bird, node).await;
        });
    });
}

/// The next one has a thread of its own, as another process would; it takes `pause` to think.
async fn replace_after(node: &Node, pause: Duration) -> (Runtime, Node, Duration) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("bgp-handover.sock");
    node.handle.offer(&path).unwrap();
    let (sender, next) = oneshot::channel();
    // Within the thread whose namespace this is.
    thread::spawn(move || {
        let runtime = runtime();
        let next = runtime.block_on(async {
            let begun = Instant::now();
            let predecessor = Predecessor::find(&path).await.unwrap().expect("somebody answers");
            println!("sent and read: {:?}", begun.elapsed());
            sleep(pause).await;
            let node = Node::start_after(predecessor, ours(), &OWN, Vec::new()).await;
            (node, begun.elapsed())
        });
        drop(sender.send((runtime, next.0, next.1)));
    });
    next.await.unwrap()
}

/// `REPEAT` times as many for a longer look.
fn count() -> u32 {
    let repeat = std::env::var("REPEAT").ok().and_then(|text| text.parse().ok());
    20_000 * repeat.unwrap_or(1)
}

#[test]
fn a_peer_with_the_shortest_hold_time_sees_nothing_of_a_long_handover() {
    with_many(count(), async |bird, node| {
        let before = session(&bird);
        let pause = Duration::from_secs(2 * u64::from(HOLD_SECS));
        let (runtime, next, elapsed) = replace_after(&node, pause).await;
        node.handle.ended().await;
        assert!(node.handle.was_handed_over());
        println!("{} routes, {:?} and the pause", count(), elapsed.saturating_sub(pause));
        drop(node);
        next.wait("all of them", async |next| {
            next.synced() && next.fib.lock().unwrap().routes.len() >= count() as usize
        })
        .await;
        // The hold time once more: keepalives go both ways.
        sleep(Duration::from_secs(u64::from(HOLD_SECS) + 1)).await;
        assert_eq!(session(&bird), before);
        assert_eq!(next.peer(v4(2)).await.flaps, 0);
        drop(next);
        runtime.shutdown_background();
    });
}

#[test]
fn a_successor_that_goes_away_late_leaves_everything_as_it_was() {
    with_many(1, async |bird, node| {
        let before = session(&bird);
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("bgp-handover.sock");
        node.handle.offer(&path).unwrap();
        let predecessor = Predecessor::find(&path).await.unwrap().unwrap();
        sleep(Duration::from_secs(2 * u64::from(HOLD_SECS))).await;
        drop(predecessor);
        sleep(Duration::from_secs(u64::from(HOLD_SECS) + 1)).await;
        assert_eq!(session(&bird), before);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
        node.originate(&["10.1.0.0/24", "10.3.0.0/24"]);
        node.wait("told", async |_| bird.routes().contains("10.3.0.0/24")).await;
    });
}
