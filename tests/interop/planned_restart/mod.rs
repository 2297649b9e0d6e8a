//! A speaker's place is taken by another process, and peers without graceful restart see nothing.

mod large;
mod replays;
mod with_bird;
mod with_frr;

pub(crate) use with_bird::session as bird_session;
pub(crate) use with_frr::session as frr_session;

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use bgp_speaker::{Config, RestartTime};
use bgpd::{Predecessor, Replay};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::lab::node::{Node, config, v4};

/// A node that keeps nothing over a lost session, and asks nobody to.
fn graceless(asn: u32) -> Config {
    let mut config = config(1, 64512, &[(v4(2), asn)]);
    config.restart_time = RestartTime::default();
    config
}

/// Another speaker goes on in a node's place; as it would in another process, over the socket.
pub(crate) async fn replace(node: Node, config: Config, originated: &[&str]) -> Node {
    replace_with(node, config, originated, Vec::new()).await
}

/// The same where the other one replays files.
async fn replace_with(
    node: Node,
    config: Config,
    originated: &[&str],
    replays: Vec<Replay>,
) -> Node {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("bgp-handover.sock");
    node.handle.offer(&path).unwrap();
    let predecessor = Predecessor::find(&path).await.unwrap().expect("somebody answers");
    let next = Node::start_after(predecessor, config, originated, replays).await;
    node.handle.ended().await;
    assert!(node.handle.was_handed_over());
    drop(node);
    next
}

/// Prefixes of our own that come and go.
fn churn(round: usize) -> Vec<String> {
    (0..200).filter(|i| !(i + round).is_multiple_of(3)).map(|i| format!("10.9.{i}.0/24")).collect()
}

#[test]
fn a_successor_that_goes_away_leaves_everything_as_it_was() {
    crate::lab::setup::with_bird_and(
        "graceful restart off;",
        65001,
        graceless(65001),
        async |bird, node| {
            let before = with_bird::session(&bird);
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("bgp-handover.sock");
            node.handle.offer(&path).unwrap();
            for _ in 0..3 {
                let predecessor = Predecessor::find(&path).await.unwrap().unwrap();
                drop(predecessor);
                node.originate(&["10.1.0.0/24", "10.3.0.0/24"]);
                node.wait("told", async |_| bird.routes().contains("10.3.0.0/24")).await;
                node.originate(&["10.1.0.0/24"]);
                node.wait("told", async |_| !bird.routes().contains("10.3.0.0/24")).await;
            }
            assert!(!node.handle.was_handed_over());
            // Longer than the hold time.
            sleep(Duration::from_secs(10)).await;
            assert_eq!(with_bird::session(&bird), before);
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        },
    );
}

/// Whoever connects while neither of two processes lets anybody in is let in by the other.
#[test]
fn other_sockets_change_hands_too() {
    let config = graceless(65001);
    crate::lab::setup::with_bird_and("graceful restart off;", 65001, config, async |_, node| {
        let folder = TempDir::new().unwrap();
        let (path, beside) = (folder.path().join("bgp-handover.sock"), folder.path().join("other"));
        let listener = UnixListener::bind(&beside).unwrap();
        let copy = listener.try_clone().unwrap();
        let sockets = move || Ok(vec![("other".to_owned(), copy.try_clone()?.into())]);
        node.handle.offer_beside(&path, sockets).unwrap();
        for _ in 0..2 {
            let mut predecessor = Predecessor::find(&path).await.unwrap().unwrap();
            let taken = predecessor.take_beside();
            let [(name, socket)]: [_; 1] = taken.try_into().unwrap();
            assert_eq!(name, "other");
            let mut client = UnixStream::connect(&beside).unwrap();
            client.write_all(b"x").unwrap();
            let mut word = [0];
            UnixListener::from(socket).accept().unwrap().0.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"x");
            assert!(predecessor.take_beside().is_empty());
            // It is not taken over after all.
            drop(predecessor);
        }
        assert!(node.established(v4(2)).await);
    });
}

#[test]
fn where_nobody_answers_there_is_nothing_to_take() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("bgp-handover.sock");
        assert!(Predecessor::find(&path).await.unwrap().is_none());
        // Left by whoever was killed.
        drop(UnixListener::bind(&path).unwrap());
        assert!(Predecessor::find(&path).await.unwrap().is_none());
    });
}
