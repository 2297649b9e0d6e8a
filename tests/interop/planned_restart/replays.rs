//! Routes that no peer has told but a file.

use std::{fs, time::Duration};

use tokio::time::sleep;

use super::{
    graceless, replace_with,
    with_bird::{received, session},
};
use crate::{
    lab::{
        node::{Node, v4},
        setup::{OWN, with_bird_and},
    },
    mrt::files::{replay, write_log, write_table},
};

const ROUTES: u32 = 500;
/// A log on whose way each route is taken away, and comes again or not.
const LOG: [&str; 8] = [
    "+10.7.0.0/24",
    "+10.8.0.0/24",
    "-10.7.0.0/24",
    "+10.9.0.0/24",
    "+10.7.0.0/24",
    "-10.8.0.0/24",
    "-10.9.0.0/24",
    "+10.9.0.0/24",
];

/// How many routes come from files, and how many of those wait to be told again.
async fn replayed(node: &Node) -> (usize, usize) {
    let mut paths = node.handle.routes().await.unwrap();
    paths.retain(|path| path.replayed.is_some());
    (paths.len(), paths.iter().filter(|path| path.stale).count())
}

#[test]
fn bird_sees_nothing_of_what_is_read_again_and_else_what_differs() {
    with_bird_and("graceful restart off;", 65001, graceless(65001), async |bird, mut node| {
        let folder = tempfile::tempdir().unwrap();
        let (table, log) = (folder.path().join("table.mrt"), folder.path().join("log.mrt"));
        write_table(&table, ROUTES);
        write_log(&log, &LOG);
        let replays = [replay(&table, 65010), replay(&log, 65009)];
        node.handle.replay(replays.to_vec()).await.unwrap();
        let all = ROUTES as usize + 2;
        let has = |count: usize| bird.ask("show route count").contains(&format!("{count} of"));
        node.wait("replayed", async |node| replayed(node).await == (all, 0)).await;
        // Two of each side's own besides, one of each family.
        node.wait("told", async |_| has(all + 2)).await;
        // BIRD shows seconds: something that begins anew shall be seen.
        sleep(Duration::from_millis(2100)).await;
        let (before, counts) = (session(&bird), received(&bird));
        for _ in 0..3 {
            node = replace_with(node, graceless(65001), &OWN, replays.to_vec()).await;
            node.wait("read again", async |node| replayed(node).await == (all, 0)).await;
        }
        // Longer than the hold time.
        sleep(Duration::from_secs(11)).await;
        assert_eq!(session(&bird), before);
        assert_eq!(received(&bird), counts, "nothing was told");

        // A file that is gone takes nothing away, nor does one that ends within a record.
        fs::remove_file(&log).unwrap();
        fs::write(&table, &fs::read(&table).unwrap()[..2000]).unwrap();
        node = replace_with(node, graceless(65001), &OWN, replays.to_vec()).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(replayed(&node).await, (all, all));
        assert_eq!(received(&bird), counts, "nothing was told");

        // What the next one's files do not bring goes, and with it the source that is gone.
        write_table(&table, ROUTES - 7);
        node = replace_with(node, graceless(65001), &OWN, vec![replays[0].clone()]).await;
        let left = all - 7 - 2;
        node.wait("swept", async |node| replayed(node).await == (left, 0)).await;
        node.wait("withdrawn", async |_| has(left + 2)).await;
        assert_eq!(session(&bird), before);
        assert_eq!(received(&bird)[0], counts[0], "no update");
        assert_ne!(received(&bird)[1], counts[1]);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

/// Before the first has read it all another goes on, and another.
#[test]
fn a_file_of_which_a_part_is_read_is_read_to_its_end() {
    const LONG: u32 = 100_000;
    with_bird_and("graceful restart off;", 65001, graceless(65001), async |bird, mut node| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("long.mrt");
        write_table(&file, LONG);
        let before = session(&bird);
        let replays = vec![replay(&file, 65010)];
        node.handle.replay(replays.clone()).await.unwrap();
        node.wait("some", async |node| replayed(node).await.0 > 0).await;
        for _ in 0..2 {
            node = replace_with(node, graceless(65001), &OWN, replays.clone()).await;
        }
        let all = LONG as usize;
        node.wait("all", async |node| node.peer(v4(2)).await.prefixes_sent == all + OWN.len())
            .await;
        node.wait("read again", async |node| replayed(node).await == (all, 0)).await;
        let has = |count: usize| bird.ask("show route count").contains(&format!("{count} of"));
        node.wait("told", async |_| has(all + 2)).await;
        assert_eq!(session(&bird), before);
        assert!(received(&bird)[1].contains(" 0 "), "{:?}", received(&bird));
    });
}
